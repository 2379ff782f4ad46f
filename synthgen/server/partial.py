"""Vector search over some components alone, exactly, by an index that holds all of them as bytes.

Bytes tell of each vector about where it is: within ``error`` of what they stand for, over any components. So
the angle between the two is at most asin(error / length), which bounds the cosine to the vector sought from
both sides. Only what may be among the nearest by these bounds is read from the store and compared.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synthgen.server.covering import SpaceIndex, View
from synthgen.server.reading import Readers
from synthgen.server.recall import (
    BLOCK_ROWS,
    MOST_TOLD,
    Match,
    Sought,
    Told,
    compare_uncovered,
    is_beyond,
    nearest,
)
from synthgen.server.vectors import FLOAT_ERROR, Part, VectorIndex

Doubles = NDArray[np.float64]

#: Where more than this share of an index would have to be read by key, all vectors are compared in order.
_MOST_SHARE = 0.125


def nearest_partial(
    readers: Readers, entry: SpaceIndex, n_memories: int, vector: Doubles, limit: int
) -> list[Match]:
    """As :func:`recall.nearest`, by the index of the space, with the same result.

    Where there is no index, or its bounds leave too many to be compared, all vectors are.
    """
    sought = Sought.of(vector)
    told = _look(entry, sought, limit)
    matches = told.prove(readers, n_memories) if told else None
    return nearest(readers, entry.space, n_memories, vector, limit) if matches is None else matches


def _look(entry: SpaceIndex, sought: Sought, limit: int) -> _Told | None:
    """Return what the index tells; others may change it meanwhile, unless something was taken out."""
    for gives_way in (True, False):
        with entry.view() as view:
            if view.index is None or len(view.index.loose) > MOST_TOLD:
                return None
            told, n_removals = _Told(entry, view, view.index, sought, limit), view.index.n_removals
            for part in view.index.parts(sought.unit, sought.known):
                told.see(part)
                if gives_way:
                    view.index.lock.give_way()
            if view.index.n_removals == n_removals:  # else one may have moved from a part to one seen before
                break
    return told


class _Told:
    """Which vectors may be among the ``limit`` nearest, by the bounds that an index tells of their cosines.

    ``floor``: so large is the ``limit``-th largest cosine at least.
    """

    def __init__(self, entry: SpaceIndex, view: View, index: VectorIndex, sought: Sought, limit: int) -> None:
        self._space, self._view = entry.space, view
        self._sought, self._limit = sought, limit
        self._loose = np.fromiter(index.loose, np.int64, len(index.loose))
        self._is_told = np.ones(view.n_covered, np.bool_)
        self._is_told[self._loose[self._loose < view.n_covered]] = False
        self._is_told[view.stale] = False
        self._numbers, self._highest = np.empty(0, np.int64), np.empty(0)
        self._lowest = np.empty(0)
        self.floor = -1.0

    def see(self, part: Part) -> None:
        """Look at ``part``, but for what is compared without the index in any case."""
        is_told = part.numbers < self._view.n_covered
        is_told[is_told] = self._is_told[part.numbers[is_told]]
        lowest, highest = _bounds(part.products[is_told], part.squares[is_told])
        self._lowest = np.sort(np.concatenate((self._lowest, lowest)))[-self._limit :]
        if len(self._lowest) == self._limit:
            self.floor = float(self._lowest[0])
        numbers = np.concatenate((self._numbers, part.numbers[is_told]))
        highest = np.concatenate((self._highest, highest))
        is_kept = highest >= self.floor
        self._numbers, self._highest = numbers[is_kept], highest[is_kept]

    def prove(self, readers: Readers, n_memories: int) -> list[Match] | None:
        """Return the ``limit`` nearest: all others are farther; None where that takes too many."""
        rest = compare_uncovered(readers, self._space, self._view, n_memories, (self._sought, self._limit))
        rows = np.union1d(rest, self._loose + self._space.first_row)
        order = np.argsort(-self._highest)
        told = Told(self._numbers[order] + self._space.first_row, self._highest[order])
        most = min(MOST_TOLD, max(BLOCK_ROWS, int(_MOST_SHARE * self._view.n_covered)))
        matches = self._sought.rank_told(readers, rows, told, self._limit, most)
        if len(order) > most and not is_beyond(matches, self._limit, told.highest[most]):
            return None
        # A vector that was replaced since may be farther than its bytes tell.
        is_whole = self.floor <= -1.0 or is_beyond(matches, self._limit, np.nextafter(self.floor, -1.0))
        return matches if is_whole else None


def _bounds(products: NDArray[np.float32], squares: NDArray[np.float32]) -> tuple[Doubles, Doubles]:
    """Return bounds (n,) of cosines, from below and above."""
    lengths = np.sqrt(squares.astype(np.float64))
    shortest = np.maximum(lengths - FLOAT_ERROR, 1e-9)
    sines = np.minimum(VectorIndex.error / shortest, 1.0)  # of the angle by which the vector may be off
    cosines = np.sqrt(1.0 - sines * sines)
    slack = 2 * FLOAT_ERROR / shortest
    told = products / np.maximum(lengths, 1e-9)
    low, high = np.clip(told - slack, -1.0, 1.0), np.clip(told + slack, -1.0, 1.0)
    lowest = np.where(low > -cosines, low * cosines - np.sqrt(1.0 - low * low) * sines, -1.0)
    highest = np.where(high < cosines, high * cosines + np.sqrt(1.0 - high * high) * sines, 1.0)
    is_long = shortest > VectorIndex.error  # else it may point anywhere
    return np.where(is_long, lowest, -1.0), np.where(is_long, highest, 1.0)
