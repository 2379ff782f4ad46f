"""Ends tasks that take too long, at next to no cost for those that do not.

A timer for each request costs more than to parse a small one. One timer for all looks once a second who is
late.
"""

from __future__ import annotations

import asyncio
from typing import Any

_INTERVAL_S = 1.0

Task = asyncio.Task[Any]


class Deadlines:
    """When tasks of one loop are to be through with what they wait for.

    A task calls :meth:`begin` before and :meth:`end` after, whatever happens. One that is late, by up to a
    second more, is cancelled: :meth:`end` then returns True, once, and the cancellation is over.
    """

    def __init__(self) -> None:
        self._due_s: dict[Task, float] = {}
        self._late: set[Task] = set()
        self._is_watching = False

    def begin(self, patience_s: float) -> Task:
        """The current task may wait for ``patience_s`` from now on; returns it."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None, "only tasks wait"
        self._due_s[task] = loop.time() + patience_s
        if not self._is_watching:
            self._is_watching = True
            loop.call_later(_INTERVAL_S, self._look, loop)
        return task

    def end(self, task: Task) -> bool:
        """``task``, the current one, waits no more; return whether it was cancelled for being late."""
        self._due_s.pop(task, None)
        if task not in self._late:
            return False
        self._late.discard(task)
        task.uncancel()
        return True

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        for task, due_s in list(self._due_s.items()):
            if due_s <= now_s:
                del self._due_s[task]
                self._late.add(task)
                task.cancel()
        self._is_watching = bool(self._due_s)
        if self._is_watching:
            loop.call_later(_INTERVAL_S, self._look, loop)
