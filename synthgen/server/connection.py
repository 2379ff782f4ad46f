"""One HTTP/1.1 connection: bytes to requests, answers to bytes, every size and every wait bounded.

httptools (llhttp, the parser of Node.js) reads heads and framing; what a connection does around it is
RFC 9112's. It has one request answered at a time. What comes behind that waits, and is not read from the
socket beyond one piece. An answer is written to the socket at once; what that does not take is counted
(``traffic``), and nothing more is answered there before it is gone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import httptools

from synthgen.server.answers import CLOSE, Answer, Refusal, busy, text_refusal
from synthgen.server.exchange import Head, Request
from synthgen.server.framing import chunk_of, head_of, last_chunk

if TYPE_CHECKING:
    from synthgen.server.traffic import Traffic

MAX_BODY_BYTES = 2 * 1024 * 1024
#: Head of a request, in bytes: a vector of 768 doubles as a query parameter, percent-encoded, has 30,000.
MAX_HEAD_BYTES = 128 * 1024
MAX_TARGET_BYTES = 65_534
MAX_HEADERS = 100
#: Framing of a body in chunks, in bytes, and what may come behind it.
_MAX_FRAMING_BYTES = MAX_BODY_BYTES + MAX_HEAD_BYTES
#: Requests that a client may send ahead in one piece; behind these its connection is closed.
MAX_AHEAD = 64
#: Longest that a head takes to arrive, an idle connection's next one included; then it is closed.
HEAD_TIMEOUT_S = 30.0
#: Longest that a body takes to arrive.
BODY_TIMEOUT_S = 30.0
#: Longest that a client takes nothing of what was sent to it; then its connection is closed.
UNTAKEN_TIMEOUT_S = 60.0
#: Longest that a client takes for one part of a large answer, about 1 MB.
PART_TIMEOUT_S = 30.0
#: The most of what follows a refusal that is read, to be thrown away, and for how long: a connection closed
#: on unread bytes takes its last answer away with it (RFC 9112, section 9.6).
MAX_DISCARDED_BYTES = 64 * 1024 * 1024
DISCARD_TIMEOUT_S = 10.0

#: What is looked at; of a repeated one the first counts.
_KNOWN_HEADERS = frozenset(
    (
        b"authorization",
        b"content-length",
        b"content-type",
        b"expect",
        b"if-none-match",
        b"transfer-encoding",
        b"x-memory-space",
    )
)


_VERSIONS = ("1.0", "1.1")


class Gone(Exception):
    """The client has left, or leaves what it was sent untaken."""


class _Phase(Enum):
    """What is awaited of a client."""

    HEAD = auto()
    BODY = auto()
    #: Nothing any more: the connection ends.
    END = auto()


class Connection(asyncio.Protocol):
    """What one client says and is told. Belongs to the loop's thread.

    ``serve`` is called with each request when its turn comes, and has to see that it is answered, once.
    """

    __slots__ = (
        "_ahead",
        "_blocked_bytes",
        "_blocked_s",
        "_body",
        "_current",
        "_head_bytes",
        "_headers",
        "_held_bytes",
        "_is_last",
        "_is_serving",
        "_n_headers",
        "_n_turns",
        "_parser",
        "_phase",
        "_piece_bytes",
        "_ready",
        "_serve_request",
        "_since_s",
        "_taken",
        "_target",
        "_traffic",
        "_transport",
    )

    def __init__(self, traffic: Traffic, serve: Callable[[Request], None]) -> None:
        self._traffic = traffic
        self._serve_request = serve
        self._transport: Any = None
        self._parser: Any = None
        self._phase = _Phase.HEAD
        self._headers: dict[bytes, bytes] = {}
        self._target = b""
        self._body: bytes | bytearray = b""
        self._n_turns = self._n_headers = self._head_bytes = 0
        #: Read since the message under way began, without the piece that it began in. Beginnings and ends.
        self._piece_bytes = 0
        #: Of the memory that all bodies share.
        self._held_bytes = 0
        #: Requests, or the refusal of one, that are whole; and what came behind and was not looked at.
        self._ready: deque[Request | Refusal] = deque()
        self._ahead = b""
        self._current: Request | None = None
        self._is_serving = False
        #: No request counts any more but those that are ready.
        self._is_last = False
        #: What the socket has not taken of what was sent, and since when it takes nothing.
        self._blocked_bytes = 0
        self._blocked_s = 0.0
        self._taken: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = transport
        # Above nothing: so this is told of all that the socket does not take at once.
        self._transport.set_write_buffer_limits(high=0)
        self._parser = httptools.HttpRequestParser(self)
        self._since_s = self._traffic.now_s()
        if not self._traffic.admit(self):
            self._send_last(busy("connections").answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is no more, whoever ended it."""
        self._phase = _Phase.END
        self._traffic.dismiss(self)
        self._give_up_body()
        self._hold_ahead(b"")
        self._count_blocked(0)
        self._ready.clear()
        self._note_taken()
        if self._current is not None:
            self._current.abandon()
        # They know this object: without its knowing them it goes away at once, and what it held.
        self._parser = self._transport = self._current = None

    # What is said.

    def data_received(self, data: bytes) -> None:
        """Take a piece of what the client says."""
        if self._phase is _Phase.END or self._is_last:
            self._piece_bytes += len(data)
            if self._piece_bytes > MAX_DISCARDED_BYTES:
                self._transport.abort()
        elif self._current is None and not self._blocked_bytes:
            self._feed(data)
            self._serve()
        elif self._hold_ahead(self._ahead + data):
            self._transport.pause_reading()
        else:
            self._transport.abort()

    def eof_received(self) -> bool:
        """The client says no more; it may still listen."""
        if self._phase is _Phase.BODY and not self._is_last:
            self._refuse(
                text_refusal(400, "Failed to buffer the request body: it ended before it was whole", CLOSE)
            )
        self._is_last = True
        self._serve()
        return self._current is not None or bool(self._blocked_bytes)

    def _feed(self, data: bytes) -> None:
        n_begun = self._n_turns
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._say_last()  # nothing but HTTP/1.1 is spoken here
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, Refusal) else _not_http())
        if n_begun == self._n_turns and not self._is_last:
            self._piece_bytes += len(data)
            if self._phase is _Phase.HEAD and self._piece_bytes > MAX_HEAD_BYTES:
                self._refuse(_head_too_large())
            elif self._piece_bytes > MAX_BODY_BYTES + _MAX_FRAMING_BYTES:
                self._refuse(_body_too_large())

    def on_message_begin(self) -> None:
        """The parser has seen the first byte of a request."""
        self._n_turns += 1
        self._n_headers = self._head_bytes = self._piece_bytes = 0
        self._headers = {}
        self._target = self._body = b""
        self._phase = _Phase.HEAD
        if len(self._ready) == MAX_AHEAD:
            self._say_last()

    def on_url(self, url: bytes) -> None:
        """The parser has read the target of the request, or a part of it."""
        self._target += url
        if len(self._target) > MAX_TARGET_BYTES:
            raise text_refusal(414, "The target of the request is too long", CLOSE)

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser has read a header, or a trailer, which nobody needs."""
        if self._phase is not _Phase.HEAD:
            return
        self._n_headers += 1
        self._head_bytes += len(name) + len(value)
        if self._n_headers > MAX_HEADERS or self._head_bytes > MAX_HEAD_BYTES:
            raise _head_too_large()
        name = name.lower()
        if name in _KNOWN_HEADERS:
            self._headers.setdefault(name, value)

    def on_headers_complete(self) -> None:
        """The parser has read the head of the request."""
        headers = self._headers
        self._phase = _Phase.BODY
        self._since_s = self._traffic.now_s()
        if self._parser.get_http_version() not in _VERSIONS:
            raise _not_http()
        if not self._target.isascii():
            raise text_refusal(400, "The target of the request is not ASCII", CLOSE)
        announced = headers.get(b"content-length")
        if announced is not None:
            n_bytes = int(announced)  # llhttp takes nothing but digits
        elif b"transfer-encoding" in headers:
            n_bytes = MAX_BODY_BYTES
        else:
            return
        if n_bytes > MAX_BODY_BYTES:
            raise _body_too_large()
        self._held_bytes = self._traffic.hold_for_body(n_bytes)
        if b"expect" in headers and not self._ready and self._current is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, part: bytes) -> None:
        """The parser has read a part of the body."""
        if not self._body:
            self._body = part
            return
        body = self._body if isinstance(self._body, bytearray) else bytearray(self._body)
        body += part
        self._body = body
        if len(body) > MAX_BODY_BYTES:
            raise _body_too_large()

    def on_message_complete(self) -> None:
        """The parser has read all of a request."""
        parser = self._parser
        self._n_turns += 1
        self._piece_bytes = 0
        self._give_up_body()
        self._phase = _Phase.HEAD
        if self._is_last:
            return
        keeps_alive = parser.should_keep_alive()
        head = Head(
            parser.get_method().decode(),
            self._target,
            self._headers,
            parser.get_http_version() == "1.0",
            keeps_alive,
        )
        self._ready.append(Request(self, head, bytes(self._body)))
        self._headers, self._body = {}, b""
        self._is_last = not keeps_alive

    def _say_last(self) -> None:
        """Look at nothing that comes behind the requests that are ready."""
        self._is_last = True
        for request in list(self._ready)[-1:]:
            if isinstance(request, Request):
                request.keeps_alive = False

    def _refuse(self, refusal: Refusal) -> None:
        """Answer with ``refusal`` in its turn, and nothing behind it."""
        self._is_last = True
        self._give_up_body()
        self._ready.append(refusal)

    def _give_up_body(self) -> None:
        if self._held_bytes:
            self._traffic.give_up(self._held_bytes)
            self._held_bytes = 0

    def _hold_ahead(self, data: bytes) -> bool:
        """Keep ``data`` for later; return whether there is memory for it."""
        self._traffic.give_up(len(self._ahead))
        self._ahead = b""
        try:
            self._traffic.hold(len(data))
        except Refusal:
            return False
        self._ahead = data
        return True

    # What is told.

    def _serve(self) -> None:
        """Have the next requests answered, as far as nothing is to be awaited."""
        if self._is_serving:
            return
        self._is_serving = True
        while self._current is None and not self._blocked_bytes and self._phase is not _Phase.END:
            if self._ready:
                following = self._ready.popleft()
                if isinstance(following, Refusal):
                    self._send_last(following.answer)
                else:
                    self._current = following
                    self._serve_request(following)
            elif self._is_last:
                self._close()
            elif self._ahead:
                data = self._ahead
                self._hold_ahead(b"")
                self._transport.resume_reading()
                self._feed(data)
            else:
                break
        self._is_serving = False

    def answer(self, request: Request, answer: Answer) -> None:
        """Send the whole answer to the current request."""
        if self._phase is _Phase.END:
            return
        if CLOSE[0] in answer.headers:
            request.keeps_alive = False
        body = b"" if request.method == "HEAD" else answer.body
        self._transport.write(head_of(request, answer, len(answer.body), self._traffic.date) + body)
        self._finish(request)

    def begin(self, request: Request, answer: Answer) -> None:
        """Send the head of an answer to the current request, whose body comes in parts."""
        if self._phase is _Phase.END:
            raise Gone
        self._transport.write(head_of(request, answer, None, self._traffic.date))

    async def put(self, request: Request, part: bytes) -> None:
        """Send a part of a body; return when the client has taken it. Raises :class:`Gone`."""
        if self._is_over():
            raise Gone
        self._transport.write(chunk_of(request, part))
        del part
        if self._blocked_bytes:  # by now
            self._taken = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(PART_TIMEOUT_S):
                    await self._taken
            except TimeoutError:
                self.abort()
        if self._is_over():
            raise Gone

    def _is_over(self) -> bool:
        return self._phase is _Phase.END

    def end(self, request: Request) -> None:
        """All parts were sent."""
        if self._phase is not _Phase.END:
            self._transport.write(last_chunk(request))
            self._finish(request)

    def abort(self) -> None:
        """End the connection in the middle of what it is."""
        self._phase = _Phase.END
        self._transport.abort()

    def _finish(self, request: Request) -> None:
        self._current = None
        self._since_s = self._traffic.now_s()
        if not request.keeps_alive:
            self._is_last = True
            self._ready.clear()
        self._serve()

    def _send_last(self, answer: Answer) -> None:
        """Send what answers no request, or one that is not whole, and listen only to throw away."""
        if self._traffic.is_silent_after_413 and answer.status == 413:
            answer = answer._replace(headers=[header for header in answer.headers if header != CLOSE[0]])
        self._transport.write(head_of(None, answer, len(answer.body), self._traffic.date) + answer.body)
        self._phase = _Phase.END
        self._since_s = self._traffic.now_s()
        self._piece_bytes = 0
        self._transport.resume_reading()
        self._transport.write_eof()

    def _close(self) -> None:
        self._phase = _Phase.END
        self._since_s = self._traffic.now_s()
        self._transport.close()  # once it has sent all

    def shut(self) -> None:
        """Have no more requests than the one under way."""
        self._is_last = True
        self._ready.clear()
        if self._current is not None:
            self._current.keeps_alive = False
        self._serve()

    # What is awaited.

    def pause_writing(self) -> None:
        """The socket does not take all."""
        self._blocked_s = self._traffic.now_s()
        self._count_blocked(self._transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The socket has taken all."""
        self._count_blocked(0)
        self._note_taken()
        self._serve()

    def _count_blocked(self, n_bytes: int) -> None:
        self._traffic.count_untaken(n_bytes - self._blocked_bytes)
        self._blocked_bytes = n_bytes

    def _note_taken(self) -> None:
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)

    def look(self, now_s: float) -> None:
        """End what takes too long; to be called now and then."""
        waited_s = now_s - self._since_s
        if self._blocked_bytes:
            left_bytes = self._transport.get_write_buffer_size()
            if left_bytes < self._blocked_bytes:
                self._blocked_s = now_s
                self._count_blocked(left_bytes)
            elif now_s - self._blocked_s > UNTAKEN_TIMEOUT_S:
                self.abort()
        elif self._phase is _Phase.END:
            if waited_s > DISCARD_TIMEOUT_S:
                self.abort()
        elif self._current is not None:
            return
        elif self._phase is _Phase.BODY:
            if waited_s > BODY_TIMEOUT_S:
                self._refuse(_too_slow("buffer the request body", BODY_TIMEOUT_S))
                self._serve()
        elif waited_s > HEAD_TIMEOUT_S:
            if self._target:
                self._refuse(_too_slow("read the head of the request", HEAD_TIMEOUT_S))
            self._is_last = True
            self._serve()


def _not_http() -> Refusal:
    return text_refusal(400, "Not a request of HTTP/1.1", CLOSE)


def _head_too_large() -> Refusal:
    return text_refusal(431, "The head of the request is too large", CLOSE)


def _body_too_large() -> Refusal:
    # The rest of it is not taken, so nothing can follow on this connection.
    return text_refusal(413, "Failed to buffer the request body: length limit exceeded", CLOSE)


def _cut_short() -> Refusal:
    return text_refusal(400, "Failed to buffer the request body: it ended before it was whole", CLOSE)


def _too_slow(what: str, patience_s: float) -> Refusal:
    return text_refusal(408, f"Failed to {what}: not whole after {patience_s:.0f} seconds", CLOSE)
