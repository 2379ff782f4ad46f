"""The writer: one thread that turns requests into group commits, and says when they are on the disk.

Memories that arrive together are handed to the thread together: as soon as one round of the event
loop brings no further one, and after two milliseconds in any case. A lone request so waits for one
empty round, some microseconds. What arrives while a commit is under way goes into the next.

A future is resolved after SQLite's commit returned, which with ``synchronous = FULL`` is after the log
was synced. In idle moments, and when a search waits for it, the same thread brings the full-text index
up to date, a small piece at a time.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen.server.requests import DEFAULT_SPACE, Memory
from synthgen.server.rows import RowWriter, insert_space
from synthgen.server.store import Space, connect_writer, load_spaces
from synthgen.server.texts import TextIndex

#: Memories after which a commit takes no more: bounds its time, and what the largest bodies can hold.
MAX_BATCH = 256
#: Longest that a memory waits for company, while more keep arriving.
MAX_COMPANY_S = 0.002
#: Quiet time after which the text index is worked on.
IDLE_S = 0.2

Future = asyncio.Future[Any]
Stored = tuple[Memory, Future]
_STOP = None


@dataclass(slots=True)
class _Task:
    """Something other than storing that the writer's thread has to do."""

    act: Callable[[], Any]
    future: Future


@dataclass(slots=True)
class _IndexWait:
    """A search that waits until the first ``n_wanted`` memories of ``space`` are in the text index."""

    space: Space
    n_wanted: int
    future: Future


@dataclass(slots=True)
class WriterCounts:
    """What the writer has done since it started; read by anyone, written by its thread."""

    n_commits: int = 0
    n_stored: int = 0
    n_failed: int = 0
    largest_batch: int = 0
    last_error: str = ""


class Writer:
    """Owner of the only connection that writes, and of the spaces' counts.

    ``spaces`` maps names to :class:`Space`; only this object's thread changes it, always after the
    commit that it speaks of, so that readers see counts of what is durable.
    """

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connect_writer(path)
        self._loop = loop
        self._arrived: list[Stored] = []
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._index_waits: list[_IndexWait] = []
        self._stopping = False
        self.counts = WriterCounts()
        self.spaces: dict[str, Space] = load_spaces(self._connection)
        self._texts = TextIndex(self._connection)
        self._rows = RowWriter(self._connection, self._texts)
        if DEFAULT_SPACE not in self.spaces:
            self._create_space(DEFAULT_SPACE)
        self._thread = threading.Thread(target=self._run, name="writer")

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def store(self, memory: Memory) -> Future:
        """Return a future that is done once ``memory`` is durable; raises what the commit raised."""
        future = self._loop.create_future()
        self._arrived.append((memory, future))
        if len(self._arrived) == 1:
            self._loop.call_soon(self._hand_over, 0, self._loop.time() + MAX_COMPANY_S)
        return future

    def _hand_over(self, n_before: int, latest_s: float) -> None:
        """Give what has arrived to the thread, unless the last round of the loop brought more."""
        n_arrived = len(self._arrived)
        if n_before < n_arrived < MAX_BATCH and self._loop.time() < latest_s:
            self._loop.call_soon(self._hand_over, n_arrived, latest_s)
            return
        self._queue.put(self._arrived)
        self._arrived = []

    def create_space(self, name: str) -> Future:
        """Return a future for the :class:`Space` called ``name``, made durably if it is new."""
        future = self._loop.create_future()
        self._queue.put(_Task(lambda: self._create_space(name), future))
        return future

    def index_texts(self, space: Space) -> Future:
        """Return a future that is done once all memories now in ``space`` can be found by text."""
        future = self._loop.create_future()
        self._queue.put(_IndexWait(space, space.n_memories, future))
        return future

    @property
    def text_index_lag(self) -> int:
        """How many memories are not yet in the text index."""
        return sum(space.n_memories - space.n_indexed for space in list(self.spaces.values()))

    def close(self) -> None:
        """Commit what is queued, copy the log into the database, close it; blocks until then."""
        self._queue.put(self._arrived)
        self._queue.put(_STOP)
        self._thread.join()
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    def _run(self) -> None:
        while not self._stopping:
            batch, tasks = self._collect()
            if batch:
                self._commit(batch)
            for task in tasks:
                self._perform(task)
            self._serve_index(idle=not batch and not tasks)
        waiting = [wait.future for wait in self._index_waits]
        self._answer(_reject_all, waiting, RuntimeError("the server is stopping"))

    def _collect(self) -> tuple[list[Stored], list[_Task]]:
        """Wait for work, then take all that has arrived."""
        batch: list[Stored] = []
        tasks: list[_Task] = []
        try:
            job = self._next_job()
            while True:
                if type(job) is list:
                    batch += job
                    if len(batch) >= MAX_BATCH:
                        break
                else:
                    self._take_order(job, tasks)
                job = self._queue.get_nowait()
        except queue.Empty:
            pass
        return batch, tasks

    def _next_job(self) -> Any:
        if self._index_waits:
            return self._queue.get_nowait()
        return self._queue.get(timeout=IDLE_S if self.text_index_lag else None)

    def _take_order(self, job: Any, tasks: list[_Task]) -> None:
        if job is _STOP:
            self._stopping = True
        elif isinstance(job, _IndexWait):
            self._index_waits.append(job)
        else:
            tasks.append(job)

    def _commit(self, batch: list[Stored]) -> None:
        try:
            self._rows.commit([memory for memory, _ in batch], self.spaces)
        except Exception as error:  # the thread must live on: whatever happened, the requests get it
            self._fail([future for _, future in batch], error)
            return
        counts = self.counts
        counts.n_commits += 1
        counts.n_stored += len(batch)
        counts.largest_batch = max(counts.largest_batch, len(batch))
        counts.last_error = ""
        self._answer(_resolve_all, [future for _, future in batch])

    def _fail(self, futures: list[Future], error: Exception) -> None:
        self.counts.n_failed += len(futures)
        self.counts.last_error = f"{type(error).__name__}: {error}"
        self._recover()
        self._answer(_reject_all, futures, error)

    def _recover(self) -> None:
        """Roll back, and believe the file: after a failed sync nobody else knows what is in it."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            for name, found in load_spaces(self._connection).items():
                space = self.spaces.setdefault(name, found)
                space.n_memories, space.n_indexed = found.n_memories, found.n_indexed
        except sqlite3.Error as error:
            self.counts.last_error = f"{type(error).__name__}: {error}"

    def _perform(self, task: _Task) -> None:
        try:
            result = task.act()
        except Exception as error:
            self._fail([task.future], error)
            return
        self._answer(_resolve, task.future, result)

    def _create_space(self, name: str) -> Space:
        if name not in self.spaces:
            self.spaces[name] = insert_space(self._connection, name)
        return self.spaces[name]

    def _serve_index(self, idle: bool) -> None:
        """Index a piece of text for the search that waits longest; in quiet moments, all there is."""
        try:
            if self._index_waits:
                self._advance_for(self._index_waits[0])
            while idle and self._queue.empty() and (space := self._lagging_space()):
                self._texts.advance(space)
        except Exception as error:  # as for commits: the thread must live on
            self._fail([wait.future for wait in self._index_waits], error)
            self._index_waits.clear()

    def _advance_for(self, wait: _IndexWait) -> None:
        if wait.space.n_indexed < wait.n_wanted:
            self._texts.advance(wait.space)
        if wait.space.n_indexed >= wait.n_wanted:
            self._index_waits.pop(0)
            self._answer(_resolve, wait.future, None)

    def _lagging_space(self) -> Space | None:
        return next((space for space in self.spaces.values() if space.n_indexed < space.n_memories), None)

    def _answer(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # the loop is closed: nobody is left to be told
            return


def _resolve(future: Future, result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _resolve_all(futures: list[Future]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def _reject_all(futures: list[Future], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
