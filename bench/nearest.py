"""The true neighbours of queries among rows that come in blocks, and how many of them an answer holds."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Integers = NDArray[np.int64]

K = 10


class Nearest:
    """The 10 rows of largest inner product to each of ``queries`` (q, d), of all rows shown so far.

    In float32: exact but for rows whose products differ by less than some 1e-7.
    """

    def __init__(self, queries: Vectors) -> None:
        self._queries = queries
        self._products = np.empty((len(queries), 0), np.float32)
        self._rows = np.empty((len(queries), 0), np.int64)

    def show(self, start: int, block: Vectors) -> None:
        """Look at rows ``start`` to ``start + len(block) - 1``, (n, d)."""
        numbers = np.broadcast_to(np.arange(start, start + len(block)), (len(self._queries), len(block)))
        products = np.concatenate((self._products, self._queries @ block.T), axis=1)
        rows = np.concatenate((self._rows, numbers), axis=1)
        best = best_first(products)
        self._products = np.take_along_axis(products, best, axis=1)
        self._rows = np.take_along_axis(rows, best, axis=1)

    @property
    def rows(self) -> Integers:
        """Their numbers (q, 10), the nearest first."""
        return self._rows


def best_first(products: Vectors) -> NDArray[np.intp]:
    """Return the places (q, 10) of the largest of ``products`` (q, n), the largest first; all when n < 10."""
    if products.shape[1] <= K:
        return np.argsort(-products, axis=1, kind="stable")
    places = np.argpartition(-products, K - 1, axis=1)[:, :K]
    order = np.argsort(-np.take_along_axis(products, places, axis=1), axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1)


def unit(rows: Vectors) -> Vectors:
    """Return ``rows`` (n, d) at length 1."""
    scaled: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def recall_of(found: Iterable[Iterable[int]], true: Iterable[Iterable[int]]) -> float | None:
    """Return the mean share of the 10 ``true`` rows of a query that are ``found``; None without queries."""
    shares = [len(set(mine) & set(all_)) / K for mine, all_ in zip(found, true, strict=True)]
    return float(np.mean(shares)) if shares else None
