"""The writer: one thread that turns groups of memories into commits, and says when they are on the disk.

Those who wait are told after SQLite's commit returned, which with ``synchronous = FULL`` is after the log
was synced. In idle moments, and when a search waits for it, the same thread brings the full-text index
up to date, a small piece at a time.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen.server.gathering import MAX_BATCH, Arrivals, Done, Gathering
from synthgen.server.requests import DEFAULT_SPACE, Memory
from synthgen.server.rows import RowWriter, insert_space
from synthgen.server.store import FilesLostError, OpenFiles, Space, connect_writer, load_spaces
from synthgen.server.texts import TextIndex

#: Quiet time after which the text index is worked on.
IDLE_S = 0.2
#: So long a program that reads the database may keep the log from being copied into it at the end.
_CLOSING_MS = 3_000
#: Quiet time after which it is seen whether the files are still there.
LOOK_S = 2.0

Future = asyncio.Future[Any]
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
    """What the writer has done since it started; read by anyone, written by its thread.

    ``last_error``, ``text_error``: of the last commit and the last work on texts, empty where it went well.
    ``ruin``: why nothing can be stored any more.
    """

    n_commits: int = 0
    n_stored: int = 0
    n_failed: int = 0
    largest_batch: int = 0
    last_error: str = ""
    text_error: str = ""
    ruin: str = ""


class Writer:
    """Owner of the only connection that writes, and of the spaces' counts.

    ``spaces`` maps names to :class:`Space`; only this object's thread changes it, always after the
    commit that it speaks of, so that readers see counts of what is durable.
    """

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connect_writer(path)
        self._loop = loop
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._gathering = Gathering(loop, self._queue.put)
        self._index_waits: list[_IndexWait] = []
        self._stopping = False
        self._texts_lag = True  # until seen otherwise; the sum over all spaces is not for every commit
        self._is_uncertain = False
        self.counts = WriterCounts()
        #: Called after each commit and before it is answered, with the rows that were replaced (rows.py).
        self.on_commit: Callable[[dict[int, int]], None] = lambda replaced: None
        self.spaces: dict[str, Space] = load_spaces(self._connection)
        self._texts = TextIndex(self._connection)
        self._rows = RowWriter(self._connection, self._texts)
        if DEFAULT_SPACE not in self.spaces:
            self._create_space(DEFAULT_SPACE)
        self._files = OpenFiles(path)
        self._thread = threading.Thread(target=self._run, name="writer")

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def store(self, memory: Memory) -> Future:
        """Return a future that is done once ``memory`` is durable; raises what the commit raised."""
        future = self._loop.create_future()
        self.submit(memory, lambda error: _settle(future, error))
        return future

    def submit(self, memory: Memory, done: Done) -> None:
        """Have ``memory`` stored; ``done`` is called when it is durable, or is not stored."""
        self._gathering.add(memory, done)

    def create_space(self, name: str) -> Future:
        """Return a future for the :class:`Space` called ``name``, made durably if it is new."""
        return self._order(lambda: self._create_space(name))

    def rename(self, space: str, memory_id: str, new_id: str) -> Future:
        """Return a future that is done once ``memory_id`` goes by ``new_id``, durably; quirks need it."""
        return self._order(lambda: self._rename(space, memory_id, new_id))

    def _order(self, act: Callable[[], Any]) -> Future:
        """Return a future for what ``act`` returns, which the thread calls."""
        future = self._loop.create_future()
        self._queue.put(_Task(act, future))
        return future

    def perform(self, act: Callable[[sqlite3.Connection], None]) -> None:
        """Run ``act`` on the connection that writes, and wait for it; from another thread than the loop's.

        Raises what it raised, with its transaction rolled back.
        """
        done = concurrent.futures.Future[None]()

        def run() -> None:
            try:
                act(self._connection)
            except Exception as error:
                self._recover()
                done.set_exception(error)
            else:
                done.set_result(None)

        self._order(run)
        done.result()

    def index_texts(self, space: Space) -> Future:
        """Return a future that is done once all memories now in ``space`` can be found by text."""
        future = self._loop.create_future()
        if space.n_indexed >= space.n_memories:
            future.set_result(None)
            return future
        self._queue.put(_IndexWait(space, space.n_memories, future))
        return future

    @property
    def is_alive(self) -> bool:
        """Whether anything can be stored: the thread runs."""
        return self._thread.is_alive()

    @property
    def text_index_lag(self) -> int:
        """How many memories are not yet in the text index."""
        return sum(space.n_memories - space.n_indexed for space in list(self.spaces.values()))

    def close(self) -> None:
        """Commit what is queued, copy the log into the database, close it; blocks until then."""
        self._gathering.finish()
        self._queue.put(_STOP)
        self._thread.join()
        try:
            self._connection.execute(f"PRAGMA busy_timeout = {_CLOSING_MS}")
            is_busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self._connection.close()
        if is_busy:
            raise sqlite3.OperationalError("another program reads the database")

    def _run(self) -> None:
        while not self._stopping:
            batch, tasks = self._collect()
            if batch:
                self._commit(batch)
            for task in tasks:
                self._perform(task)
            is_idle = not batch and not tasks
            self._serve_index(is_idle)
            if is_idle:
                self._look()
        waiting = [wait.future for wait in self._index_waits]
        self._answer(_reject_all, waiting, RuntimeError("the server is stopping"))

    def _collect(self) -> tuple[Arrivals, list[_Task]]:
        """Wait for work, then take all that has arrived."""
        batch: Arrivals = []
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
        return self._queue.get(timeout=IDLE_S if self._texts_lag else LOOK_S)

    def _take_order(self, job: Any, tasks: list[_Task]) -> None:
        if job is _STOP:
            self._stopping = True
        elif isinstance(job, _IndexWait):
            self._index_waits.append(job)
        else:
            tasks.append(job)

    def _commit(self, batch: Arrivals) -> None:
        try:
            self._make_certain()
            replaced = self._rows.commit([memory for memory, _ in batch], self.spaces)
            self._files.check()
            self.on_commit(replaced)
        except Exception as error:  # the thread must live on: whatever happened, the requests get it
            self._note_failure(len(batch), error)
            self._gathering.settled(batch, error)
            return
        counts = self.counts
        counts.n_commits += 1
        counts.n_stored += len(batch)
        counts.largest_batch = max(counts.largest_batch, len(batch))
        counts.last_error = ""
        self._texts_lag = True
        self._gathering.settled(batch, None)

    def _fail(self, futures: list[Future], error: Exception) -> None:
        self._note_failure(len(futures), error)
        self._answer(_reject_all, futures, error)

    def _note_failure(self, n_failed: int, error: Exception) -> None:
        self.counts.n_failed += n_failed
        self.counts.last_error = _in_words(error)
        if isinstance(error, FilesLostError):
            self.counts.ruin = str(error)
        self._recover()

    def _recover(self) -> None:
        """Find out what is stored; where that fails, too, it is done before the next work."""
        self._is_uncertain = True
        try:
            self._make_certain()
        except Exception as error:  # the thread must live on
            self.counts.last_error = _in_words(error)

    def _make_certain(self) -> None:
        """After an error roll back, and believe the file: after a failed sync nobody else knows.

        Nothing may be written before: in a transaction that was left open it would seem stored.
        """
        if self._is_uncertain:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            for name, found in load_spaces(self._connection).items():
                space = self.spaces.setdefault(name, found)
                space.n_memories, space.n_indexed = found.n_memories, found.n_indexed
            self._is_uncertain = False

    def _look(self) -> None:
        try:
            self._files.check()
        except Exception as error:  # a disk that does not answer says so at the next commit
            if isinstance(error, FilesLostError):
                self.counts.ruin = str(error)

    def _perform(self, task: _Task) -> None:
        try:
            self._make_certain()
            result = task.act()
            self._files.check()
        except Exception as error:
            self._fail([task.future], error)
            return
        self._answer(_resolve, task.future, result)

    def _rename(self, space: str, memory_id: str, new_id: str) -> None:
        self._connection.execute(
            "UPDATE memory SET id = ? WHERE space = ? AND id = ?",
            (new_id, self.spaces[space].number, memory_id),
        )

    def _create_space(self, name: str) -> Space:
        if name not in self.spaces:
            self.spaces[name] = insert_space(self._connection, name)
        return self.spaces[name]

    def _serve_index(self, idle: bool) -> None:
        """Index a piece of text for the search that waits longest; in quiet moments, all there is."""
        if not self._index_waits and not (idle and self._texts_lag):
            return
        try:
            self._make_certain()
            if self._index_waits:
                self._advance_for(self._index_waits[0])
            while idle and self._texts_lag and self._queue.empty():
                self._advance_any()
            self.counts.text_error = ""
        except Exception as error:  # as for commits: the thread must live on
            self._answer(_reject_all, [wait.future for wait in self._index_waits], error)
            self._index_waits.clear()
            self.counts.text_error = _in_words(error)
            self._recover()

    def _advance_for(self, wait: _IndexWait) -> None:
        if wait.space.n_indexed < wait.n_wanted:
            self._texts.advance(wait.space)
        if wait.space.n_indexed >= wait.n_wanted:
            self._index_waits.pop(0)
            self._answer(_resolve, wait.future, None)

    def _advance_any(self) -> None:
        lagging = next((space for space in self.spaces.values() if space.n_indexed < space.n_memories), None)
        if lagging is not None:
            self._texts.advance(lagging)
        self._texts_lag = lagging is not None

    def _answer(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # the loop is closed: nobody is left to be told
            return


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _settle(future: Future, error: Exception | None) -> None:
    if error is None:
        _resolve(future, None)
    else:
        _reject_all([future], error)


def _resolve(future: Future, result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _reject_all(futures: list[Future], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
