"""Tasks on their way to workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any


class TaskQueue:
    """Tasks by number: those given back first, then the iterable, drawn no further than needed.

    ``lane`` names the worker (0-based) that alone may do a task; None leaves it to any.
    """

    def __init__(self, tasks: Iterable[Any], lane: Callable[[Any], int | None]) -> None:
        self._rest = enumerate(tasks)
        self._lane = lane
        self._waiting: dict[int | None, deque[tuple[int, Any]]] = {}
        self._given_back: dict[int | None, deque[tuple[int, Any]]] = {}

    def empty(self) -> bool:
        """Return whether there are no tasks left; draws the next one to know."""
        if not self.has_given_back() and not any(self._waiting.values()):
            for number, task in self._rest:
                self._line(task).append((number, task))
                break
        return not self.has_given_back() and not any(self._waiting.values())

    def has_given_back(self) -> bool:
        """Return whether there are tasks that were handed out before."""
        return any(self._given_back.values())

    def take_given_back(self, worker: int) -> tuple[int, Any] | None:
        """Return the next task that ``worker`` may do of those that were handed out before."""
        lines = (self._given_back.get(lane) for lane in (worker, None))
        return next((line.popleft() for line in lines if line), None)

    def take(self, worker: int) -> tuple[int, Any] | None:
        """Return the next task that ``worker`` may do; those that it may not are kept for others."""
        if (again := self.take_given_back(worker)) is not None:
            return again
        for lane in (worker, None):
            if self._waiting.get(lane):
                return self._waiting[lane].popleft()
        for number, task in self._rest:
            if self._lane(task) in (worker, None):
                return number, task
            self._line(task).append((number, task))
        return None

    def put_back(self, number: int, task: Any) -> None:
        """Take a task back, to be the next."""
        self._given_back.setdefault(self._lane(task), deque()).appendleft((number, task))

    def _line(self, task: Any) -> deque[tuple[int, Any]]:
        return self._waiting.setdefault(self._lane(task), deque())
