"""What all exchanges share, so that no crowd of clients takes the server's memory.

granian keeps what an answer consists of until the client takes it, without any bound. So answers of
middle size share a fixed amount of memory, by connection: what a connection was given counts until its
next request shows that it was taken, or, once memory is short, the system says that it has nothing more to
send there (sockets.py). Large answers go through a pipe, from which granian reads no faster than the client
does. Large bodies of requests share a fixed amount, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from synthgen.server.answers import JSON_HEADERS, Headers, Refusal, refusal
from synthgen.server.deadlines import Deadlines
from synthgen.server.sockets import clients_with_unsent

#: Bodies and answers up to this size are always taken and given.
SMALL_BYTES = 64 * 1024
#: Memory that all larger bodies have together.
BODIES_BYTES = 128 * 1024 * 1024
#: Answers above this size go through a pipe. More than ``PROOF_BYTES``.
LARGE_ANSWER_BYTES = 1_280 * 1024
PIPE_BYTES = 1024 * 1024
#: More than a pipe holds: once so much is in it, granian has opened and read it. granian reads 128 kB at
#: first, even where the client reads nothing.
PROOF_BYTES = PIPE_BYTES + 64 * 1024
#: Memory that all answers of middle size have together.
ANSWERS_BYTES = 64 * 1024 * 1024
#: Answers of middle or large size that are made at a time; each large one holds a part or two in memory,
#: and three open files, until the client has taken it.
MAX_TURNS = 16
#: Longest that an answer that is not made yet waits for others to be taken.
TURN_TIMEOUT_S = 30.0
#: After so long granian has handed an answer to the socket, as far as that took it.
SETTLED_S = 0.25
#: The same where the system does not tell of its sockets: to serve is worth more there than the bound.
UNTOLD_S = 2.0
#: After so long a connection that takes nothing was ended by the system (listening.py).
UNTAKEN_TIMEOUT_S = 90.0
#: Longest that a client takes for one part of a large answer, about 1 MB.
PART_TIMEOUT_S = 30.0

_CLOSE: Headers = [("connection", "close")]


def _busy(what: str) -> Refusal:
    headers = [*_CLOSE, ("retry-after", "1")]
    return refusal(503, "MEMORY_SYSTEM_ERROR", f"Too many large {what} at a time. Try again.", headers)


class Traffic:
    """The bounds that hold for all exchanges of one server together."""

    def __init__(self) -> None:
        self.deadlines = Deadlines()
        self._n_body_bytes = 0
        self._turns = asyncio.Semaphore(MAX_TURNS)
        #: What connections were given and may not have taken, by the address of the client: bytes, and when.
        self._untaken: dict[str, tuple[int, float]] = {}
        self._n_untaken_bytes = 0
        self._taken = asyncio.Event()

    def begin(self, client: str) -> None:
        """Note a request of ``client``, an address with port: it has taken the answer to the one before."""
        if client in self._untaken:
            self._n_untaken_bytes -= self._untaken.pop(client)[0]
            self._taken.set()

    def hold_for_body(self, limit_bytes: int) -> int:
        """Hold memory for a body of at most ``limit_bytes``, and return how much, to be given up after it.

        Raises the 503 where none is left.
        """
        held = limit_bytes if limit_bytes > SMALL_BYTES else 0
        if self._n_body_bytes + held > BODIES_BYTES:
            raise _busy("requests")
        self._n_body_bytes += held
        return held

    def give_up(self, held_bytes: int) -> None:
        """Return what :meth:`hold_for_body` has held."""
        self._n_body_bytes -= held_bytes

    async def send(
        self, protocol: Any, client: str, parts: AsyncIterator[bytes], patience_s: float = TURN_TIMEOUT_S
    ) -> None:
        """Send a 200 with a JSON body in parts, each made when the one before it was taken.

        Waits up to ``patience_s`` until there is room for it. A client that leaves a part of a large
        answer untaken for ``PART_TIMEOUT_S`` gets no more: JSON that does not parse. Raises the 503 when
        there is no room; what ``parts`` raises before anything was sent; and :class:`Interrupted` for
        what it raises later.
        """
        async with self._turn(patience_s):
            start, whole = await _gather(parts)
            if whole:
                self._give(protocol, client, start)
                return
            gone = asyncio.ensure_future(_disconnected(protocol))
            try:
                await _pour(protocol, start, parts, gone)
            finally:
                gone.cancel()

    @contextlib.asynccontextmanager
    async def _turn(self, patience_s: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(patience_s):
                while self._n_untaken_bytes > ANSWERS_BYTES:
                    self._taken.clear()
                    self._settle()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._taken.wait(), SETTLED_S)
                await self._turns.acquire()
        except TimeoutError:
            raise _busy("answers") from None
        try:
            yield
        finally:
            self._turns.release()

    def _give(self, protocol: Any, client: str, body: bytes) -> None:
        """Hand a whole answer over; what is not small counts until it was taken."""
        if len(body) > SMALL_BYTES:
            self._untaken[client] = len(body), time.monotonic()
            self._n_untaken_bytes += len(body)
        protocol.response_bytes(200, JSON_HEADERS, body)

    def _settle(self) -> None:
        """Count no more what has been sent: granian keeps something only where the socket takes no more."""
        waiting, now_s = clients_with_unsent(), time.monotonic()
        for client, (_, given_s) in list(self._untaken.items()):
            age_s = now_s - given_s
            is_sent = age_s > UNTOLD_S if waiting is None else age_s > SETTLED_S and client not in waiting
            if is_sent or age_s > UNTAKEN_TIMEOUT_S:
                self.begin(client)


async def _disconnected(protocol: Any) -> None:
    await protocol.client_disconnect()


class Interrupted(Exception):
    """An answer that could not be finished, after its beginning was sent."""


async def _gather(parts: AsyncIterator[bytes]) -> tuple[bytes, bool]:
    """Return the beginning of a large answer and False, or all there is and True."""
    start = b""
    async for part in parts:
        start += part
        if len(start) > LARGE_ANSWER_BYTES:
            return start, False
    return start, True


async def _pour(protocol: Any, start: bytes, parts: AsyncIterator[bytes], gone: asyncio.Task[None]) -> None:
    outflow = _Outflow()
    reading_end, writing_end = os.pipe()
    with contextlib.suppress(OSError, AttributeError):  # Linux; its default size takes twice as long
        fcntl.fcntl(writing_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    with contextlib.closing(os.fdopen(reading_end, "rb", 0)) as reading:
        transport = await _connect(outflow, writing_end)
        with contextlib.closing(transport), _told(outflow, gone):
            protocol.response_file(200, JSON_HEADERS, f"/dev/fd/{reading_end}")
            taken = await _put(transport, outflow, start[:PROOF_BYTES])
            reading.close()  # granian has an end of its own by now, which alone tells whether it reads
            try:
                taken = taken and await _put(transport, outflow, start[PROOF_BYTES:])
                while taken and (part := await anext(parts, None)) is not None:
                    taken = await _put(transport, outflow, part)
            except Exception as error:
                raise Interrupted(f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _told(outflow: _Outflow, gone: asyncio.Task[None]) -> Iterator[None]:
    def end(_: asyncio.Task[None]) -> None:
        outflow.connection_lost(None)

    gone.add_done_callback(end)
    try:
        yield
    finally:
        gone.remove_done_callback(end)


async def _connect(outflow: _Outflow, writing_end: int) -> asyncio.WriteTransport:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_write_pipe(lambda: outflow, os.fdopen(writing_end, "wb", 0))
    transport.set_write_buffer_limits(high=0)
    return transport


async def _put(transport: asyncio.WriteTransport, outflow: _Outflow, part: bytes) -> bool:
    """Write ``part``; return whether the client took it in time."""
    transport.write(part)
    try:
        async with asyncio.timeout(PART_TIMEOUT_S):
            await outflow.ready.wait()
    except TimeoutError:
        outflow.lost = True
    if outflow.lost and not transport.is_closing():
        transport.abort()
    return not outflow.lost


class _Outflow(asyncio.BaseProtocol):
    """Tells whether a pipe takes more."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.ready.set()
        self.lost = False

    def pause_writing(self) -> None:
        """The pipe is full."""
        if not self.lost:
            self.ready.clear()

    def resume_writing(self) -> None:
        """The pipe holds all that was written."""
        self.ready.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody reads any more."""
        self.lost = True
        self.ready.set()
