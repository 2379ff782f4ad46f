"""The client of these tests, where what it says is not what the server does."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.server.client import Client

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@contextmanager
def _server(*answers: bytes) -> Iterator[tuple[int, threading.Semaphore]]:
    """Give each connection one of ``answers`` and close it unannounced; tell of each that is closed."""
    closed = threading.Semaphore(0)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                with listener.accept()[0] as connection:
                    connection.recv(65_536)
                    connection.sendall(answer)
                closed.release()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], closed
        thread.join(20)


def test_a_connection_that_was_closed_while_idle_is_opened_anew() -> None:
    with _server(ANSWER, ANSWER) as (port, closed), Client(port) as client:
        for _ in range(2):
            assert client.get("/health").status == 200
            assert closed.acquire(timeout=20)


def test_what_a_failure_leaves_is_not_taken_for_the_next_answer() -> None:
    with _server(b"nonsense\r\n\r\n", ANSWER) as (port, _), Client(port) as client:
        with pytest.raises(http.client.BadStatusLine):
            client.get("/health")
        assert client.get("/health").status == 200
