"""One HTTP/1.1 connection: requests are answered in their order, and nothing waits for ever (RFC 9112).

It has one request answered at a time. What comes behind that waits, and is not read from the socket beyond
one piece. An answer is written to the socket at once; what that does not take is counted (``traffic``), and
nothing more is answered there before it is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from synthgen.server.answers import CLOSE, Answer, Refusal, busy, text_refusal
from synthgen.server.exchange import Gone, Request
from synthgen.server.framing import chunk_of, head_of, last_chunk
from synthgen.server.incoming import Incoming
from synthgen.server.traffic import MAX_REFUSED, Traffic

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


class Connection(asyncio.Protocol):
    """What one client says and is told. Belongs to the loop's thread.

    ``serve`` is called with each request when its turn comes, and has to see that it is answered, once.
    """

    __slots__ = (
        "_ahead",
        "_blocked_bytes",
        "_blocked_s",
        "_current",
        "_has_heard_all",
        "_incoming",
        "_is_ended",
        "_is_serving",
        "_n_discarded_bytes",
        "_serve_request",
        "_taken",
        "_traffic",
        "_transport",
    )

    def __init__(self, traffic: Traffic, serve: Callable[[Request], None]) -> None:
        self._traffic = traffic
        self._serve_request = serve
        self._transport: Any = None
        self._incoming = Incoming(self, traffic)
        #: What came behind requests that are whole, and was not looked at.
        self._ahead = b""
        self._current: Request | None = None
        self._is_serving = False
        self._has_heard_all = False
        #: Nothing is told any more, and nothing heard.
        self._is_ended = False
        self._n_discarded_bytes = 0
        #: What the socket has not taken of what was sent, and since when it takes nothing.
        self._blocked_bytes = 0
        self._blocked_s = 0.0
        self._taken: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = transport
        # Above nothing: so this is told of all that the socket does not take at once.
        self._transport.set_write_buffer_limits(high=0)
        n_beyond = self._traffic.admit(self)
        if n_beyond > MAX_REFUSED:
            self.abort()
        elif n_beyond > 0:
            self._send_last(busy("connections").answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is no more, whoever ended it."""
        self._is_ended = True
        self._traffic.dismiss(self)
        self._incoming.close()
        self._hold_ahead(b"")
        self._count_blocked(0)
        self._note_taken()
        if self._current is not None:
            self._current.let_go()
            self._current.abandon()
        self._transport = self._current = None

    # What is said.

    def data_received(self, data: bytes) -> None:
        """Take a piece of what the client says."""
        if self._is_ended or self._incoming.is_last:
            self._n_discarded_bytes += len(data)
            if self._n_discarded_bytes > MAX_DISCARDED_BYTES:
                self.abort()
        elif self._current is None and not self._blocked_bytes:
            self._incoming.feed(data)
            self._serve()
        elif self._hold_ahead(self._ahead + data):
            self._transport.pause_reading()
        else:
            self.abort()

    def eof_received(self) -> bool:
        """The client says no more; it may still listen."""
        self._has_heard_all = True
        self._serve()
        return self._current is not None or bool(self._blocked_bytes)

    def _hold_ahead(self, data: bytes) -> bool:
        """Keep ``data`` for later; return whether there is memory for it."""
        self._traffic.ahead.give_up(len(self._ahead))
        self._ahead = b""
        try:
            self._traffic.ahead.hold(len(data))
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
        incoming = self._incoming
        while self._current is None and not self._blocked_bytes and not self._is_ended:
            if incoming.ready:
                following = incoming.ready.popleft()
                if isinstance(following, Refusal):
                    self._send_last(following.answer)
                else:
                    self._current = following
                    self._serve_request(following)
            elif incoming.is_last:
                self._close()
            elif self._ahead:
                data = self._ahead
                self._hold_ahead(b"")
                self._transport.resume_reading()
                incoming.feed(data)
            elif self._has_heard_all:
                incoming.cut_short()
            else:
                if incoming.wants_continue:
                    incoming.wants_continue = False
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                break
        self._is_serving = False

    def answer(self, request: Request, answer: Answer) -> None:
        """Send the whole answer to the current request."""
        if self._is_ended:
            return
        if CLOSE[0] in answer.headers:
            request.keeps_alive = False
        body = b"" if request.method == "HEAD" else answer.body
        self._transport.write(head_of(request, answer, len(answer.body), self._traffic.date) + body)
        self._finish(request)

    def begin(self, request: Request, answer: Answer) -> None:
        """Send the head of an answer to the current request, whose body comes in parts."""
        if self._is_ended:
            raise Gone
        if request.is_http10:
            request.keeps_alive = False  # the end of the connection ends the body
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
        return self._is_ended

    def end(self, request: Request) -> None:
        """All parts were sent."""
        if not self._is_ended:
            if request.method != "HEAD":
                self._transport.write(last_chunk(request))
            self._finish(request)

    def abort(self) -> None:
        """End the connection in the middle of what it is."""
        self._is_ended = True
        if self._transport is not None:
            self._transport.abort()

    def _finish(self, request: Request) -> None:
        request.let_go()
        self._current = None
        self._incoming.since_s = self._traffic.now_s()
        if not request.keeps_alive:
            self._incoming.is_last = True
            self._incoming.clear()
        self._serve()

    def _send_last(self, answer: Answer) -> None:
        """Send what answers no request, or one that is not whole, and listen only to throw away."""
        if self._traffic.is_silent_after_413 and answer.status == 413:
            answer = answer._replace(headers=[header for header in answer.headers if header != CLOSE[0]])
        self._transport.write(head_of(None, answer, len(answer.body), self._traffic.date) + answer.body)
        self._is_ended = True
        self._incoming.since_s = self._traffic.now_s()
        self._transport.resume_reading()
        self._transport.write_eof()

    def _close(self) -> None:
        self._is_ended = True
        self._incoming.since_s = self._traffic.now_s()
        self._transport.close()  # once it has sent all

    def shut(self) -> None:
        """Have no more requests than the one under way."""
        if self._is_ended and not self._blocked_bytes:
            self.abort()
            return
        self._incoming.is_last = True
        self._incoming.clear()
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
        if self._blocked_bytes:
            self._look_who_takes(now_s)
        elif self._is_ended:
            if now_s - self._incoming.since_s > DISCARD_TIMEOUT_S:
                self.abort()
        elif self._current is None:
            self._look_who_says(now_s)

    def _look_who_takes(self, now_s: float) -> None:
        left_bytes = self._transport.get_write_buffer_size()
        if left_bytes < self._blocked_bytes:
            self._blocked_s = now_s
            self._count_blocked(left_bytes)
        elif now_s - self._blocked_s > UNTAKEN_TIMEOUT_S:
            self.abort()

    def _look_who_says(self, now_s: float) -> None:
        incoming = self._incoming
        waited_s = now_s - incoming.since_s
        if incoming.is_in_body and waited_s > BODY_TIMEOUT_S:
            incoming.refuse(_too_slow("buffer the request body", BODY_TIMEOUT_S))
            self._serve()
        elif not incoming.is_in_body and waited_s > HEAD_TIMEOUT_S:
            if incoming.is_begun:
                incoming.refuse(_too_slow("read the head of the request", HEAD_TIMEOUT_S))
            incoming.is_last = True
            self._serve()


def _too_slow(what: str, patience_s: float) -> Refusal:
    return text_refusal(408, f"Failed to {what}: not whole after {patience_s:.0f} seconds", CLOSE)
