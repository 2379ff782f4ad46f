"""Exact nearest neighbours by cosine among the rows of one set, block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_BLOCK_ROWS = 512


def top_cosines(units: Floats, n_neighbours: int) -> Floats:
    """Return (n, n_neighbours) float32, each row's cosines to its nearest other rows, nearest first.

    ``units`` (n, d): rows of unit length, n > ``n_neighbours``.
    """
    return scan_pairs(units, n_neighbours, np.empty(0)).cosines


@dataclass(frozen=True)
class Scan:
    """``cosines`` (n, k) float32 and ``rows`` (n, k) int64: each row's k nearest other rows, nearest first;
    ``counts`` (t,) int64: ordered pairs of different rows with at least so large a cosine.
    """

    cosines: Floats
    rows: NDArray[np.int64]
    counts: NDArray[np.int64]


def scan_pairs(units: Floats, n_neighbours: int, cosines: NDArray[np.floating[Any]]) -> Scan:
    """Look at all pairs of ``units`` (n, d), rows of unit length, n > ``n_neighbours``."""
    n = len(units)
    top, near = np.empty((n, n_neighbours), np.float32), np.empty((n, n_neighbours), np.int64)
    counts = np.zeros(len(cosines), np.int64)
    for at in range(0, n, _BLOCK_ROWS):
        block = units[at : at + _BLOCK_ROWS] @ units.T
        rows = np.arange(len(block))
        block[rows, at + rows] = -np.inf
        counts += np.array([np.count_nonzero(block >= least) for least in cosines], np.int64)
        found = np.argpartition(block, n - n_neighbours, axis=1)[:, n - n_neighbours :]
        values = np.take_along_axis(block, found, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        top[at : at + len(block)] = np.take_along_axis(values, order, axis=1)
        near[at : at + len(block)] = np.take_along_axis(found, order, axis=1)
    return Scan(top, near, counts)


def nearest_cosines(units: Floats, others: Floats) -> Floats:
    """Return (n,) float32, each row's cosine to the nearest row of another set; both of unit length."""
    starts = range(0, len(units), _BLOCK_ROWS)
    return np.concatenate([(units[at : at + _BLOCK_ROWS] @ others.T).max(axis=1) for at in starts])


def pair_mean(units: Floats) -> float:
    """Return the mean cosine over all pairs of different rows of unit length."""
    n = len(units)
    total = units.sum(axis=0, dtype=np.float64)
    own = np.square(units).sum(dtype=np.float64)
    return float((total @ total - own) / (n * (n - 1)))


def normalise(vectors: Floats) -> Floats:
    """Return the rows at unit length, float32; rows of zeros stay zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)
