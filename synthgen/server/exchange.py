"""One HTTP exchange: what routes need of a request, with every size bounded, and how answers leave.

Limits and answers: Engram's wire, measured on orchard9/engram of 2025-11-21.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]

from synthgen.server.answers import JSON_HEADERS, Answer, Headers, Refusal, invalid_input, text_refusal
from synthgen.server.requests import check_space

MAX_BODY_BYTES = 2 * 1024 * 1024
_CLOSE: Headers = [("connection", "close")]


def _cut_short() -> Refusal:
    return text_refusal(
        400, "Failed to buffer the request body: it ended before its announced length", _CLOSE
    )


def _too_large() -> Refusal:
    # The rest of the body is not read, so nothing can follow on this connection.
    return text_refusal(413, "Failed to buffer the request body: length limit exceeded", _CLOSE)


class Request:
    """A request as routes see it."""

    __slots__ = ("_headers", "_protocol", "_query", "_scope", "method", "path")

    def __init__(self, scope: Any, protocol: Any) -> None:
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
                pairs = parse_qsl(self._scope.query_string, keep_blank_values=True, max_num_fields=100)
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

    async def json_body(self) -> bytes:
        """Return the body of a request that must be JSON, at most 2 MB of it.

        Raises the 415 for another content type, the 413 as soon as too much is announced or sent.
        """
        if not _is_json(self._headers.get("content-type")):
            raise text_refusal(415, "Expected request with `Content-Type: application/json`")
        announced = self._headers.get("content-length")
        if announced is None:
            return await self._chunked_body()
        n_bytes = int(announced)  # HTTP's framing ends the body there, whatever the client sends
        if n_bytes > MAX_BODY_BYTES:
            raise _too_large()
        try:
            body: bytes = await self._protocol()
        except ProtocolClosed:
            raise _cut_short() from None
        if len(body) != n_bytes:
            raise _cut_short()
        return body

    async def _chunked_body(self) -> bytes:
        body = bytearray()
        try:
            async for part in self._protocol:
                body += part
                if len(body) > MAX_BODY_BYTES:
                    raise _too_large()
        except ProtocolClosed:
            raise _cut_short() from None
        return bytes(body)

    def send(self, answer: Answer) -> None:
        """Send a whole answer."""
        self._protocol.response_bytes(answer.status, answer.headers, answer.body)

    async def send_parts(self, parts: AsyncIterator[bytes]) -> None:
        """Send a 200 with a JSON body in parts, each made when the one before it was taken.

        What goes wrong half-way cannot be answered any more: it is said on stderr, and the client
        gets JSON that does not parse.
        """
        transport = None
        try:
            async for part in parts:
                transport = transport or self._protocol.response_stream(200, JSON_HEADERS)
                await transport.send_bytes(part)
        except ProtocolClosed:
            return  # the client has gone
        except Exception as error:
            if transport is None:
                raise
            report(self, error)


def report(request: Request, error: Exception) -> None:
    """Say on stderr what went wrong with ``request`` and is not the client's fault."""
    print(
        f"synthgen serve: {request.method} {request.path}: {type(error).__name__}: {error}",
        file=sys.stderr,
        flush=True,
    )


def _is_json(content_type: str | None) -> bool:
    if content_type is None:
        return False
    if content_type == "application/json":
        return True
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
