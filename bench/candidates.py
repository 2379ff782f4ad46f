"""Vector indexes that the embedded server could use, each behind one interface.

All are searched by inner product of unit vectors. An approximate one proposes rows, which are then ranked by
their float32 vectors; how widely it looks, and how many it proposes, is an :class:`Effort`.
"""

from __future__ import annotations

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.nearest import Integers, K, Vectors
from synthgen.fidelity.extras import need

_LINKS, _EF_CONSTRUCTION = 16, 64
#: Rows that k-means sees of each list: faiss warns below 39.
_ROWS_A_LIST = 40
#: What quantisers without lists are trained on.
_QUANTISER_ROWS = 20_000


@dataclass(frozen=True)
class Effort:
    """How widely is looked (lists probed, or ef; None: at everything), and how many rows are ranked again by
    their float32 vectors (0: the order that the index gives counts).
    """

    breadth: int | None
    n_ranked: int

    def describe(self, knob: str) -> str:
        """Return it in words; ``knob`` names the breadth."""
        looked = "all" if self.breadth is None else f"{knob} {self.breadth}"
        return f"{looked}, re-rank {self.n_ranked}" if self.n_ranked else looked

    @property
    def n_proposed(self) -> int:
        """How many rows the index is asked for."""
        return self.n_ranked or K


class Index(ABC):
    """An index over rows that are numbered in the order of adding."""

    def train(self, sample: Vectors) -> None:
        """Learn from ``sample`` (n, d) what has to be known before the first row is added."""
        return

    @abstractmethod
    def add(self, start: int, block: Vectors) -> None:
        """Add rows ``start`` and following, (n, d)."""

    @abstractmethod
    def propose(self, query: Vectors, effort: Effort) -> Integers:
        """Return up to ``effort.n_proposed`` row numbers for ``query`` (d,), the best first."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write all of it to ``path``."""

    @abstractmethod
    def load(self, path: Path) -> None:
        """Take the place of what was saved at ``path``."""


@dataclass(frozen=True)
class Candidate:
    """An index by its ``name``, the package it needs, what its breadth is called, what is tried of it, and
    how it is made: ``make(n_rows, dimension)``; ``n_sample(n_rows)`` rows are wanted for training.
    """

    name: str
    package: str
    knob: str
    efforts: tuple[Effort, ...]
    make: Callable[[int, int], Index]
    n_sample: Callable[[int], int]


class _Faiss(Index):
    """What faiss makes of the text ``factory``."""

    def __init__(self, factory: str, dimension: int) -> None:
        self._faiss = need("faiss")
        self._faiss.omp_set_num_threads(1)
        self._index = self._faiss.index_factory(dimension, factory, self._faiss.METRIC_INNER_PRODUCT)
        self._breadth: int | None = None

    def train(self, sample: Vectors) -> None:
        self._index.train(sample)

    def add(self, start: int, block: Vectors) -> None:
        self._index.add(block)

    def propose(self, query: Vectors, effort: Effort) -> Integers:
        if effort.breadth != self._breadth:
            self._set_breadth(effort.breadth)
        rows: Integers = self._index.search(query[None], effort.n_proposed)[1][0]
        return rows[rows >= 0]  # -1: fewer were found

    def save(self, path: Path) -> None:
        self._faiss.write_index(self._index, str(path))

    def load(self, path: Path) -> None:
        self._index, self._breadth = self._faiss.read_index(str(path)), None

    def _set_breadth(self, breadth: int | None) -> None:
        if breadth is not None:
            name = "efSearch" if self._faiss.try_extract_index_ivf(self._index) is None else "nprobe"
            self._faiss.ParameterSpace().set_index_parameter(self._index, name, breadth)
        self._breadth = breadth


class _Hnsw(_Faiss):
    """HNSW by faiss, whose effort of building is no part of its factory's text."""

    def __init__(self, factory: str, dimension: int) -> None:
        super().__init__(factory, dimension)
        self._index.hnsw.efConstruction = _EF_CONSTRUCTION


class _Usearch(Index):
    """HNSW by usearch, with vectors of ``dtype``."""

    def __init__(self, dtype: str, dimension: int) -> None:
        self._index: Any = importlib.import_module("usearch.index").Index(
            ndim=dimension,
            metric="cos",
            dtype=dtype,
            connectivity=_LINKS,
            expansion_add=_EF_CONSTRUCTION,
        )

    def add(self, start: int, block: Vectors) -> None:
        self._index.add(np.arange(start, start + len(block), dtype=np.uint64), block, threads=1)

    def propose(self, query: Vectors, effort: Effort) -> Integers:
        self._index.expansion_search = effort.breadth
        found = self._index.search(query, effort.n_proposed, threads=1)
        return np.asarray(found.keys, np.int64)

    def save(self, path: Path) -> None:
        self._index.save(str(path))

    def load(self, path: Path) -> None:
        self._index.load(str(path))


def n_lists(n_rows: int) -> int:
    """Return how many lists an inverted file of ``n_rows`` has: 4 times the root, as faiss's guide says,
    but no more than can be trained on 40 rows each.
    """
    return max(1, min(round(4 * math.sqrt(n_rows)), n_rows // _ROWS_A_LIST))


def _n_sample(n_rows: int) -> int:
    return n_lists(n_rows) * _ROWS_A_LIST


def _flat(name: str, factory: str, efforts: tuple[Effort, ...]) -> Candidate:
    def make(n_rows: int, dimension: int) -> Index:
        return _Faiss(factory, dimension)

    return Candidate(name, "faiss", "", efforts, make, lambda n_rows: _QUANTISER_ROWS)


def _inverted(name: str, factory: str, n_ranked: int) -> Candidate:
    """An inverted file; the text ``factory`` has the number of lists as {lists}."""

    def make(n_rows: int, dimension: int) -> Index:
        return _Faiss(factory.format(lists=n_lists(n_rows)), dimension)

    efforts = tuple(Effort(n_probes, n_ranked) for n_probes in (8, 16, 32, 64))
    return Candidate(name, "faiss", "nprobe", efforts, make, _n_sample)


_FLAT_EFFORTS = tuple(Effort(None, n_ranked) for n_ranked in (64, 128, 256))
_GRAPH_EFFORTS = tuple(Effort(ef, 32) for ef in (32, 64, 128))


def _hnsw_sq8() -> Candidate:
    def make(n_rows: int, dimension: int) -> Index:
        return _Hnsw(f"HNSW{_LINKS},SQ8", dimension)

    return Candidate("faiss HNSW SQ8", "faiss", "ef", _GRAPH_EFFORTS, make, lambda n_rows: _QUANTISER_ROWS)


def _usearch(dtype: str) -> Candidate:
    def make(n_rows: int, dimension: int) -> Index:
        return _Usearch(dtype, dimension)

    return Candidate(f"usearch HNSW {dtype}", "usearch", "ef", _GRAPH_EFFORTS, make, lambda n_rows: 0)


#: Factories: https://github.com/facebookresearch/faiss/wiki/The-index-factory; SQ8 of an inverted file holds
#: what a row differs from its list by. RaBitQ wants vectors in a random rotation (Gao and Long 2024).
CANDIDATES = (
    _flat("faiss flat SQ8", "SQ8", (Effort(None, 0), Effort(None, 64))),
    _flat("faiss flat PQ4 fast scan", "PQ384x4fs", _FLAT_EFFORTS),
    _flat("faiss flat RaBitQ fast scan", "RR,RaBitQfs", _FLAT_EFFORTS),
    _inverted("faiss IVF SQ8", "IVF{lists},SQ8", 64),
    _inverted("faiss IVF PQ4 fast scan", "IVF{lists},PQ384x4fs", 128),
    _inverted("faiss IVF RaBitQ", "RR,IVF{lists},RaBitQ", 128),
    _inverted("faiss IVF RaBitQ fast scan", "RR,IVF{lists},RaBitQfs", 128),
    _inverted("faiss IVF RaBitQ, 4 bits", "RR,IVF{lists},RaBitQ4", 64),
    _hnsw_sq8(),
    _usearch("f16"),
    _usearch("i8"),
)
