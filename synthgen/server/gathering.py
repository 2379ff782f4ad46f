"""Memories that arrive, gathered into groups that are worth a commit.

A group goes at once when half of those that lately waited at a time have come (the other half is in the
commit under way), and after two milliseconds in any case. Where one client stores one memory after the
other, half of one is there at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from synthgen.server.requests import Memory

#: Memories after which a commit takes no more: bounds its time, and what the largest bodies can hold.
MAX_BATCH = 256
#: Longest that a memory waits for company, while more keep arriving.
MAX_COMPANY_S = 0.002

#: Called in the loop's thread with None once a memory is durable, or with what went wrong.
Done = Callable[[Exception | None], None]
Arrivals = list[tuple[Memory, Done]]


class Gathering:
    """Gathers in the loop's thread, and calls ``hand_over`` with each group."""

    def __init__(self, loop: asyncio.AbstractEventLoop, hand_over: Callable[[Arrivals], None]) -> None:
        self._loop = loop
        self._hand_over = hand_over
        self._arrived: Arrivals = []
        self._patience: asyncio.TimerHandle | None = None
        #: Memories that are not answered yet, and the most that there were at a time, lately.
        self._n_waiting = 0
        self._crowd = 0
        self._finished: deque[tuple[Arrivals, Exception | None]] = deque()

    def add(self, memory: Memory, done: Done) -> None:
        """Take one more; ``done`` is for whoever gets the group to call."""
        if self._finished:  # before more is read: what the loop was told to call waits for all that is there
            self._tell()  # who is told may add what comes next
        self._arrived.append((memory, done))
        self._n_waiting += 1
        self._crowd = max(self._crowd, self._n_waiting)
        if 2 * len(self._arrived) >= min(self._crowd, MAX_BATCH):
            self.finish()
        elif self._patience is None:
            self._patience = self._loop.call_later(MAX_COMPANY_S, self._stop_waiting)

    def _stop_waiting(self) -> None:
        self._crowd = self._n_waiting  # there are no longer as many as there were
        self.finish()

    def finish(self) -> None:
        """Hand over what has arrived, perhaps nothing."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        arrived, self._arrived = self._arrived, []
        self._hand_over(arrived)

    def settled(self, group: Arrivals, error: Exception | None) -> None:
        """``group`` is durable, or what went wrong; called by the thread that stored it."""
        self._finished.append((group, error))
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        """Tell those who wait for groups that are finished."""
        while self._finished:
            group, error = self._finished.popleft()
            self._n_waiting -= len(group)
            for _, done in group:
                try:
                    done(error)
                except Exception as problem:  # the others are to be told all the same
                    self._loop.call_exception_handler({"message": "answer to a commit", "exception": problem})
