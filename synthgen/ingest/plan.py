"""Which rows are still to be sent, and how they are cut into batches.

Row i goes to the space with index i modulo the number of spaces: its residue. What is finished is kept as
row intervals for each residue, so that batch size, connections and processes may change between runs.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, zip_longest


class Intervals:
    """A set of rows, as sorted intervals [start, stop) that neither touch nor overlap."""

    def __init__(self, intervals: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in intervals:
            self.add(start, stop)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._starts, self._stops, strict=True))

    def add(self, start: int, stop: int) -> None:
        """Add the rows [start, stop)."""
        if stop <= start:
            return
        first = bisect_left(self._stops, start)
        last = bisect_right(self._starts, stop)
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]

    def covers(self, start: int, stop: int) -> bool:
        """Return whether all of [start, stop) is in the set."""
        index = bisect_right(self._starts, start) - 1
        return stop <= start or (index >= 0 and stop <= self._stops[index])

    def edges(self, stop: int) -> set[int]:
        """Return all interval ends below ``stop``."""
        return {edge for edge in (*self._starts, *self._stops) if edge < stop}


@dataclass(frozen=True)
class Batch:
    """The rows of [start, stop) that go to the spaces ``residues`` out of ``n_spaces``, for one group.

    ``lane``: the only group that may send them, or None for any.
    """

    start: int
    stop: int
    n_spaces: int = 1
    residues: tuple[int, ...] = (0,)
    lane: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every row of the range is meant."""
        return len(self.residues) == self.n_spaces

    def __str__(self) -> str:
        spaces = "" if self.is_whole else f" of spaces {', '.join(map(str, self.residues))}"
        return f"rows {self.start:,} to {self.stop - 1:,}{spaces}"


def count_rows(start: int, stop: int, n_spaces: int, residues: Iterable[int]) -> int:
    """Return how many rows of [start, stop) have one of the ``residues`` modulo ``n_spaces``."""
    return sum(len(range(start + (residue - start) % n_spaces, stop, n_spaces)) for residue in residues)


class Finished:
    """The rows that need not be sent any more, for each of ``n_spaces`` residues."""

    def __init__(self, n_spaces: int) -> None:
        self.n_spaces = n_spaces
        self._by_residue = [Intervals() for _ in range(n_spaces)]

    def add(self, start: int, stop: int, residues: Iterable[int]) -> None:
        """Add the rows of [start, stop) with these residues."""
        for residue in residues:
            self._by_residue[residue].add(start, stop)

    def count(self, n_rows: int) -> int:
        """Return how many of the first ``n_rows`` rows are finished."""
        return sum(
            count_rows(start, min(stop, n_rows), self.n_spaces, (residue,))
            for residue, intervals in enumerate(self._by_residue)
            for start, stop in intervals
        )

    def pending(self, n_rows: int, residues: tuple[int, ...]) -> Iterator[tuple[int, int, tuple[int, ...]]]:
        """Yield (start, stop, residues) of all rows below ``n_rows`` that are not finished, in order."""
        edges = {0, n_rows}.union(*(self._by_residue[residue].edges(n_rows) for residue in residues))
        bounds = sorted(edges)
        for start, stop in pairwise(bounds):
            left = tuple(r for r in residues if not self._by_residue[r].covers(start, stop))
            if left:
                yield start, stop, left


def plan_lanes(n_spaces: int, n_groups: int) -> list[tuple[int, ...]]:
    """Return which residues each group owns; with one space it is shared by all groups: one lane."""
    n_lanes = min(n_spaces, n_groups)
    return [tuple(range(lane, n_spaces, n_lanes)) for lane in range(n_lanes)]


def plan_batches(finished: Finished, n_rows: int, batch_rows: int, n_groups: int) -> Iterator[Batch]:
    """Yield batches of at most ``batch_rows`` rows for all that is pending, the lanes taking turns."""
    lanes = plan_lanes(finished.n_spaces, n_groups)
    pieces = [_cut(finished, n_rows, batch_rows, lane) for lane in lanes]
    for turn in zip_longest(*pieces):
        for lane, piece in enumerate(turn):
            if piece is not None:
                start, stop, residues = piece
                yield Batch(start, stop, finished.n_spaces, residues, lane if len(lanes) > 1 else None)


def _cut(
    finished: Finished, n_rows: int, batch_rows: int, residues: tuple[int, ...]
) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    for start, stop, left in list(finished.pending(n_rows, residues)):
        width = max(1, batch_rows * finished.n_spaces // len(left))
        for low in range(start, stop, width):
            high = min(low + width, stop)
            if count_rows(low, high, finished.n_spaces, left):
                yield low, high, left
