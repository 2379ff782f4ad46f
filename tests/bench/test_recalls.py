"""HNSW by hnswlib, which need not be installed, and int8."""

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench import recalls
from synthgen.fidelity.geometry import nearest
from synthgen.fidelity.indexes import EF_SEARCH, hnsw_recalls
from tests.fidelity.sets import articles

QUERIES, BASE = articles()[:50], articles()[50:650]
TENTH = nearest(QUERIES, BASE, 10)[0][:, 9]


class ExactIndex:
    """What hnswlib offers, by exact search; with ``is_broken`` the first query reaches nothing."""

    is_broken = False

    def __init__(self, space: str, dim: int) -> None:
        assert (space, dim) == ("ip", 96)

    def init_index(self, n: int, **settings: int) -> None:
        assert (n, settings) == (600, {"M": 8, "ef_construction": 64, "random_seed": 1})
        self.asked: list[int] = []

    def add_items(self, rows: np.ndarray, *, num_threads: int) -> None:
        assert num_threads == 1
        self.rows = rows

    def set_ef(self, ef: int) -> None:
        self.asked.append(ef)

    def knn_query(self, queries: np.ndarray, k: int, *, num_threads: int) -> tuple[Any, Any]:
        if self.is_broken and np.array_equal(queries[0], QUERIES[0]):
            raise RuntimeError("Cannot return the results in a contiguous 2D array")
        products, rows = nearest(np.ascontiguousarray(queries), self.rows, k)
        return rows, 1 - products


def test_hnswlib_is_taken_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hnswlib", SimpleNamespace(Index=ExactIndex))
    chosen = recalls.choose_hnsw()
    assert chosen.library.startswith("hnswlib")
    assert chosen.recalls(QUERIES, BASE, TENTH).tolist() == [1.0] * len(EF_SEARCH)


def test_a_query_that_reaches_too_few_rows_counts_as_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ExactIndex, "is_broken", True)
    monkeypatch.setitem(sys.modules, "hnswlib", SimpleNamespace(Index=ExactIndex))
    assert recalls.hnswlib_recalls(QUERIES, BASE, TENTH) == pytest.approx([0.98] * len(EF_SEARCH))


def test_else_faiss_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hnswlib", None)  # importing it fails
    chosen = recalls.choose_hnsw()
    assert chosen.library.startswith("faiss ")
    assert chosen.recalls is hnsw_recalls


def test_int8_finds_nearly_all_where_a_byte_is_enough() -> None:
    assert 0.95 < recalls.int8_recall(QUERIES, BASE, TENTH) <= 1.0


def test_int8_loses_what_an_outlying_component_hides() -> None:
    base = BASE.copy()
    base[:2] = 100 * np.array([[1.0], [-1.0]])  # ranges grow a thousandfold
    tenth = nearest(QUERIES, base, 10)[0][:, 9]
    assert recalls.int8_recall(QUERIES, base, tenth) < 0.7
