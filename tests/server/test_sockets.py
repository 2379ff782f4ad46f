"""Answers that clients take count no more, those that they leave do: by what the system says of sockets."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from synthgen.server import traffic
from synthgen.server.sockets import clients_with_unsent
from synthgen.server.traffic import Traffic
from tests.server.client import LIST, Client, numbers, vectors
from tests.serverproc import ServerProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux's tables of sockets")


@pytest.fixture(params=["127.0.0.1", "::1"])
def connected(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket, str]]:
    """Both ends of a connection, and the address of the one that connected."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((request.param, 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()[:2]) as client:
            server, address = listener.accept()
            with server:
                yield server, client, f"{address[0]}:{address[1]}"


def fill(sender: socket.socket) -> int:
    """Send until no more is taken; return how many bytes were."""
    sender.setblocking(False)
    sent, deadline_s = 0, time.monotonic() + 1
    while time.monotonic() < deadline_s:
        try:
            sent += sender.send(bytes(100_000))
        except BlockingIOError:
            time.sleep(0.01)
    return sent


def test_a_client_that_leaves_bytes_is_named_until_it_takes_them(
    connected: tuple[socket.socket, socket.socket, str],
) -> None:
    server, client, name = connected
    assert name not in (clients_with_unsent() or ())
    left = fill(server)
    assert name in (clients_with_unsent() or ())
    while left:
        left -= len(client.recv(1_000_000))
    deadline_s = time.monotonic() + 10
    while name in (clients_with_unsent() or ()):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_where_the_system_does_not_tell_nothing_is_known(tmp_path: Path) -> None:
    assert clients_with_unsent((tmp_path / "tcp", tmp_path / "tcp6")) is None


class _Protocol:
    def response_bytes(self, status: int, headers: object, body: bytes) -> None:
        """Take it."""


def test_only_what_was_taken_stops_counting(
    connected: tuple[socket.socket, socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _, name = connected
    shared = Traffic()
    for client in (name, "127.0.0.1:1"):
        shared._give(_Protocol(), client, bytes(1_000_000))
    fill(server)
    shared._settle()
    assert set(shared._untaken) == {name} and shared._n_untaken_bytes == 1_000_000
    monkeypatch.setattr(traffic, "UNTAKEN_TIMEOUT_S", 0.0)
    shared._settle()
    assert not shared._untaken and shared._n_untaken_bytes == 0


def test_where_the_system_does_not_tell_answers_count_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "clients_with_unsent", lambda: None)
    shared = Traffic()
    shared._give(_Protocol(), "client", bytes(1_000_000))
    shared._settle()
    assert shared._n_untaken_bytes == 1_000_000
    monkeypatch.setattr(traffic, "UNTOLD_S", 0.0)
    shared._settle()
    assert shared._n_untaken_bytes == 0


def test_clients_that_take_one_answer_and_leave_hold_nobody_up(server: ServerProcess) -> None:
    """Twice the memory that such answers share, each over a connection of its own."""
    with Client(server.port) as client:
        for number, vector in enumerate(vectors(40)):
            client.remember("leaving", id=str(number), embedding=numbers(vector))
    n_bytes = 0
    while n_bytes < 2 * traffic.ANSWERS_BYTES:
        with Client(server.port) as client:
            reply = client.get(LIST, space="leaving", include_embeddings="true")
        assert reply.status == 200 and traffic.SMALL_BYTES < len(reply.body) < traffic.LARGE_ANSWER_BYTES
        n_bytes += len(reply.body)
