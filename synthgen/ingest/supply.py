"""Inside a group: batches as they were assigned, cut into jobs (one row each), and put together again."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from synthgen.errors import InputError, SynthgenError
from synthgen.ingest.deadletters import DeadLetter
from synthgen.ingest.plan import Batch, Intervals
from synthgen.ingest.retry import Retry
from synthgen.ingest.stats import Stats
from synthgen.runtime.pool import Assignment
from synthgen.specs import CHUNK_ROWS, RowReader

#: Bodies held of one batch, in bytes: rows are read in slices of about this size, a chunk at most.
SLICE_BYTES = 16 * 2**20


class Job:
    """One row on its way: its batch (None for a control request), body and failures so far."""

    __slots__ = ("batch", "body", "retry", "row", "was_stale")

    def __init__(self, batch: OpenBatch | None, row: int, body: bytes, retry: Retry) -> None:
        self.batch = batch
        self.row = row
        self.body = body
        self.retry = retry
        self.was_stale = False


@dataclass(frozen=True)
class Outcome:
    """How a batch ended in its group: finished row runs [start, stop), dead letters among them, the counts
    since the group's last report, and the error that cut it short, if any.
    """

    runs: tuple[tuple[int, int], ...]
    dead: tuple[DeadLetter, ...]
    stats: Stats
    failure: SynthgenError | None = None


@dataclass
class OpenBatch:
    """A batch being sent. Rows below ``next_row`` were issued; ``n_open`` of them have not ended yet;
    ``lost_rows`` never will, since the group is leaving.
    """

    number: int
    batch: Batch
    next_row: int = 0
    n_open: int = 0
    exhausted: bool = False
    dead: list[DeadLetter] = field(default_factory=list)
    lost_rows: set[int] = field(default_factory=set)
    failure: SynthgenError | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is left to do."""
        return self.exhausted and self.n_open == 0

    def runs(self, unfinished: set[int]) -> tuple[tuple[int, int], ...]:
        """Return the finished rows as runs, given which issued rows are not."""
        if not unfinished:
            return ((self.batch.start, self.next_row),) if self.next_row > self.batch.start else ()
        done = Intervals()
        start = self.batch.start
        for row in sorted(unfinished):
            done.add(start, row)
            start = row + 1
        done.add(start, self.next_row)
        residues, n_spaces = self.batch.residues, self.batch.n_spaces
        # A run between two unfinished rows may hold none of this batch's rows.
        return tuple(
            (low, high)
            for low, high in done
            if any(row % n_spaces in residues for row in range(low, min(high, low + n_spaces)))
        )


class Supply:
    """Issues the jobs of assigned batches in order; reads bodies slice by slice."""

    def __init__(self, reader: RowReader, body_bytes: int, fresh: Retry) -> None:
        self.open: dict[int, OpenBatch] = {}
        self._reader = reader
        self._slice_rows = max(1, min(CHUNK_ROWS, SLICE_BYTES // max(1, body_bytes)))
        self._fresh = fresh
        self._waiting: list[OpenBatch] = []
        self._current: OpenBatch | None = None
        self._rows: Iterator[tuple[int, bytes]] = iter(())
        self._slice_stop = 0

    def add(self, assignment: Assignment) -> OpenBatch:
        """Take an assignment whose task is a Batch."""
        batch: Batch = assignment.task
        opened = OpenBatch(assignment.number, batch, batch.start)
        self.open[assignment.number] = opened
        self._waiting.append(opened)
        return opened

    def next(self) -> Job | None:
        """Return a job for the next row, or None when no batch has one left; batches may then be over."""
        while True:
            for row, body in self._rows:
                batch = self._current
                assert batch is not None
                batch.n_open += 1
                batch.next_row = row + 1
                return Job(batch, row, body, self._fresh)
            if not self._advance():
                return None

    def body_of(self, row: int) -> bytes:
        """Return the body of one row."""
        return self._reader.read(row, row + 1)[0]

    def _advance(self) -> bool:
        # Next slice of the current batch, else the first of the next; False when there is none.
        if self._current is None:
            if not self._waiting:
                return False
            self._current = self._waiting.pop(0)
            self._slice_stop = self._current.batch.start
        opened = self._current
        opened.next_row = self._slice_stop  # rows of other groups at the slice's end are passed, too
        if opened.next_row < opened.batch.stop:
            try:
                self._rows = self._read_slice(opened.batch, opened.next_row)
                return True
            except SynthgenError as error:
                opened.failure = error
        opened.exhausted = True
        self._current = None
        return True

    def _read_slice(self, batch: Batch, start: int) -> Iterator[tuple[int, bytes]]:
        # Slices end at chunk borders: sources make or check whole chunks.
        stop = min(batch.stop, start + self._slice_rows, (start // CHUNK_ROWS + 1) * CHUNK_ROWS)
        bodies = self._reader.read(start, stop)
        if len(bodies) != stop - start:
            raise InputError(f"rows {start:,} to {stop - 1:,} of the input are {len(bodies):,} bodies")
        self._slice_stop = stop
        rows = zip(range(start, stop), bodies, strict=True)
        if batch.is_whole:
            return rows
        wanted = frozenset(batch.residues)
        return iter([(row, body) for row, body in rows if row % batch.n_spaces in wanted])


class Later:
    """Jobs that wait for another attempt, by the time when it is due."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Job]] = []
        self._n_added = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, job: Job, due_s: float) -> None:
        """Keep ``job`` until ``due_s``."""
        self._n_added += 1
        heapq.heappush(self._heap, (due_s, self._n_added, job))

    def take(self, now_s: float) -> Job | None:
        """Return a job that is due by ``now_s``, the longest due first."""
        return heapq.heappop(self._heap)[2] if self._heap and self._heap[0][0] <= now_s else None

    def next_s(self) -> float:
        """Return when the next one is due; infinity when there is none."""
        return self._heap[0][0] if self._heap else math.inf

    def rows_of(self, opened: OpenBatch) -> set[int]:
        """Return the rows of one batch that wait."""
        return {job.row for _, _, job in self._heap if job.batch is opened}
