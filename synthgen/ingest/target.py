"""What ingest needs to know of a kind of database, and nothing more. Engram's is in engram.py."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Protocol

from synthgen.ingest.endpoint import Endpoint


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

    def check_space(self, space: str) -> None:
        """Raise UsageError unless ``space`` is a possible name."""
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


def request_head(target: Target, route: str, space: str | None) -> bytes:
    """Return the head of a POST up to where the number of bytes of the body is written."""
    path = f"{target.endpoint.prefix}{route}"
    lines = [f"POST {path} HTTP/1.1", f"Host: {target.endpoint.authority}"]
    lines += [f"{name}: {value}" for name, value in target.headers(space).items()]
    return ("\r\n".join(lines) + "\r\nContent-Length: ").encode("ascii")
