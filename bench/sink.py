"""A database that keeps nothing: what a client can do when nobody holds it up. ``python -m bench.sink``.

Answers every POST with 201, and just enough of the rest that an ingest takes it for a database with nothing
in it. One thread, one selector; no parsing beyond the Content-Length field.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_RECEIVE_BYTES = 1 << 18
_LARGEST_HEAD_BYTES = 1 << 16


def _answer(status: str, document: object) -> bytes:
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


_STORED = _answer("201 Created", {})
_HEALTH = _answer("200 OK", {"status": "healthy", "service": "engram", "version": "sink"})
_LISTING = _answer("200 OK", {"memories": [], "tier_counts": {"total": 0}})
_MEMORY = _answer("200 OK", {})


def answer_to(head: bytes) -> bytes:
    """Return the answer to the request that begins with ``head``."""
    if head.startswith(b"POST"):
        return _STORED
    path = head.split(b" ", 2)[1]
    if path.startswith(b"/health"):
        return _HEALTH
    return _LISTING if path.startswith(b"/api/v1/memories?") else _MEMORY


def body_length(head: bytes) -> int:
    """Return the value of Content-Length, 0 where there is none."""
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


class _Visitor:
    """A connection, with what is still to come of its request."""

    def __init__(self, selector: selectors.BaseSelector, connection: socket.socket) -> None:
        self._selector = selector
        self._connection = connection
        self._pending = b""
        self._left = 0
        self._reply = b""

    def on_ready(self) -> None:
        try:
            data = self._connection.recv(_RECEIVE_BYTES)
        except ConnectionError:
            data = b""
        if not data or len(self._pending) > _LARGEST_HEAD_BYTES:
            self._selector.unregister(self._connection)
            self._connection.close()
        elif self._left:
            self._take(len(data))
        else:
            self._begin(self._pending + data)

    def _begin(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._pending = data
            return
        head = data[:end]
        self._pending, self._reply = b"", answer_to(head)
        self._left = body_length(head)
        self._take(len(data) - end - 4)

    def _take(self, n_bytes: int) -> None:
        self._left = max(0, self._left - n_bytes)
        if not self._left:
            with contextlib.suppress(ConnectionError):
                self._connection.sendall(self._reply)


def serve() -> None:
    """Answer on a free port until standard input ends; the first line printed says where."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(json.dumps({"endpoint": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ, None)
        selector.register(listener, selectors.EVENT_READ, listener)
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    return
                if key.data is listener:
                    connection, _ = listener.accept()
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    selector.register(connection, selectors.EVENT_READ, _Visitor(selector, connection))
                else:
                    key.data.on_ready()


@contextlib.contextmanager
def running_sink() -> Iterator[str]:
    """Run a sink as a process of its own while the block lasts; give its endpoint."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.sink"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    )
    with process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["endpoint"]
        # Leaving the block closes its standard input, which ends it.


if __name__ == "__main__":
    serve()
