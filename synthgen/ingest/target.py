"""What ingest needs to know of a kind of database, and nothing more. Engram's is in engram.py."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Protocol

from synthgen.ingest.endpoint import Endpoint

#: Bodies of this many lengths are remembered; datasets of equal lines need one.
_MAX_HEADS = 10_000


class Verdict(Enum):
    """What an answer means for the row that was sent."""

    ACKED = "acked"
    RETRY = "retry"
    #: The row itself is unacceptable: dead letter.
    DEAD = "dead"
    #: Nothing will be accepted: stop the run.
    STOP = "stop"


class Target(Protocol):
    """One kind of database; picklable."""

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""
        ...

    @property
    def routes(self) -> tuple[str, ...]:
        """Paths that store one memory a request, best first."""
        ...

    def headers(self, space: str | None) -> Mapping[str, str]:
        """Return the header fields of a request to store one memory in ``space`` (None: the default)."""
        ...

    def judge(self, status: int) -> Verdict:
        """Return what a final status means."""
        ...

    def reason(self, status: int, body: bytes) -> str:
        """Return on one line why the database answered so; ``body`` may be cut off."""
        ...


class RequestHeads(dict[int, bytes]):
    """Heads of the requests that store a memory in one space, by the number of bytes of the body."""

    def __init__(self, target: Target, route: str, space: str | None) -> None:
        super().__init__()
        self._start = _head_start(target, route, space)

    def __missing__(self, n_bytes: int) -> bytes:
        if len(self) >= _MAX_HEADS:
            self.clear()
        head = self[n_bytes] = self._start + b"%d\r\n\r\n" % n_bytes
        return head


def _head_start(target: Target, route: str, space: str | None) -> bytes:
    path = f"{target.endpoint.prefix}{route}"
    lines = [f"POST {path} HTTP/1.1", f"Host: {target.endpoint.authority}"]
    lines += [f"{name}: {value}" for name, value in target.headers(space).items()]
    return ("\r\n".join(lines) + "\r\nContent-Length: ").encode("ascii")
