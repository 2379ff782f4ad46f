"""A pool of supervised worker processes.

    parent: run(tasks) ──assign──> pipe ──> worker: target(channel, *args)
       ^                                        | channel.get() -> Assignment, or None at the end
       └── Done, Note, Restarted <── pipe <─────┘ channel.done(task, value), channel.note(value)
    parent: tell(worker, value) ────> pipe ──> worker: channel.receive() -> Told

Tasks and values are small: row ranges out, outcomes back, never arrays. A worker that dies is noticed
through its sentinel; its tasks go to the front of the queue and a new worker takes its place, a bounded
number of times. A worker that is stopped (SIGSTOP) is waited for. A worker whose parent dies ends; so must it
when the thread that started it does: Linux ties them together. Neither ``multiprocessing.Pool`` (hangs when a
worker is killed) nor ``ProcessPoolExecutor`` (one death breaks the whole pool) does this.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import selectors
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from synthgen.errors import ResourceError, WorkerDied
from synthgen.runtime.payload import Payload
from synthgen.runtime.tasks import TaskQueue
from synthgen.runtime.worker import Assignment, Channel, Told, worker_environment, worker_main

__all__ = ["Assignment", "Channel", "Done", "Note", "Pool", "Restarted", "Told"]

#: How long the parent waits for news before it looks at admission and stop requests again.
POLL_S = 0.1
_RUN_AGAIN = (
    "run the same command again to continue; -9 is often the kernel's out-of-memory killer: lower "
    "--memory-budget or --workers"
)
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
    is_heard: bool = True


class Pool:
    """``n_workers`` processes, each running ``target(channel, *args)`` until its channel ends.

    ``in_flight``: assignments a worker holds at once (2 keeps it busy while its answer travels).
    ``max_deaths``: how often one task may lose its worker before the run fails with WorkerDied.
    ``target`` and ``args`` are picklable; arrays in ``args`` are shared, and read-only. Exceptions of a
    worker are raised in the parent; ResourceError where the system gives no more processes.
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
        self._given = (target, args)
        self._n_workers = n_workers
        self._in_flight = in_flight
        self._max_deaths = max_deaths
        self._workers: list[_Worker] = []
        self._deaths: dict[int, int] = {}
        self._idle_deaths = 0
        self._stopping = False

    def __enter__(self) -> Pool:
        self._payload = Payload.of(self._given)
        self._selector = selectors.DefaultSelector()
        try:
            for index in range(self._n_workers):
                self._workers.append(self._start(index))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()
        self._selector.close()
        self._payload.close()

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

    def tell(self, worker: int, value: Any) -> None:
        """Send ``value`` to ``worker``, which :meth:`Channel.receive` returns there; lost if it has died."""
        with contextlib.suppress(OSError):  # its sentinel tells
            self._workers[worker].connection.send(Told(value))

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
        queue = TaskQueue(tasks, lane)
        while True:
            self._assign(queue, admit)
            if not any(worker.assigned for worker in self._workers) and self._is_over(queue):
                break
            yield from self._collect(queue)
        yield from self._leave()

    def _assign(self, queue: TaskQueue, admit: Callable[[], bool]) -> None:
        hungry = [worker for worker in self._workers if len(worker.assigned) < self._in_flight]
        # Round by round, so that the first tasks go to different workers.
        for depth in range(1, self._in_flight + 1):
            for worker in hungry:
                if len(worker.assigned) >= depth or worker.told_to_leave:
                    continue
                taken = self._next_task(queue, worker.index, admit)
                if taken is not None:
                    worker.assigned[taken[0]] = taken[1]
                    with contextlib.suppress(OSError):  # it died: its sentinel tells
                        worker.connection.send(Assignment(*taken))

    def _next_task(self, queue: TaskQueue, worker: int, admit: Callable[[], bool]) -> tuple[int, Any] | None:
        """Return what ``worker`` may do now: always what was given back, for which others may wait."""
        again = queue.take_given_back(worker)
        if again is not None or self._stopping or queue.empty():
            return again
        if any(w.assigned for w in self._workers) and not admit():
            return None
        return queue.take(worker)

    def _is_over(self, queue: TaskQueue) -> bool:
        """Return whether nothing is left to hand out: after :meth:`stop`, what was given back still is."""
        if self._stopping:
            return not queue.has_given_back() or all(worker.told_to_leave for worker in self._workers)
        return queue.empty()

    def _collect(self, queue: TaskQueue) -> Iterator[Done | Note | Restarted | None]:
        ready = [key for key, _ in self._selector.select(POLL_S)]
        if not ready:
            yield None
        for key in ready:
            if key.fileobj is key.data.connection:
                yield from self._receive(key.data)
        for key in ready:
            if key.fileobj == key.data.process.sentinel:
                yield from self._bury(key.data, queue)

    def _receive(self, worker: _Worker) -> Iterator[Done | Note]:
        """Pass on one message of ``worker``, which has come."""
        try:
            kind, number, value = worker.connection.recv()
        except (EOFError, OSError):  # it ended; OSError: in the middle of a message
            self._selector.unregister(worker.connection)  # its sentinel tells
            worker.is_heard = False
            return
        if kind == "done":
            yield Done(worker.assigned.pop(number), value)
        elif kind == "note":
            yield Note(worker.index, value)
        else:
            raise value

    def _bury(self, worker: _Worker, queue: TaskQueue) -> Iterator[Done | Note | Restarted]:
        yield from self._last_words(worker)
        self._selector.unregister(worker.process.sentinel)
        worker.process.join()
        exit_code = worker.process.exitcode or 0
        worker.connection.close()
        if worker.told_to_leave and not worker.assigned:
            return
        if not worker.assigned:
            self._idle_deaths += 1
            if self._idle_deaths > self._max_deaths * self._n_workers:
                raise WorkerDied(
                    f"workers end before they have work, the last with exit code {exit_code}",
                    next_step=f"what they printed may say why; {_RUN_AGAIN}",
                )
        for number, task in worker.assigned.items():  # the oldest first: it is the likeliest cause
            self._deaths[number] = self._deaths.get(number, 0) + 1
            if self._deaths[number] > self._max_deaths:
                raise WorkerDied(
                    f"{self._deaths[number]} workers died over it, the last with exit code {exit_code}",
                    where=str(task),
                    next_step=_RUN_AGAIN,
                )
        for number, task in reversed(worker.assigned.items()):
            queue.put_back(number, task)
        if not worker.told_to_leave:
            self._workers[self._workers.index(worker)] = self._start(worker.index)
        yield Restarted(worker.index, exit_code, tuple(worker.assigned.values()))
        worker.assigned = {}

    def _last_words(self, worker: _Worker) -> Iterator[Done | Note]:
        while worker.is_heard:
            yield from self._receive(worker)  # to its end, which has come

    def _leave(self) -> Iterator[Done | Note]:
        """Tell the workers that there is no more; pass on their last notes."""
        for worker in self._workers:
            self._dismiss(worker)
        for worker in self._workers:
            while worker.is_heard and worker.connection.poll(LEAVE_S):
                yield from self._receive(worker)

    def _dismiss(self, worker: _Worker) -> None:
        if not worker.told_to_leave:
            worker.told_to_leave = True
            with contextlib.suppress(OSError):  # it died: its sentinel tells
                worker.connection.send(None)

    def _start(self, index: int) -> _Worker:
        context = multiprocessing.get_context("spawn")
        try:
            ours, theirs = context.Pipe()
            process = context.Process(
                target=worker_main, args=(theirs, index, self._payload), name=f"synthgen-worker-{index}"
            )
            with worker_environment():
                process.start()
        except OSError as error:
            raise ResourceError(
                f"worker {index + 1} could not be started ({error.strerror or error})",
                next_step="lower --workers, or raise the limits on processes and open files (ulimit -u, -n)",
            ) from error
        theirs.close()
        worker = _Worker(index, process, ours)
        self._selector.register(ours, selectors.EVENT_READ, worker)
        self._selector.register(process.sentinel, selectors.EVENT_READ, worker)
        return worker
