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

from synthgen.server.answers import JSON_HEADERS, Answer, Refusal, busy

if TYPE_CHECKING:
    from synthgen.server.connection import Connection
    from synthgen.server.exchange import Request

#: Bodies up to this size are always taken.
SMALL_BYTES = 64 * 1024
#: Memory that all larger bodies, and unfinished heads, have together.
BODIES_BYTES = 128 * 1024 * 1024
#: Memory that all have together that is sent before what was sent earlier is answered.
AHEAD_BYTES = 64 * 1024 * 1024
#: Answers above this size are sent in parts.
LARGE_ANSWER_BYTES = 1_280 * 1024
#: Memory that all answers which clients did not take have together, before more are made.
UNTAKEN_BYTES = 64 * 1024 * 1024
#: Parts of answers that are made at a time.
MAX_TURNS = 16
#: Longest that an answer that is not made yet waits for others to be taken.
TURN_TIMEOUT_S = 30.0
#: Connections beyond those there may be that are told so; more are ended without a word.
MAX_REFUSED = 32
#: How often it is looked who is late.
_INTERVAL_S = 1.0


class Interrupted(Exception):
    """An answer that could not be finished, after its beginning was sent."""


class Pool:
    """An amount of memory that many share."""

    def __init__(self, limit_bytes: int, what: str) -> None:
        self.n_held_bytes = 0
        self._limit_bytes = limit_bytes
        self._what = what

    def hold(self, n_bytes: int) -> None:
        """Hold so much, to be given up; raises the 503 where it is not left."""
        if self.n_held_bytes + n_bytes > self._limit_bytes:
            raise busy(self._what)
        self.n_held_bytes += n_bytes

    def give_up(self, n_bytes: int) -> None:
        """Return what was held."""
        self.n_held_bytes -= n_bytes


class Traffic:
    """The bounds that hold for all connections of one server together.

    ``is_silent_after_413``: a quirk (``quirks``): that the connection ends is not announced. ``date``: the
    line for heads of answers.
    """

    def __init__(self, max_connections: int, is_silent_after_413: bool = False) -> None:
        self.is_silent_after_413 = is_silent_after_413
        self.connections: set[Connection] = set()
        self.date = b""
        self._loop = asyncio.get_running_loop()
        #: Seconds on the loop's clock.
        self.now_s = self._loop.time
        self._max_connections = max_connections
        self.bodies = Pool(BODIES_BYTES, "requests")
        self.ahead = Pool(AHEAD_BYTES, "requests")
        self._n_untaken_bytes = 0
        self._turns = asyncio.Semaphore(MAX_TURNS)
        self._taken = asyncio.Event()
        self._look()

    def _look(self) -> None:
        self._loop.call_later(_INTERVAL_S, self._look)
        self.date = b"date: %s\r\n" % formatdate(usegmt=True).encode()
        now_s = self.now_s()
        for connection in list(self.connections):
            connection.look(now_s)

    def admit(self, connection: Connection) -> int:
        """Note a new connection; return how many there are beyond those that there may be."""
        self.connections.add(connection)
        return len(self.connections) - self._max_connections

    def dismiss(self, connection: Connection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)

    def count_untaken(self, n_bytes: int) -> None:
        """So many bytes more, or fewer, wait to be taken by clients."""
        self._n_untaken_bytes += n_bytes
        if n_bytes < 0:
            self._taken.set()

    @property
    def is_full(self) -> bool:
        """Whether clients leave so much untaken that there is room for nothing but small answers."""
        return self._n_untaken_bytes > UNTAKEN_BYTES

    async def send(self, request: Request, parts: AsyncIterator[bytes], *, is_large: bool) -> None:
        """Answer with a 200 and a JSON body in parts, each made when the one before it was taken.

        ``is_large``: it is, as far as one can tell; then it waits a while until there is room for it. A
        client that leaves a part untaken for long gets no more. Raises the 503 when there is no room; what
        ``parts`` raises before anything was sent; :class:`Interrupted` for what goes wrong later; and Gone
        where nobody listens.
        """
        connection = request.connection
        async with self._turn(is_large):
            start, is_whole = await _gather(parts)
        if len(start) > SMALL_BYTES and not is_large and self.is_full:
            raise busy("answers")
        if is_whole:
            connection.answer(request, Answer(200, JSON_HEADERS, start))
            return
        connection.begin(request, Answer(200, JSON_HEADERS, b""))
        following = b"" if request.method == "HEAD" else start
        start = b""
        while following:
            put = connection.put(request, following)
            following = b""  # it is held once, as what the socket has not taken
            await put
            following = await self._next(parts)
        connection.end(request)

    async def _next(self, parts: AsyncIterator[bytes]) -> bytes:
        """Return the next part, nothing at the end; what goes wrong with it is :class:`Interrupted`."""
        try:
            async with self._turn(is_large=True):
                return await anext(parts, b"")
        except Refusal:
            raise Interrupted("too many large answers at a time") from None
        except Exception as error:
            raise Interrupted(f"{type(error).__name__}: {error}") from error

    @contextlib.asynccontextmanager
    async def _turn(self, is_large: bool) -> AsyncIterator[None]:
        """Wait for a turn to make a part; for one of a large answer also until there is room for it."""
        try:
            async with asyncio.timeout(TURN_TIMEOUT_S):
                while is_large and self.is_full:
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
