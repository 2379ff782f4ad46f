"""Vectors that indexes are compared on: rows and held-out queries in a folder, and what is true of them.

Rows: articles of the built-in foundation, then rows of the fitted law. Queries, in turn: articles that are
not stored, queries of the law, and such queries moved out of it (``--shift 0.6``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import synthgen
from bench.nearest import Integers, Nearest, Vectors, unit
from synthgen.specs import DEFAULT_SEED
from synthgen.wiki.foundation import load_foundation

DIMENSION = 768
N_QUERIES = 1_000
KINDS = ("real", "law", "shifted")
SHIFT = 0.6
#: Articles that are queries; of the rest at most half of all rows are.
_REAL_QUERIES = -(-N_QUERIES // len(KINDS))
BLOCK_ROWS = 1_000
_ROW_BYTES = 4 * DIMENSION
_ROWS, _QUERIES, _TRUE = "rows.float32", "queries.npy", "true.npy"


@dataclass(frozen=True)
class VectorSet:
    """``n_rows`` vectors of 768 components and length 1 in ``folder``."""

    folder: Path
    n_rows: int

    def blocks(self) -> Iterator[tuple[int, Vectors]]:
        """Yield the first row's number and the rows, 1,000 at a time; read, so that none count as memory."""
        for start in range(0, self.n_rows, BLOCK_ROWS):
            yield start, self._read(start, min(BLOCK_ROWS, self.n_rows - start))

    def sample(self, n: int) -> Vectors:
        """Return ``n`` rows, or all, chosen by a fixed seed, (n, d)."""
        n = min(n, self.n_rows)
        chosen = np.sort(np.random.default_rng(DEFAULT_SEED).choice(self.n_rows, n, replace=False))
        rows = np.empty((n, DIMENSION), np.float32)
        for start, block in self.blocks():
            first, last = np.searchsorted(chosen, (start, start + len(block)))
            rows[first:last] = block[chosen[first:last] - start]
        return rows

    @property
    def queries(self) -> Vectors:
        """The queries (1000, 768); number i is of ``KINDS[i % 3]``."""
        queries: Vectors = np.load(self.folder / _QUERIES)
        return queries

    @property
    def true(self) -> Integers:
        """The 10 nearest rows of each query (1000, 10), found by comparing with all."""
        true: Integers = np.load(self.folder / _TRUE)
        return true

    def _read(self, start: int, n: int) -> Vectors:
        path = self.folder / _ROWS
        values = np.fromfile(path, np.float32, n * DIMENSION, offset=start * _ROW_BYTES)
        return values.reshape(n, DIMENSION)


def make_set(folder: Path, n_rows: int) -> VectorSet:
    """Write rows, queries and true neighbours to ``folder``; 3 kB a row."""
    articles = _articles()
    n_real = min(len(articles) - _REAL_QUERIES, n_rows // 2)
    queries = _make_queries(articles[-_REAL_QUERIES:])
    nearest = Nearest(queries)
    with (folder / _ROWS).open("wb") as file:
        for start, block in _make_rows(articles[:n_real], n_rows - n_real):
            nearest.show(start, block)
            file.write(block.tobytes())
    np.save(folder / _QUERIES, queries)
    np.save(folder / _TRUE, nearest.rows)
    return VectorSet(folder, n_rows)


def _articles() -> Vectors:
    """Return all articles in an order that has nothing to do with them."""
    articles = unit(load_foundation()[1].astype(np.float32))
    return articles[np.random.default_rng(DEFAULT_SEED).permutation(len(articles))]


def _make_rows(articles: Vectors, n_law: int) -> Iterator[tuple[int, Vectors]]:
    for start in range(0, len(articles), BLOCK_ROWS):
        yield start, articles[start : start + BLOCK_ROWS]
    if n_law:
        memories = synthgen.open_dataset(count=n_law, seed=DEFAULT_SEED)
        for start in range(0, n_law, BLOCK_ROWS):
            yield len(articles) + start, unit(memories.embeddings(start, start + BLOCK_ROWS))


def _make_queries(articles: Vectors) -> Vectors:
    law, shifted = (law_queries(_REAL_QUERIES, shift) for shift in (0.0, SHIFT))
    return np.stack((articles, law, shifted), axis=1).reshape(-1, DIMENSION)[:N_QUERIES]


def law_queries(n: int, shift: float) -> Vectors:
    """Return ``n`` queries (n, 768) of the built-in model, held out, of length 1."""
    return unit(synthgen.open_dataset(count=n, seed=DEFAULT_SEED, role="queries", shift=shift).embeddings())
