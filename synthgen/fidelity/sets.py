"""A set of vectors as the statistics see it: directions of unit length, lengths apart, and its folds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.fidelity.vectors import Vectors

#: Queries of one shuffle at most. Three shuffles ask different rows: 7,500 queries in all.
MAX_QUERIES = 2_500
#: Lengths nearer to 1 than this count as unit length (float16 rounds them by about 0.0005).
UNIT_TOLERANCE = 0.005
_BLOCK_ROWS = 4_096


@dataclass(frozen=True)
class VectorSet:
    """``directions`` (n, d) float32, rows of unit length; ``lengths`` (n,) float64, their lengths before."""

    directions: Vectors
    lengths: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.directions)

    def take(self, rows: NDArray[np.int64]) -> VectorSet:
        """Return the set of these rows, in their order."""
        return VectorSet(self.directions[rows], self.lengths[rows])

    @property
    def is_unit(self) -> bool:
        """Whether every row came with unit length."""
        return bool(np.abs(self.lengths - 1).max() < UNIT_TOLERANCE)


@dataclass(frozen=True)
class Fold:
    """One shuffle: the rows asked for, and the rows in the index in their order of insertion."""

    queries: NDArray[np.int64]
    base: NDArray[np.int64]


def make_set(vectors: Vectors) -> VectorSet:
    """Return ``vectors`` (n, d), finite and without rows of zeros, as a set; they are copied."""
    directions = np.empty(vectors.shape, np.float32)
    lengths = np.empty(len(vectors), np.float64)
    for at in range(0, len(vectors), _BLOCK_ROWS):
        block = vectors[at : at + _BLOCK_ROWS].astype(np.float64)  # squares of float32 can overflow float32
        lengths[at : at + _BLOCK_ROWS] = np.sqrt(np.einsum("ij,ij->i", block, block))
        directions[at : at + _BLOCK_ROWS] = block / lengths[at : at + _BLOCK_ROWS, None]
    return VectorSet(directions, lengths)


def make_folds(n_rows: int, n_shuffles: int, seed: int) -> list[Fold]:
    """Return ``n_shuffles`` folds of ``n_rows`` rows: no row is a query twice, none is both at once.

    A fold asks min(2,500, n_rows // max(3, n_shuffles)) rows of all the others, inserted in random order.
    """
    order = np.random.default_rng([seed, 0]).permutation(n_rows)
    n_queries = min(MAX_QUERIES, n_rows // max(3, n_shuffles))
    folds = []
    for shuffle in range(n_shuffles):
        own = slice(shuffle * n_queries, (shuffle + 1) * n_queries)
        base = np.delete(order, own)
        folds.append(Fold(order[own], np.random.default_rng([seed, 1, shuffle]).permutation(base)))
    return folds


def pick_rows(n_rows: int, n_wanted: int, seed: int) -> NDArray[np.int64]:
    """Return min(n_rows, n_wanted) different rows, in random order."""
    return np.random.default_rng([seed, 2]).permutation(n_rows)[:n_wanted]


def n_exact_duplicates(directions: Vectors) -> int:
    """Return how many rows have a twin, equal in every component; each row of a group counts."""
    digests = [hashlib.blake2b(row + np.float32(0), digest_size=16).digest() for row in directions]  # -0 is 0
    _, counts = np.unique(np.array(digests, "V16"), return_counts=True)
    return int(counts[counts > 1].sum())
