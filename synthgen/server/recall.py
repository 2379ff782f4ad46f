"""Vector search: exactly, every vector compared, a block at a time; by the index; exactly by the index.

Memory is bounded in each. Cosines that are told are always exact, of vectors as they are stored.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthgen.server.covering import SpaceIndex, View
from synthgen.server.reading import Readers, read_vectors, read_vectors_of
from synthgen.server.store import Space

#: Vectors of one block: 6 MB of float32.
BLOCK_ROWS = 2_048
#: Candidates kept beyond those asked for, before the last word in float64: their order in float32 is
#: uncertain by about 1e-6.
SPARE = 64
#: The same for an index that has to prove itself, and how many it may be asked for before all are compared.
SPARE_PROVEN, MOST_TOLD = 256, 20_000
#: Read at first beyond those asked for, of what an index tells of: mostly that is all that has to be read.
#: Each costs a read of the disk where the database does not fit the memory.
_SPARE_READ = 6
#: Read at a time where that was not all, at least.
_MORE_READ = 64


class Match(NamedTuple):
    """A memory by its row, and the cosine of its vector to the one sought, in [-1, 1]."""

    row: int
    cosine: float


def nearest(
    readers: Readers, space: Space, n_memories: int, vector: NDArray[np.float64], limit: int
) -> list[Match]:
    """Return the ``limit`` memories of largest cosine to ``vector``, largest first, exactly.

    ``vector`` has shape (768,); where a component is NaN it is unknown, and the cosine is taken over
    the known ones alone. Equal cosines come in the order of the listing. Memories without a vector
    are left out; so are those that are zero in all known components. Every vector is read.
    """
    sought = Sought.of(vector)
    return sought.rank(readers, _scan(readers, space, range(n_memories), sought, limit + SPARE), limit)


def nearest_indexed(
    readers: Readers, entry: SpaceIndex, n_memories: int, vector: NDArray[np.float64], limit: int
) -> list[Match]:
    """As :func:`nearest`, by the index of the space, for a vector without unknown components.

    What the index does not cover is compared exactly; of what it covers, what it finds is, and it may miss
    some. The cosines are exact. Where there is no index, all is.
    """
    sought = Sought.of(vector)
    with entry.view() as view:
        if view.index is not None:
            told = _ask(view, entry.space, sought, limit + SPARE)
    if view.index is None:
        return nearest(readers, entry.space, n_memories, vector, limit)
    rows = compare_uncovered(readers, entry.space, view, n_memories, (sought, limit))
    return sought.rank_told(readers, rows, told, limit)


def nearest_proven(
    readers: Readers, entry: SpaceIndex, n_memories: int, vector: NDArray[np.float64], limit: int
) -> list[Match]:
    """As :func:`nearest`, where the index can prove it: what it has not told of cannot be nearer.

    All its lists are searched. A cosine that it tells is off by a known error at most, so once the last of
    those wanted is nearer than the last of those told by more than that, none is missing. More are asked for
    until that is so; where it takes too many, all vectors are compared.
    """
    sought, n_told = Sought.of(vector), limit + SPARE_PROVEN
    while n_told <= MOST_TOLD:
        with entry.view() as view:
            index = view.index
            if index is None or len(index.loose) > MOST_TOLD:
                break
            others = np.fromiter(index.loose, np.int64, len(index.loose)) + entry.space.first_row
            told = _ask(view, entry.space, sought, n_told, all_lists=True)
        rest = compare_uncovered(readers, entry.space, view, n_memories, (sought, limit))
        matches = sought.rank_told(readers, np.union1d(others, rest), told, limit)
        if len(told.rows) < n_told or is_beyond(matches, limit, told.highest[-1]):
            return matches
        n_told *= 4
    return nearest(readers, entry.space, n_memories, vector, limit)


class Told(NamedTuple):
    """Rows (n,) whose cosines are at most ``highest`` (n,), largest first: so an index tells."""

    rows: NDArray[np.int64]
    highest: NDArray[np.float64]


def _ask(view: View, space: Space, sought: Sought, n_told: int, *, all_lists: bool = False) -> Told:
    """Ask an index for the ``n_told`` nearest of those that it holds as they are; within its view."""
    index = view.index
    assert index is not None
    cosines, ordinals = index.search(sought.unit, n_told, without=view.stale, all_lists=all_lists)
    is_loose = np.array([ordinal in index.loose for ordinal in ordinals.tolist()], np.bool_)
    highest = np.where(is_loose, np.inf, cosines.astype(np.float64) + index.error)
    order = np.argsort(-highest, kind="stable")
    return Told(ordinals[order] + space.first_row, highest[order])


def is_beyond(matches: list[Match], limit: int, cosine: float) -> bool:
    """Return whether there are ``limit`` matches, and the last one is nearer than ``cosine`` tells."""
    return len(matches) == limit and matches[-1].cosine > cosine


def compare_uncovered(
    readers: Readers, space: Space, view: View, n_memories: int, wanted: tuple[Sought, int]
) -> NDArray[np.int64]:
    """Return the rows that may be nearest of those that an index says nothing of."""
    sought, limit = wanted
    rest = _scan(readers, space, range(view.n_covered, n_memories), sought, limit + SPARE)
    return np.union1d(rest, np.array(view.stale, np.int64) + space.first_row)


class Sought(NamedTuple):
    """A vector to compare others with: of length 1 (768,) float64, zero where it is not ``known`` (768,)."""

    vector: NDArray[np.float64]
    known: NDArray[np.bool_]

    @classmethod
    def of(cls, vector: NDArray[np.float64]) -> Sought:
        """Return it for ``vector`` (768,), NaN where it is not known; one known component is not zero."""
        known = np.isfinite(vector)
        sought = np.where(known, vector, 0.0)
        sought /= np.abs(sought).max()
        return cls(sought / np.linalg.norm(sought), known)

    @property
    def unit(self) -> NDArray[np.float32]:
        """The vector in float32."""
        return self.vector.astype(np.float32)

    def rank(self, readers: Readers, rows: NDArray[np.int64], limit: int) -> list[Match]:
        """Return the ``limit`` nearest of ``rows``, by cosines in float64, a block at a time."""
        matches: list[Match] = []
        for start in range(0, len(rows), BLOCK_ROWS):
            found, vectors = read_vectors_of(readers, rows[start : start + BLOCK_ROWS].tolist())
            cosines = _cosines_in_double(vectors * self.known, self.vector)
            order = np.lexsort((found, -cosines))[:limit]
            matches += [Match(int(found[i]), float(cosines[i])) for i in order if np.isfinite(cosines[i])]
        return sorted(matches, key=lambda match: (-match.cosine, match.row))[:limit]

    def rank_told(
        self, readers: Readers, rows: NDArray[np.int64], told: Told, limit: int, most: int = MOST_TOLD
    ) -> list[Match]:
        """Return the ``limit`` nearest of ``rows`` and ``told``; reads all of ``rows``, and of the others no
        more than it takes to know, or ``most`` and a batch.
        """
        matches = self.rank(readers, rows, limit)
        is_other = ~np.isin(told.rows, rows)  # each is read once: it may be replaced meanwhile
        rows, highest = told.rows[is_other], told.highest[is_other]
        n_read, n_next = 0, limit + _SPARE_READ
        while n_read < min(len(rows), most) and not is_beyond(matches, limit, highest[n_read]):
            matches = matches + self.rank(readers, rows[n_read : n_read + n_next], limit)
            matches = sorted(matches, key=lambda match: (-match.cosine, match.row))[:limit]
            n_read += n_next
            n_next = max(_MORE_READ, n_read)
            if len(matches) == limit:
                n_needed = int(np.searchsorted(-highest, -matches[-1].cosine, side="right"))
                n_next = min(n_next, max(1, n_needed - n_read))
        return matches


def _scan(readers: Readers, space: Space, ordinals: range, sought: Sought, keep: int) -> NDArray[np.int64]:
    """Return the ``keep`` rows of ``ordinals`` that are nearest in float32, a block at a time."""
    rows, cosines = np.empty(0, np.int64), np.empty(0, np.float32)
    for start in ordinals[::BLOCK_ROWS]:
        stop = min(start + BLOCK_ROWS, ordinals.stop)
        block_rows, block = read_vectors(readers, space, start, stop)
        rows = np.concatenate((rows, block_rows))
        cosines = np.concatenate((cosines, _cosines(block, sought.vector, sought.known)))
        best = _best(cosines, keep)
        rows, cosines = rows[best], cosines[best]
    return rows


def _cosines(
    block: NDArray[np.float32], sought: NDArray[np.float64], known: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the cosines in float32; -inf where there is none.

    Row by row, here and in float64: BLAS may round the products of equal rows differently, by their places,
    and equal cosines come in the order of the listing.
    """
    compared = block if known.all() else block * known
    with np.errstate(all="ignore"):
        squares: NDArray[np.float32] = np.einsum("ij,ij->i", compared, compared)
        products: NDArray[np.float32] = np.einsum("ij,j->i", compared, sought.astype(np.float32))
        cosines = products / np.sqrt(squares)
    odd: NDArray[np.bool_] = ~((squares > 1e-30) & (squares < 1e30))
    if odd.any():  # squares that overflow or vanish in float32
        cosines[odd] = _cosines_in_double(compared[odd], sought).astype(np.float32)
    return cosines.astype(np.float32, copy=False)


def _cosines_in_double(vectors: NDArray[np.float32], sought: NDArray[np.float64]) -> NDArray[np.float64]:
    exact = vectors.astype(np.float64)
    products = np.einsum("ij,j->i", exact, sought)
    with np.errstate(invalid="ignore"):
        cosines: NDArray[np.float64] = products / np.linalg.norm(exact, axis=1)
    cosines = np.clip(cosines, -1.0, 1.0)
    cosines[np.isnan(cosines)] = -np.inf
    return cosines


def _best(cosines: NDArray[np.float32], keep: int) -> NDArray[np.intp]:
    """Return the places of the ``keep`` largest, of equal ones the first, in their order."""
    if len(cosines) <= keep:
        return np.arange(len(cosines))
    last = np.partition(cosines, -keep)[-keep]
    is_kept = cosines > last
    equal = np.flatnonzero(cosines == last)
    is_kept[equal[: keep - np.count_nonzero(is_kept)]] = True
    return np.flatnonzero(is_kept)
