"""One HTTP exchange: what routes need of a request, and how answers leave."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, unquote

import httptools

from synthgen.server.answers import Answer, invalid_input, text_refusal
from synthgen.server.requests import check_space

if TYPE_CHECKING:
    from synthgen.server.connection import Connection
    from synthgen.server.traffic import Pool


_BETWEEN_NUMBERS = (
    ("%2C", ","),
    ("%2c", ","),
    ("%20", " "),
    ("%5B", "["),
    ("%5b", "["),
    ("%5D", "]"),
    ("%5d", "]"),
)
#: What may be done to a body before it is sent (RFC 9110, section 12.5.3).
_CODINGS = [("accept-encoding", "identity")]


class Gone(Exception):
    """The client has left, or leaves what it was sent untaken."""


class Head(NamedTuple):
    """What comes before the body; ``headers``: those that anybody looks at, by names in small letters."""

    method: str
    target: bytes
    headers: dict[bytes, bytes]
    is_http10: bool
    keeps_alive: bool


class Request:
    """A request as routes see it.

    ``method`` in capitals; ``path`` decoded; ``body`` whole. ``target_host``: the host in the target, where
    there is one. ``task``: what answers it, if it takes a while.
    """

    __slots__ = (
        "_headers",
        "_hold",
        "_query",
        "_query_string",
        "body",
        "connection",
        "is_http10",
        "keeps_alive",
        "method",
        "path",
        "target_host",
        "task",
    )

    def __init__(self, connection: Connection, head: Head, body: bytes) -> None:
        self.connection = connection
        self.method = head.method
        self.target_host, self.path, self._query_string = _split(head.target)
        self.body = body
        self.is_http10 = head.is_http10
        self.keeps_alive = head.keeps_alive
        self.task: asyncio.Task[None] | None = None
        self._hold: tuple[Pool, int] | None = None
        self._headers = head.headers
        self._query: dict[str, str] | None = None

    @property
    def query(self) -> dict[str, str]:
        """Query parameters, decoded; of a repeated one the first counts."""
        if self._query is None:
            try:
                pairs = parse_qsl(
                    _unquote_arrays(self._query_string),
                    keep_blank_values=True,
                    errors="strict",
                    max_num_fields=100,
                )
            except UnicodeDecodeError:
                raise text_refusal(400, "Failed to deserialize query string: not UTF-8") from None
            except ValueError:
                raise text_refusal(400, "Failed to deserialize query string: too many fields") from None
            self._query = dict(reversed(pairs))
        return self._query

    @property
    def space(self) -> str | None:
        """Space named by the header or the query, in this order, or None; raises the 400."""
        name = self.header("x-memory-space")
        if name is None and b"x-memory-space" in self._headers:
            raise invalid_input("Invalid memory space ID in X-Memory-Space header: not ASCII text")
        if name is None and self._query_string:
            name = self.query.get("space")
        return None if name is None else check_space(name)

    @property
    def host(self) -> bytes:
        """What the header of this name says, nothing where it is absent."""
        return self._headers.get(b"host", b"")

    @property
    def may_be_browser(self) -> bool:
        """Whether it says which encodings it takes."""
        return b"accept-encoding" in self._headers

    def header(self, name: str) -> str | None:
        """Return a header by its name in lower case, None where it is absent or not ASCII text."""
        value = self._headers.get(name.encode())
        return value.decode() if value is not None and value.isascii() else None

    def json_body(self) -> bytes:
        """Return the body of a request that must be JSON; raises the 415 for another type, or a coding."""
        content_type = self._headers.get(b"content-type")
        if content_type != b"application/json" and not _is_json(content_type):
            raise text_refusal(415, "Expected request with `Content-Type: application/json`")
        if b"content-encoding" in self._headers and not _is_plain(self._headers[b"content-encoding"]):
            raise text_refusal(
                415, "Expected request without `Content-Encoding`: send it uncompressed", _CODINGS
            )
        return self.body

    def answer(self, answer: Answer) -> None:
        """Send a whole answer."""
        self.connection.answer(self, answer)

    def hold(self, pool: Pool, n_bytes: int) -> None:
        """Hold memory until this is answered; raises the 503 where none is left."""
        pool.hold(n_bytes)
        self._hold = pool, n_bytes

    def let_go(self) -> None:
        """Give up what is held."""
        if self._hold is not None:
            pool, n_bytes = self._hold
            self._hold = None
            pool.give_up(n_bytes)

    def abandon(self) -> None:
        """Nobody waits for the answer any more. What is being stored is stored."""
        if self.task is not None:
            self.task.cancel()


def _split(target: bytes) -> tuple[bytes, str, str]:
    """Return host, path, decoded, and query of the target of a request (RFC 9112, section 3.2), ASCII."""
    host = b""
    if not target.startswith(b"/"):
        try:
            url = httptools.parse_url(target)
            host, path, query = url.host or b"", url.path or b"/", url.query or b""
        except httptools.HttpParserInvalidURLError:
            path, query = target, b""
    else:
        path, _, query = target.partition(b"#")[0].partition(b"?")
    decoded = path.decode()
    return host, unquote(decoded) if "%" in decoded else decoded, query.decode()


def _unquote_arrays(query: str) -> str:
    """Return ``query`` with what stands between numbers decoded, of which a vector has a thousand.

    No character that this makes is a digit of an escape or ends a field, so what is left means the same.
    """
    for escape, character in _BETWEEN_NUMBERS:
        query = query.replace(escape, character)
    return query


def report(request: Request, error: Exception) -> None:
    """Say on stderr what went wrong with ``request`` and is not the client's fault."""
    line = f"synthgen serve: {request.method} {ascii(request.path)[1:-1]}: {type(error).__name__}: {error}"
    with contextlib.suppress(OSError, ValueError):  # the disk that is full may be that of the log, too
        print(line, file=sys.stderr, flush=True)


def _is_json(content_type: bytes | None) -> bool:
    if content_type is None:
        return False
    kind = content_type.partition(b";")[0].strip().lower()
    return kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json"))


def _is_plain(codings: bytes) -> bool:
    return {coding.strip().lower() for coding in codings.split(b",")} <= {b"", b"identity"}
