"""Where a database listens: ``http://host:port[/prefix]``, taken apart once."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from synthgen.errors import TargetError, UsageError
from synthgen.specs import API_KEY_VARIABLE, check_api_key

_EXAMPLE = "give it like http://127.0.0.1:7432"

Address = tuple[socket.AddressFamily, tuple[Any, ...]]


@dataclass(frozen=True)
class Endpoint:
    """One address of a database; ``prefix`` is empty or begins with a slash."""

    host: str
    port: int
    prefix: str = ""

    @property
    def authority(self) -> str:
        """Host and port as they stand in a URL and in the Host header (RFC 9110, 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole, in one spelling: equal endpoints have equal URLs."""
        return f"http://{self.authority}{self.prefix}"

    def addresses(self) -> list[Address]:
        """Return all addresses of the host, in the resolver's order; raise TargetError if it has none."""
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise TargetError(
                f"no address for the host {self.host!r} ({error.strerror or error})",
                where=self.url,
                next_step="check --endpoint",
            ) from error
        return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def parse_endpoint(text: str) -> Endpoint:
    """Return the endpoint that ``text`` names; raise UsageError for anything but plain http."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise UsageError(f"--endpoint {text!r} is no URL ({error})", next_step=_EXAMPLE) from error
    problem = _problem_of(parts)
    if problem:
        raise UsageError(f"--endpoint {problem}", next_step=_EXAMPLE)
    return Endpoint((parts.hostname or "").lower(), 80 if port is None else port, parts.path.rstrip("/"))


def _problem_of(parts: SplitResult) -> str:
    # Never shows the text itself: it may hold a password.
    hostname = parts.hostname or ""
    problems = {
        "speaks https, which is not supported: put a proxy that ends TLS on this machine": (
            parts.scheme == "https"
        ),
        "is no http URL": parts.scheme != "http" or not hostname,
        f"holds a user name: put a bearer token into {API_KEY_VARIABLE} instead": (
            parts.username is not None or parts.password is not None
        ),
        "holds a query or fragment": bool(parts.query or parts.fragment),
        "holds blanks": any(character in parts.path + hostname for character in " \r\n\t"),
        "names port 0": parts.port == 0,
    }
    return next((problem for problem, present in problems.items() if present), "")


def bearer_header() -> dict[str, str]:
    """Return the Authorization header, or nothing when no token is set; raise UsageError on a bad one."""
    token = check_api_key(os.environ.get(API_KEY_VARIABLE, ""))
    return {"Authorization": f"Bearer {token}"} if token else {}
