"""Raw connections: what a well-behaved client library would not send."""

from __future__ import annotations

import contextlib
import socket

from tests.server.client import REMEMBER

CHUNKED = "Transfer-Encoding: chunked"


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def head(*headers: str, method: str = "POST", path: str = REMEMBER) -> bytes:
    """Return the head of a request with a JSON body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def read_to_end(connection: socket.socket) -> bytes:
    """Return all that comes until the server closes."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65_536):
            answer += part
    return answer


def exchange(port: int, request: bytes, *, end: bool = False) -> bytes:
    """Send raw bytes, as far as they are taken; return all that comes until the server closes."""
    with connect(port) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
        if end:
            connection.shutdown(socket.SHUT_WR)
        return read_to_end(connection)


def post(port: int, body: bytes, path: str = REMEMBER) -> bytes:
    """Send a whole JSON body; return the answer."""
    return exchange(port, head(f"Content-Length: {len(body)}", "Connection: close", path=path) + body)


def get(port: int, path: bytes) -> bytes:
    """Ask for a path of any bytes; return the answer."""
    return exchange(port, b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")


def status(answer: bytes) -> int:
    """Return the status of the first answer in ``answer``; 0 where there is none."""
    line = answer.partition(b"\r\n")[0].split()
    return int(line[1]) if len(line) > 1 else 0
