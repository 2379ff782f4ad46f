"""How a query is moved out of the distribution of the rows, and how far.

    q = sqrt(1 - S**2) y + S (u + e) / sqrt(2), brought to the length of y

S is the shift; y a row of the law, held out, of unit length here; u a random direction, the same for all
queries of a seed: what queries have in common and rows have not; e a direction of each query's own, along
y1 - y2 + y3 - y4, four other rows of unit length. Mostly the cosine of q and y is near sqrt(1 - S**2).

So shifted queries have both properties of real queries that are out of distribution (Chen et al. 2024,
RoarGraph, of text that asks for images): they lie far from all rows, and their neighbours lie far from each
other. A random direction in place of e would give the first alone: rows have next to nothing of it, so that
the neighbours stay those of y, and about as easy to find. Signs alternate in e, so that queries are not drawn
to the mean of all rows.

All arithmetic is exact or correctly rounded, so that every machine makes the same bits: products, sums,
square roots and quotients of single float64 components are IEEE 754 operations in a fixed order; sums over
components are sums of integers below 2**63, or of float64 integers below 2**53, exact in any order.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from synthgen.generate.isotropic import LENGTH_BITS, normal_table
from synthgen.generate.streams import SHIFT, Stream

Floats = NDArray[np.float64]

#: Normal draws for u keep so many bits behind the point: then its squares are exact in float64.
_DRAW_BITS, _TABLE_BITS = 16, 24
#: sqrt(1 - S**2) + sqrt(2) S is below 2, and four unit vectors are at most 4 long.
_QUERY_UNIT, _SCATTER_UNIT = 2.0 ** (LENGTH_BITS - 1), 2.0 ** (LENGTH_BITS - 2)
#: What each of the other rows adds to e.
SCATTER_SIGNS = (1.0, -1.0, 1.0, -1.0)


class Shift:
    """Moves queries of the dataset with ``seed`` by ``size`` (S, 0 to 1), in ``dimension`` components.

    What it moves, and the result, is in steps of the dataset's grid, at most ``largest`` a component.
    """

    def __init__(self, size: float, seed: int, dimension: int, largest: int) -> None:
        self._largest = largest
        self._own = math.sqrt(1.0 - size * size)
        self._scatter = size * math.sqrt(0.5)
        self._common = common_direction(seed, dimension) * self._scatter

    def apply(self, rows: NDArray[np.int32], scatter: Floats) -> NDArray[np.int32]:
        """Return queries (n, d) int32, made of ``rows`` (n, d) and of ``scatter`` (n, d), the e of each."""
        lengths = np.sqrt(_squares(rows))
        query = rows * _inverse(lengths, self._own)
        query += self._common
        query += scatter * self._scatter
        query *= _QUERY_UNIT
        np.rint(query, out=query)
        query *= _inverse(_lengths_of_integers(query), np.minimum(lengths, self._largest))
        return np.rint(query, out=query).astype(np.int32)


def common_direction(seed: int, dimension: int) -> Floats:
    """Return u of ``seed``, (d,) float64, of unit length: normal draws, one word each."""
    words = Stream(seed, (SHIFT, 0), 1).next_rows(dimension)
    draws = normal_table()[(words >> np.uint64(48)).astype(np.int64)] >> (_TABLE_BITS - _DRAW_BITS)
    vector = draws.astype(np.float64)[None]
    direction: Floats = (vector * _inverse(_lengths_of_integers(vector), 1.0))[0]
    return direction


def add_unit(total: Floats, rows: NDArray[np.int32], sign: float) -> None:
    """Add ``rows`` (n, d) int32, brought to unit length, times ``sign`` to ``total`` (n, d), in place."""
    total += rows * _inverse(np.sqrt(_squares(rows)), sign)


def scatter_of(total: Floats) -> Floats:
    """Return e (n, d), of unit length or zeros, along ``total``, sums of four unit vectors; overwrites it."""
    total *= _SCATTER_UNIT
    np.rint(total, out=total)
    total *= _inverse(_lengths_of_integers(total), 1.0)
    return total


def _squares(rows: NDArray[np.int32]) -> Floats:
    """Return squared lengths (n,): exact in int64, since a row has at most 10**9 steps in all."""
    squares: NDArray[np.int64] = np.einsum("ij,ij->i", rows, rows, dtype=np.int64)
    return squares.astype(np.float64)


def _lengths_of_integers(vectors: Floats) -> Floats:
    """Return lengths (n,) of ``vectors`` (n, d), integers whose squares sum to less than 2**53."""
    lengths: Floats = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return lengths


def _inverse(lengths: Floats, factor: float | Floats) -> Floats:
    """Return factor / lengths as a column (n, 1), 0 where a length is: such a vector has no direction."""
    return np.where(lengths > 0, factor / np.where(lengths > 0, lengths, 1.0), 0.0)[:, None]
