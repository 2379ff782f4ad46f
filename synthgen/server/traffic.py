"""What all connections share, so that no crowd of clients takes the server's memory.

Bodies that arrive, and answers that clients leave untaken, have a fixed amount of memory each. Large answers
are made in parts, each when the one before it was taken, a few answers at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import TYPE_CHECKING

from synthgen.server.answers import JSON_HEADERS, Answer, busy

if TYPE_CHECKING:
    from synthgen.server.connection import Connection
    from synthgen.server.exchange import Request

#: Bodies up to this size are always taken.
SMALL_BYTES = 64 * 1024
#: Memory that all larger bodies have together.
BODIES_BYTES = 128 * 1024 * 1024
#: Answers above this size are sent in parts.
LARGE_ANSWER_BYTES = 1_280 * 1024
#: Memory that all answers which clients did not take have together, before more are made.
UNTAKEN_BYTES = 64 * 1024 * 1024
#: Answers of many parts that are made at a time; each holds a part or two in memory until it was taken.
MAX_TURNS = 16
#: Longest that an answer that is not made yet waits for others to be taken.
TURN_TIMEOUT_S = 30.0
#: How often it is looked who is late.
_INTERVAL_S = 1.0


class Interrupted(Exception):
    """An answer that could not be finished, after its beginning was sent."""


class Traffic:
    """The bounds that hold for all connections of one server together.

    ``is_silent_after_413``: a quirk (``quirks``): that the connection ends is not announced.
    """

    def __init__(self, max_connections: int, is_silent_after_413: bool = False) -> None:
        self.is_silent_after_413 = is_silent_after_413
        self.connections: set[Connection] = set()
        self.date = b""
        self._loop = asyncio.get_running_loop()
        #: Seconds on the loop's clock.
        self.now_s = self._loop.time
        self._max_connections = max_connections
        self._n_held_bytes = self._n_untaken_bytes = 0
        self._turns = asyncio.Semaphore(MAX_TURNS)
        self._taken = asyncio.Event()
        self._look()

    def _look(self) -> None:
        self.date = b"date: %s\r\n" % formatdate(usegmt=True).encode()
        now_s = self.now_s()
        for connection in list(self.connections):
            connection.look(now_s)
        self._loop.call_later(_INTERVAL_S, self._look)

    def admit(self, connection: Connection) -> bool:
        """Note a new connection; return whether it is one of those that there may be."""
        self.connections.add(connection)
        return len(self.connections) <= self._max_connections

    def dismiss(self, connection: Connection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)

    def hold_for_body(self, limit_bytes: int) -> int:
        """Hold memory for a body of at most ``limit_bytes``, and return how much, to be given up after it.

        Raises the 503 where none is left.
        """
        return self.hold(limit_bytes) if limit_bytes > SMALL_BYTES else 0

    def hold(self, n_bytes: int) -> int:
        """Hold memory for what was sent, and return how much, to be given up; raises the 503."""
        if self._n_held_bytes + n_bytes > BODIES_BYTES:
            raise busy("requests")
        self._n_held_bytes += n_bytes
        return n_bytes

    def give_up(self, held_bytes: int) -> None:
        """Return what was held."""
        self._n_held_bytes -= held_bytes

    def count_untaken(self, n_bytes: int) -> None:
        """So many bytes more, or fewer, wait to be taken by clients."""
        self._n_untaken_bytes += n_bytes
        if n_bytes < 0:
            self._taken.set()

    @property
    def is_full(self) -> bool:
        """Whether clients leave so much untaken that there is room for nothing but small answers."""
        return self._n_untaken_bytes > UNTAKEN_BYTES

    async def send(self, request: Request, parts: AsyncIterator[bytes]) -> None:
        """Answer with a 200 and a JSON body in parts, each made when the one before it was taken.

        Waits a while until there is room for it. A client that leaves a part of a large answer
        untaken for long gets no more. Raises the 503 when there is no room; what ``parts`` raises before
        anything was sent; :class:`Interrupted` for what it raises later; and Gone where nobody listens.
        """
        async with self._turn():
            connection = request.connection
            start, whole = await _gather(parts)
            if whole:
                connection.answer(request, Answer(200, JSON_HEADERS, start))
                return
            connection.begin(request, Answer(200, JSON_HEADERS, b""))
            if request.method != "HEAD":
                following = start
                while following:
                    put = connection.put(request, following)
                    following = start = b""  # it is held once, as what the socket has not taken
                    await put
                    following = await _next(parts)
            connection.end(request)

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(TURN_TIMEOUT_S):
                while self.is_full:
                    self._taken.clear()
                    await self._taken.wait()
                await self._turns.acquire()
        except TimeoutError:
            raise busy("answers") from None
        try:
            yield
        finally:
            self._turns.release()


async def _gather(parts: AsyncIterator[bytes]) -> tuple[bytes, bool]:
    """Return the beginning of a large answer and False, or all there is and True."""
    start = b""
    async for part in parts:
        start += part
        if len(start) > LARGE_ANSWER_BYTES:
            return start, False
    return start, True


async def _next(parts: AsyncIterator[bytes]) -> bytes:
    """Return the next part, nothing at the end; what goes wrong with it is :class:`Interrupted`."""
    try:
        return await anext(parts, b"")
    except Exception as error:
        raise Interrupted(f"{type(error).__name__}: {error}") from error
