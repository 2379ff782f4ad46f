"""One HTTP exchange: what routes need of a request, with every size bounded, and how answers leave.

Limits and answers: Engram's wire, measured on orchard9/engram of 2025-11-21.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]

from synthgen.server.answers import JSON_HEADERS, Answer, Headers, Refusal, invalid_input, text_refusal
from synthgen.server.requests import check_space
from synthgen.server.traffic import SMALL_BYTES, TURN_TIMEOUT_S, Interrupted, Traffic

MAX_BODY_BYTES = 2 * 1024 * 1024
#: Longest that a body takes to arrive.
BODY_TIMEOUT_S = 30.0
_CLOSE: Headers = [("connection", "close")]


def _cut_short() -> Refusal:
    return text_refusal(400, "Failed to buffer the request body: it ended before it was whole", _CLOSE)


def _too_large() -> Refusal:
    # The rest of the body is not read, so nothing can follow on this connection.
    return text_refusal(413, "Failed to buffer the request body: length limit exceeded", _CLOSE)


def _too_slow() -> Refusal:
    return text_refusal(
        408, f"Failed to buffer the request body: not whole after {BODY_TIMEOUT_S:.0f} seconds", _CLOSE
    )


class Request:
    """A request as routes see it."""

    __slots__ = ("_headers", "_protocol", "_query", "_scope", "_traffic", "method", "path")

    def __init__(self, scope: Any, protocol: Any, traffic: Traffic) -> None:
        traffic.begin(scope.client)
        self._traffic = traffic
        self._scope = scope
        self._protocol = protocol
        self._headers = scope.headers
        self._query: dict[str, str] | None = None
        self.method: str = scope.method
        self.path: str = scope.path

    @property
    def query(self) -> dict[str, str]:
        """Query parameters, decoded; of a repeated one the first counts."""
        if self._query is None:
            try:
                pairs = parse_qsl(
                    self._scope.query_string, keep_blank_values=True, errors="strict", max_num_fields=100
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
        name = self._headers.get("x-memory-space")
        if name is None and "x-memory-space" in self._headers:
            raise invalid_input("Invalid memory space ID in X-Memory-Space header: not ASCII text")
        if name is None and self._scope.query_string:
            name = self.query.get("space")
        return None if name is None else check_space(name)

    def header(self, name: str) -> str | None:
        """Return a header by its name in lower case, None where it is absent or not ASCII text."""
        value: str | None = self._headers.get(name)
        return value

    async def json_body(self) -> bytes:
        """Return the body of a request that must be JSON, at most 2 MB of it.

        Raises the 415 for another content type, the 413 as soon as too much is announced or sent, the
        408 for one that takes too long to arrive, and the 503 while too many large ones arrive.
        """
        body = await self._body()
        # Only now: an answer before the body has come closes the connection, and may not say so.
        if not _is_json(self._headers.get("content-type")):
            raise text_refusal(415, "Expected request with `Content-Type: application/json`")
        return body

    async def _body(self) -> bytes:
        announced = self._headers.get("content-length")
        # Framing ends the body there, whatever is sent.
        n_bytes = None if announced is None else int(announced)
        if n_bytes is not None and n_bytes > MAX_BODY_BYTES:
            raise _too_large()
        deadlines = self._traffic.deadlines
        held = self._traffic.hold_for_body(MAX_BODY_BYTES if n_bytes is None else n_bytes)
        task = deadlines.begin(BODY_TIMEOUT_S)
        try:
            return await (self._chunked_body() if n_bytes is None else self._sized_body(n_bytes))
        except ProtocolClosed:
            raise _cut_short() from None
        except asyncio.CancelledError:
            if deadlines.end(task):
                raise _too_slow() from None
            raise
        finally:
            deadlines.end(task)
            self._traffic.give_up(held)

    async def _sized_body(self, n_bytes: int) -> bytes:
        body: bytes = await self._protocol()
        if len(body) != n_bytes:
            raise _cut_short()
        return body

    async def _chunked_body(self) -> bytes:
        body = bytearray()
        n_empty = 0
        async for part in self._protocol:
            body += part
            n_empty += not part
            if len(body) > MAX_BODY_BYTES:
                raise _too_large()
        # granian ends each body with an empty part, and has another one in place of an error: chunks
        # that are not whole or not as long as they say. (Trailers give one, too: nobody sends them.)
        if n_empty > 1:
            raise _cut_short()
        return bytes(body)

    def send(self, answer: Answer) -> None:
        """Send a whole answer."""
        self._protocol.response_bytes(answer.status, answer.headers, answer.body)

    async def send_large(self, answer: Answer | None) -> Answer | None:
        """Send ``answer`` if it is JSON, a 200, and not small; return what is still to be sent."""
        if answer is None or len(answer.body) <= SMALL_BYTES or answer.headers is not JSON_HEADERS:
            return answer
        await self.send_parts(_one(answer.body), patience_s=0)  # many that wait would hold much memory
        return None

    async def send_parts(self, parts: AsyncIterator[bytes], patience_s: float = TURN_TIMEOUT_S) -> None:
        """Send a 200 with a JSON body in parts, each made when the one before it was taken.

        What goes wrong half-way cannot be answered any more: it is said on stderr, and the client
        gets JSON that does not parse.
        """
        try:
            await self._traffic.send(self._protocol, self._scope.client, parts, patience_s)
        except Interrupted as error:
            report(self, error)


async def _one(part: bytes) -> AsyncIterator[bytes]:
    yield part


def report(request: Request, error: Exception) -> None:
    """Say on stderr what went wrong with ``request`` and is not the client's fault."""
    line = f"synthgen serve: {request.method} {request.path}: {type(error).__name__}: {error}"
    with contextlib.suppress(OSError, ValueError):  # the disk that is full may be that of the log, too
        print(line, file=sys.stderr, flush=True)


def _is_json(content_type: str | None) -> bool:
    if content_type is None:
        return False
    if content_type == "application/json":
        return True
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
