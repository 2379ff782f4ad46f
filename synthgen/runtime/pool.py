"""A pool of supervised worker processes.

    parent: run(tasks) ──assign──> pipe ──> worker: target(channel, *args)
       ^                                        | channel.get() -> Assignment, or None at the end
       └── Done, Note, Restarted <── pipe <─────┘ channel.done(task, value), channel.note(value)

Tasks and values are small: row ranges out, outcomes back, never arrays. A worker that dies is noticed
through its sentinel; its tasks go to the front of the queue and a new worker takes its place, a bounded
number of times. A worker whose parent dies ends itself. Neither ``multiprocessing.Pool`` (hangs when a
worker is killed) nor ``ProcessPoolExecutor`` (one death breaks the whole pool) does this.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from synthgen.errors import WorkerDied
from synthgen.runtime.worker import Assignment, Channel, worker_environment, worker_main

__all__ = ["Assignment", "Channel", "Done", "Note", "Pool", "Restarted"]

#: How long the parent waits for news before it looks at admission and stop requests again.
POLL_S = 0.1
#: How long workers may take to leave after they were told that there is no more work.
LEAVE_S = 10.0


@dataclass(frozen=True)
class Done:
    """A worker finished ``task`` with ``value``."""

    task: Any
    value: Any


@dataclass(frozen=True)
class Note:
    """A worker reported ``value`` in the middle of its work."""

    worker: int
    value: Any


@dataclass(frozen=True)
class Restarted:
    """A worker ended unasked with ``exit_code``; ``tasks`` will be done again by another."""

    worker: int
    exit_code: int
    tasks: tuple[Any, ...]


@dataclass
class _Worker:
    index: int
    process: SpawnProcess
    connection: Connection
    assigned: dict[int, Any] = field(default_factory=dict)
    told_to_leave: bool = False


class Pool:
    """``n_workers`` processes, each running ``target(channel, *args)`` until its channel ends.

    ``in_flight``: assignments a worker holds at once (2 keeps it busy while its answer travels).
    ``max_deaths``: how often one task may lose its worker before the run fails with WorkerDied.
    ``target`` and ``args`` are picklable. Exceptions of a worker are raised in the parent.
    """

    def __init__(
        self,
        target: Callable[..., None],
        args: tuple[Any, ...],
        n_workers: int,
        *,
        in_flight: int = 2,
        max_deaths: int = 3,
    ) -> None:
        self._target = target
        self._args = args
        self._n_workers = n_workers
        self._in_flight = in_flight
        self._max_deaths = max_deaths
        self._workers: list[_Worker] = []
        self._deaths: dict[int, int] = {}
        self._idle_deaths = 0
        self._stopping = False

    def __enter__(self) -> Pool:
        self._workers = [self._start(index) for index in range(self._n_workers)]
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.process.pid for worker in self._workers if worker.process.pid is not None]

    def stop(self, *, hurry: bool = False) -> None:
        """Hand out nothing more; :meth:`run` ends when what was handed out is finished.

        ``hurry`` tells the workers at once that nothing more will come, so that they may cut short what
        they hold. May be called again, to hurry after all.
        """
        self._stopping = True
        if hurry:
            for worker in self._workers:
                self._dismiss(worker)

    def kill(self) -> None:
        """End all workers at once."""
        for worker in self._workers:
            worker.connection.close()
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
        self._workers = []

    def run(
        self,
        tasks: Iterable[Any],
        *,
        admit: Callable[[], bool] = lambda: True,
        lane: Callable[[Any], int | None] = lambda task: None,
    ) -> Iterator[Done | Note | Restarted | None]:
        """Hand ``tasks`` out and yield what comes back; None when nothing came for a while.

        ``admit`` is asked before a further task is handed out while others are under way (memory). ``lane``
        names the worker (0-based) that alone may do a task; None leaves it to any. The iterator ends when
        every task is done, or those handed out before :meth:`stop`; then the workers leave.
        """
        queue = _Queue(tasks, lane)
        while True:
            self._assign(queue, admit)
            if not any(worker.assigned for worker in self._workers) and (self._stopping or queue.empty()):
                break
            yield from self._collect(queue)
        yield from self._leave()

    def _assign(self, queue: _Queue, admit: Callable[[], bool]) -> None:
        # Round by round, so that the first tasks go to different workers.
        for depth in range(1, self._in_flight + 1):
            for worker in self._workers:
                if self._stopping or len(worker.assigned) >= depth or queue.empty():
                    continue
                if any(w.assigned for w in self._workers) and not admit():
                    return
                taken = queue.take(worker.index)
                if taken is None:
                    continue
                number, task = taken
                worker.assigned[number] = task
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its sentinel tells
                    worker.connection.send(Assignment(number, task))

    def _collect(self, queue: _Queue) -> Iterator[Done | Note | Restarted | None]:
        # A dismissed worker that holds nothing may leave when it likes.
        busy = [worker for worker in self._workers if worker.assigned or not worker.told_to_leave]
        sources = {worker.connection: worker for worker in busy}
        sentinels = {worker.process.sentinel: worker for worker in busy}
        ready = wait([*sources, *sentinels], POLL_S)
        if not ready:
            yield None
        for source in ready:
            if source in sources:
                yield from self._receive(sources[source])
        for source in ready:
            if source in sentinels:
                yield from self._bury(sentinels[source], queue)

    def _receive(self, worker: _Worker) -> Iterator[Done | Note]:
        try:
            while worker.connection.poll():
                kind, number, value = worker.connection.recv()
                if kind == "done":
                    yield Done(worker.assigned.pop(number), value)
                elif kind == "note":
                    yield Note(worker.index, value)
                else:
                    raise value
        except (EOFError, OSError):  # OSError: it died in the middle of a message
            return  # its sentinel tells

    def _bury(self, worker: _Worker, queue: _Queue) -> Iterator[Done | Note | Restarted]:
        yield from self._receive(worker)  # what it said before it died
        if worker.told_to_leave and not worker.assigned:
            return
        worker.process.join()
        exit_code = worker.process.exitcode or 0
        worker.connection.close()
        if not worker.assigned:
            self._idle_deaths += 1
            if self._idle_deaths > self._max_deaths * self._n_workers:
                raise WorkerDied(f"workers end before they have work, the last with exit code {exit_code}")
        for number, task in worker.assigned.items():  # the oldest first: it is the likeliest cause
            self._deaths[number] = self._deaths.get(number, 0) + 1
            if self._deaths[number] > self._max_deaths:
                raise WorkerDied(
                    f"{self._deaths[number]} workers died over it, the last with exit code {exit_code}",
                    where=str(task),
                    next_step="run the same command again to continue; -9 is often the kernel's "
                    "out-of-memory killer: lower --memory-budget or --workers",
                )
        for number, task in reversed(worker.assigned.items()):
            queue.put_back(number, task)
        if not worker.told_to_leave:
            self._workers[self._workers.index(worker)] = self._start(worker.index)
        yield Restarted(worker.index, exit_code, tuple(worker.assigned.values()))
        worker.assigned = {}

    def _leave(self) -> Iterator[Note]:
        """Tell the workers that there is no more; pass on their last notes."""
        for worker in self._workers:
            self._dismiss(worker)
        for worker in self._workers:
            with contextlib.suppress(EOFError, OSError):
                while worker.connection.poll(LEAVE_S):
                    yield from self._receive_one(worker)

    def _dismiss(self, worker: _Worker) -> None:
        if not worker.told_to_leave:
            worker.told_to_leave = True
            with contextlib.suppress(OSError):  # it died: its sentinel tells
                worker.connection.send(None)

    def _receive_one(self, worker: _Worker) -> Iterator[Note]:
        kind, _, value = worker.connection.recv()
        if kind == "error":
            raise value
        yield Note(worker.index, value)

    def _start(self, index: int) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=worker_main,
            args=(theirs, index, self._target, self._args),
            name=f"synthgen-worker-{index}",
        )
        with worker_environment():
            process.start()
        theirs.close()
        return _Worker(index, process, ours)


class _Queue:
    """Tasks by number: those given back first, then the iterable, drawn no further than needed."""

    def __init__(self, tasks: Iterable[Any], lane: Callable[[Any], int | None]) -> None:
        self._rest = enumerate(tasks)
        self._lane = lane
        self._waiting: dict[int | None, deque[tuple[int, Any]]] = {}

    def empty(self) -> bool:
        if not any(self._waiting.values()):
            for number, task in self._rest:
                self._line(task).append((number, task))
                break
        return not any(self._waiting.values())

    def take(self, worker: int) -> tuple[int, Any] | None:
        """Return the next task that ``worker`` may do; those that it may not are kept for others."""
        for lane in (worker, None):
            if self._waiting.get(lane):
                return self._waiting[lane].popleft()
        for number, task in self._rest:
            if self._lane(task) in (worker, None):
                return number, task
            self._line(task).append((number, task))
        return None

    def put_back(self, number: int, task: Any) -> None:
        self._line(task).appendleft((number, task))

    def _line(self, task: Any) -> deque[tuple[int, Any]]:
        return self._waiting.setdefault(self._lane(task), deque())
