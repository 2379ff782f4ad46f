"""`bench indexes` on few rows, and what makes its figures true."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import indexes
from bench.blobs import BlobStore
from bench.candidates import CANDIDATES, Candidate, Effort, n_lists
from bench.index_trial import EXACT
from bench.indexes import choose
from bench.nearest import Nearest, recall_of, unit
from bench.settings import Settings
from bench.vectorset import DIMENSION, KINDS, N_QUERIES, SHIFT, VectorSet, law_queries, make_set
from synthgen.errors import SynthgenError, UsageError
from synthgen.fidelity.vectors import Vectors
from tests.bench.test_bench import bench

N_ROWS = 1_500


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> VectorSet:
    return make_set(tmp_path_factory.mktemp("vectors"), N_ROWS)


@pytest.fixture(scope="module")
def rows(vectors: VectorSet) -> Vectors:
    return np.concatenate([block for _, block in vectors.blocks()])


def test_end_to_end(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    printed, document = bench(
        tmp_path / "out", "indexes", "--rows", "1500", "--candidates", "flat PQ4,HNSW SQ8"
    )
    exact, *others = document["measurements"]
    assert exact["index"] == EXACT and exact["searches"][0]["recall"] == 1
    assert {"faiss flat PQ4 fast scan", "faiss HNSW SQ8"} <= {one["index"] for one in others}
    for one in others:
        assert one["index"] in printed
        assert min(one["add_rows_per_s"], one["disk_bytes"], one["save_s"], one["load_s"]) > 0
        for search in one["searches"]:
            assert search["n_queries"] == N_QUERIES and 0 < search["p50_ms"] <= search["p99_ms"]
            assert min(search["recall"], *(search[f"recall_{kind}"] for kind in KINDS)) > 0.9
    assert document["configuration"]["rows"] == 1_500
    for table in document["tables"]:
        assert all(len(row) == len(table["columns"]) for row in table["rows"])


def test_the_set_is_what_it_says(vectors: VectorSet, rows: Vectors) -> None:
    assert rows.shape == (N_ROWS, DIMENSION)
    for some in (rows, vectors.queries):
        assert np.linalg.norm(some, axis=1) == pytest.approx(1, abs=1e-5)
    cosines = vectors.queries @ rows.T
    assert cosines.max() < 0.9999  # no query is stored
    assert len(np.unique(rows, axis=0)) == N_ROWS
    true = np.sort(np.take_along_axis(cosines, vectors.true, axis=1))
    assert true == pytest.approx(np.sort(cosines)[:, -10:], abs=1e-6)
    assert np.array_equal(vectors.queries[1::3], law_queries(334, 0.0)[:333])
    assert np.array_equal(vectors.queries[2::3], law_queries(334, SHIFT)[:333])


def test_a_sample_is_of_rows_each_once(vectors: VectorSet, rows: Vectors) -> None:
    assert np.array_equal(vectors.sample(10**6), rows)
    places = (vectors.sample(1_100) @ rows.T).argmax(axis=1)
    assert len(set(places.tolist())) == 1_100 and places.max() > N_ROWS - 100


def test_neighbours_do_not_depend_on_blocks(rows: Vectors) -> None:
    queries = rows[::100]
    found = []
    for size in (7, 400, N_ROWS):
        nearest = Nearest(queries)
        for start in range(0, N_ROWS, size):
            nearest.show(start, rows[start : start + size])
        found.append(nearest.rows.tolist())
    assert found[0] == found[1] == found[2]
    assert [row[0] for row in found[0]] == list(range(0, N_ROWS, 100))


def test_recall_counts_what_is_missed() -> None:
    true = [list(range(10)), list(range(10, 20))]
    assert recall_of(true, true) == 1
    assert recall_of([list(range(9)), [19, 18, 17, 16, 15, 1, 2, 3]], true) == pytest.approx(0.7)
    assert recall_of([], []) is None


def test_blobs_are_scanned_and_ranked_exactly(tmp_path: Path) -> None:
    rows = unit(np.random.default_rng(3).standard_normal((5_000, 16)).astype(np.float32))
    store = BlobStore(tmp_path / "blobs.db", 16)
    for start in range(0, 5_000, 1_000):
        store.add(start, rows[start : start + 1_000])
    order = np.argsort(-(rows @ rows[4_321]))
    assert store.scan(rows[4_321]).tolist() == order[:10].tolist()
    assert store.rank(rows[4_321], np.sort(order[5:100])).tolist() == order[5:15].tolist()
    assert store.rank(rows[0], order[:3]).tolist() == sorted(
        order[:3], key=lambda row: -(rows @ rows[0])[row]
    )
    assert store.rank(rows[0], order[:0]).tolist() == []
    store.close()


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.name)
def test_each_candidate_finds_rows_by_themselves(
    candidate: Candidate, vectors: VectorSet, rows: Vectors, tmp_path: Path
) -> None:
    pytest.importorskip(candidate.package)
    index = candidate.make(N_ROWS, DIMENSION)
    index.train(vectors.sample(candidate.n_sample(N_ROWS)))
    for start, block in vectors.blocks():
        index.add(start, block)
    effort = candidate.efforts[-1]
    proposed = [index.propose(row, effort) for row in rows[::50]]
    assert all(row in found for row, found in zip(range(0, N_ROWS, 50), proposed, strict=True))
    assert max(map(len, proposed)) == effort.n_proposed
    index.save(tmp_path / "index")
    loaded = candidate.make(N_ROWS, DIMENSION)
    loaded.load(tmp_path / "index")
    assert [loaded.propose(row, effort).tolist() for row in rows[::50]] == [p.tolist() for p in proposed]


@pytest.mark.parametrize("name", ["faiss IVF SQ8", "faiss HNSW SQ8", "faiss IVF RaBitQ", "usearch HNSW i8"])
def test_breadth_counts(name: str, vectors: VectorSet) -> None:
    candidate = next(one for one in CANDIDATES if one.name == name)
    pytest.importorskip(candidate.package)
    index = candidate.make(N_ROWS, DIMENSION)
    index.train(vectors.sample(candidate.n_sample(N_ROWS)))
    for start, block in vectors.blocks():
        index.add(start, block)
    found = {
        breadth: recall_of(
            (index.propose(query, Effort(breadth, 0)) for query in vectors.queries), vectors.true
        )
        for breadth in (1, 1_000)
    }
    assert (found[1] or 0) < (found[1_000] or 0) - 0.02


def test_lists_are_those_that_can_be_trained() -> None:
    assert [n_lists(n) for n in (30, 1_000, 1_000_000)] == [1, 25, 4_000]


def test_what_is_not_installed_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> Any:
        return None if name == "usearch" else object()

    monkeypatch.setattr(importlib.util, "find_spec", find)
    names, missing = choose(("HNSW",))
    assert names == [EXACT, "faiss HNSW SQ8"]
    assert len(missing) == 2 and all("pip install usearch" in line for line in missing)


def test_unknown_candidates_and_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no index is called 'annoy'"):
        choose(("HNSW", "annoy"))
    with pytest.raises(UsageError, match="at least 1,000"):
        indexes.run(Settings(tmp_path, rows=999))


def test_an_index_that_changes_on_its_way_to_the_disk_is_found_out(
    vectors: VectorSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(vectors: VectorSet, name: str, *loaded: str) -> dict[str, Any]:
        return {"index": name, "answers": [[1, 2, 3 + len(loaded)]]}

    monkeypatch.setattr(indexes, "_run", run)
    with pytest.raises(SynthgenError, match="otherwise once it is saved and loaded"):
        indexes.try_index(vectors, "faiss IVF SQ8")
