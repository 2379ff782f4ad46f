"""Requests out of what a client says, in their order, with every size bounded.

httptools (llhttp, the parser of Node.js) reads heads and framing. What is kept of a request that is not
whole, or waits for others, is held out of memory that all connections share (``traffic``).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import httptools

from synthgen.server.answers import CLOSE, Refusal, text_refusal
from synthgen.server.exchange import Head, Request
from synthgen.server.traffic import SMALL_BYTES, Traffic

if TYPE_CHECKING:
    from synthgen.server.connection import Connection

MAX_BODY_BYTES = 2 * 1024 * 1024
#: Head of a request, in bytes: a vector of 768 doubles as a query parameter, percent-encoded, has 30,000.
MAX_HEAD_BYTES = 128 * 1024
MAX_TARGET_BYTES = 65_534
MAX_HEADERS = 100
#: Requests that a client may send ahead in one piece; behind these its connection is closed.
MAX_AHEAD = 1_024

#: Of a head that is not whole, so much is not counted.
_FREE_HEAD_BYTES = 16 * 1024
#: Framing of a body in chunks, and what may come behind it.
_MAX_FRAMING_BYTES = MAX_BODY_BYTES + MAX_HEAD_BYTES
#: What a request takes beside its body, about.
_REQUEST_BYTES = 1_024
#: What is looked at; of a repeated one the first counts.
_KNOWN_HEADERS = frozenset(
    (
        b"accept-encoding",
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"if-none-match",
        b"transfer-encoding",
        b"upgrade",
        b"x-memory-space",
    )
)
_VERSIONS = ("1.0", "1.1")


class Incoming:
    """What one client says. Belongs to the loop's thread.

    ``ready``: requests that are whole, or the refusal of one. ``is_last``: nothing counts that comes behind
    these. ``is_begun``, ``is_in_body``: how far the next one is. ``wants_continue``: its body is held back
    until it is asked for. ``since_s``: since when the head, or the body, is awaited.
    """

    __slots__ = (
        "_body",
        "_connection",
        "_head_bytes",
        "_headers",
        "_heard_bytes",
        "_held_bytes",
        "_is_offer",
        "_n_headers",
        "_n_turns",
        "_own_bytes",
        "_parser",
        "_target",
        "_traffic",
        "is_begun",
        "is_in_body",
        "is_last",
        "ready",
        "since_s",
        "wants_continue",
    )

    def __init__(self, connection: Connection, traffic: Traffic) -> None:
        self._connection = connection
        self._traffic = traffic
        self._parser: Any = httptools.HttpRequestParser(self)
        self.ready: deque[Request | Refusal] = deque()
        self.is_last = self.is_begun = self.is_in_body = self.wants_continue = self._is_offer = False
        self.since_s = traffic.now_s()
        self._headers: dict[bytes, bytes] = {}
        self._target = b""
        self._body: bytes | bytearray = b""
        #: Beginnings and ends of requests.
        self._n_turns = 0
        self._n_headers = self._head_bytes = 0
        #: Read of the request under way, at least and at most: it may have begun in the middle of a piece.
        self._own_bytes = self._heard_bytes = 0
        self._held_bytes = 0

    def feed(self, data: bytes) -> None:
        """Read a piece."""
        n_turns, was_begun = self._n_turns, self.is_begun
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self.refuse(cause if isinstance(cause, Refusal) else _not_http())
        if self.is_begun and not self.is_last:
            if self._n_turns == n_turns + (not was_begun):
                self._own_bytes += len(data)
            self._heard_bytes += len(data)
            self._hold()

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as offer:
                if self.is_last or not self._is_offer:  # CONNECT
                    self.stop()
                    return
                data = self._without_offer() + data[offer.args[0] :]

    def _without_offer(self) -> bytes:
        """Return the head of the request under way without what offers another protocol, for a new parser.

        An offer may be ignored (RFC 9110, section 7.8), but llhttp takes it for the end of the request.
        """
        method, version = self._parser.get_method(), self._parser.get_http_version().encode()
        lines = [b"%s: %s" % header for header in self._headers.items() if header[0] != b"upgrade"]
        if not self._parser.should_keep_alive():
            lines.append(b"connection: close")
        self._parser = httptools.HttpRequestParser(self)
        return b"\r\n".join([b"%s %s HTTP/%s" % (method, self._target, version), *lines, b"", b""])

    def _hold(self) -> None:
        """See that what is kept of the request under way is held, and is not too much."""
        try:
            if self.is_in_body:
                if self._own_bytes > MAX_BODY_BYTES + _MAX_FRAMING_BYTES:
                    raise _body_too_large()
                self._hold_to(self._heard_bytes, SMALL_BYTES)
            else:
                if self._own_bytes > MAX_HEAD_BYTES:
                    raise _head_too_large()
                self._hold_to(self._heard_bytes, _FREE_HEAD_BYTES)
        except Refusal as refusal:
            self.refuse(refusal)

    def _hold_to(self, n_bytes: int, free_bytes: int) -> None:
        if n_bytes > max(free_bytes, self._held_bytes):
            self._traffic.bodies.hold(n_bytes - self._held_bytes)
            self._held_bytes = n_bytes

    def _give_up(self) -> None:
        self._traffic.bodies.give_up(self._held_bytes)
        self._held_bytes = 0

    def cut_short(self) -> None:
        """The client says no more."""
        if self.is_in_body and not self.is_last:
            self.refuse(_cut_short())
        self.is_last = True

    def refuse(self, refusal: Refusal) -> None:
        """Answer with ``refusal`` in its turn, and nothing behind it."""
        self.is_last = True
        self.wants_continue = False
        self._give_up()
        self._body = self._target = b""
        self._parser = None  # it keeps what it has read of a header
        self.ready.append(refusal)

    def stop(self) -> None:
        """Look at nothing that comes behind the requests that are ready."""
        self.is_last = True
        self._give_up()
        if self.ready:
            last = self.ready[-1]
            if isinstance(last, Request):
                last.keeps_alive = False

    def clear(self) -> None:
        """Forget what is ready."""
        for request in self.ready:
            if isinstance(request, Request):
                request.let_go()
        self.ready.clear()

    def close(self) -> None:
        """Give up all that is held. The parser knows this object: without its knowing it both go away."""
        self.is_last = True
        self._give_up()
        self.clear()
        self._parser = None

    # What the parser calls.

    def on_message_begin(self) -> None:
        """The first byte of a request was read."""
        self._n_turns += 1
        self._n_headers = self._head_bytes = self._own_bytes = self._heard_bytes = 0
        self._headers = {}
        self._target = self._body = b""
        self.is_begun, self.is_in_body, self._is_offer = True, False, False
        if len(self.ready) == MAX_AHEAD:
            self.stop()

    def on_url(self, url: bytes) -> None:
        """The target of the request was read, or a part of it."""
        self._target += url
        if len(self._target) > MAX_TARGET_BYTES:
            raise text_refusal(414, "The target of the request is too long", CLOSE)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header was read, or a trailer, which nobody needs."""
        if self.is_in_body:
            return
        self._n_headers += 1
        self._head_bytes += len(name) + len(value)
        if self._n_headers > MAX_HEADERS or self._head_bytes > MAX_HEAD_BYTES:
            raise _head_too_large()
        name = name.lower()
        if name in _KNOWN_HEADERS:
            self._headers.setdefault(name, value)

    def on_headers_complete(self) -> None:
        """The head of the request was read."""
        headers, parser = self._headers, self._parser
        if b"upgrade" in headers and parser.should_upgrade() and parser.get_method() != b"CONNECT":
            self._is_offer = True
            return  # what follows is read anew, without the offer
        self.is_in_body = True
        self.since_s = self._traffic.now_s()
        self._give_up()
        version = parser.get_http_version()
        if version not in _VERSIONS:
            raise _not_http()
        if not self._target.isascii():
            raise text_refusal(400, "The target of the request is not ASCII", CLOSE)
        self._check_framing(headers, version)
        self.wants_continue = b"expect" in headers and version != "1.0"

    def _check_framing(self, headers: dict[bytes, bytes], version: str) -> None:
        announced = headers.get(b"content-length")
        if announced is not None:  # llhttp takes nothing but digits, and no transfer coding beside them
            if int(announced) > MAX_BODY_BYTES:
                raise _body_too_large()
            return
        coding = headers.get(b"transfer-encoding")
        if coding is None:
            return
        if version == "1.0":
            raise _not_http()
        if coding.strip().lower() != b"chunked":
            raise text_refusal(501, "No transfer coding but `chunked` is known", CLOSE)

    def on_body(self, part: bytes) -> None:
        """A part of the body was read."""
        self.wants_continue = False
        if not self._body:
            self._body = part
            return
        body = self._body if isinstance(self._body, bytearray) else bytearray(self._body)
        body += part
        self._body = body
        if len(body) > MAX_BODY_BYTES:
            raise _body_too_large()

    def on_message_complete(self) -> None:
        """All of a request was read."""
        if self._is_offer:
            return
        self._n_turns += 1
        self.is_begun = self.is_in_body = self.wants_continue = False
        if self.is_last:
            return
        parser, body = self._parser, self._body
        keeps_alive = parser.should_keep_alive()
        method = parser.get_method().decode()
        head = Head(method, self._target, self._headers, parser.get_http_version() == "1.0", keeps_alive)
        # Nothing but POST looks at a body.
        request = Request(self._connection, head, bytes(body) if method == "POST" else b"")
        self._headers, self._body, self._target = {}, b"", b""
        self._hand_on(request)
        self.ready.append(request)
        self.is_last = not keeps_alive

    def _hand_on(self, request: Request) -> None:
        """Hold what the request keeps until it is answered."""
        n_bytes = len(request.body)
        if self._held_bytes:
            self._give_up()
        if self.ready:
            request.hold(self._traffic.ahead, n_bytes + _REQUEST_BYTES)
        elif n_bytes > SMALL_BYTES:
            request.hold(self._traffic.bodies, n_bytes)


def _not_http() -> Refusal:
    return text_refusal(400, "Not a request of HTTP/1.1", CLOSE)


def _head_too_large() -> Refusal:
    return text_refusal(431, "The head of the request is too large", CLOSE)


def _body_too_large() -> Refusal:
    # The rest of it is not taken, so nothing can follow on this connection.
    return text_refusal(413, "Failed to buffer the request body: length limit exceeded", CLOSE)


def _cut_short() -> Refusal:
    return text_refusal(400, "Failed to buffer the request body: it ended before it was whole", CLOSE)
