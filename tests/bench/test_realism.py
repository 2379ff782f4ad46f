"""`bench realism` on few rows: what real rows, copies and a bad law look like in its figures."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from bench.__main__ import _make_parser
from bench.comparison import (
    FIT_QUANTILES,
    REAL_HALVES,
    Comparison,
    fit_key,
    gap_of_mean_curve,
    largest_gaps,
    memorises,
)
from bench.laws import draw_isotropic
from bench.realism import RATIO, RealSet, compare_laws, load_foundation_set, load_set, run
from bench.realism_table import make_table, mean_and_spread
from bench.recalls import choose_hnsw
from bench.settings import Settings
from synthgen.errors import InputError, UsageError
from synthgen.fidelity.indexes import EF_SEARCH
from synthgen.runtime.progress import Progress
from tests.bench.test_bench import bench
from tests.fidelity.sets import Vectors, articles

N_REAL = 2_000
HNSW = [f"hnsw_{ef}" for ef in EF_SEARCH]
KEPT = articles()[N_REAL:]


def copy_rows(fit: Vectors, n_rows: int, seed: int) -> Vectors:
    """Memorise: rows of the fit with a little noise."""
    rng = np.random.default_rng(seed)
    rows = fit[rng.integers(len(fit), size=n_rows)]
    return np.asarray(rows + 0.01 * rng.standard_normal(rows.shape).astype(np.float32))


def copy_few_rows(fit: Vectors, n_rows: int, seed: int) -> Vectors:
    """Be real, but for one row in twelve, which is a copy."""
    rows = KEPT[:n_rows].copy()
    rows[::12] = copy_rows(fit, len(rows[::12]), seed)
    return rows


def be_real(fit: Vectors, n_rows: int, seed: int) -> Vectors:
    """Return rows that were kept aside."""
    return KEPT[seed * n_rows % 1_000 :][:n_rows]


@cache
def comparisons() -> dict[str, list[Comparison]]:
    """Two splits of articles in 96 dimensions, by law."""
    laws = {"copies": copy_rows, "few copies": copy_few_rows, "real": be_real, "isotropic": draw_isotropic}
    progress = Progress("test", 1, "sets", quiet=True)
    splits = [
        compare_laws(RealSet("articles", articles()[:N_REAL]), split, laws, choose_hnsw(), progress)
        for split in range(2)
    ]
    assert progress.done == 2 * (3 + len(laws))
    return {
        law: [each for split in splits for each in split if each.law == law] for law in [*laws, REAL_HALVES]
    }


def test_a_law_is_compared_with_rows_that_it_never_saw() -> None:
    for law, splits in comparisons().items():
        assert [split.seed for split in splits] == [42, 43]
        assert {split.n_fit_rows for split in splits} == {N_REAL // 10}
        rows = RATIO * N_REAL // 10
        assert {split.n_rows for split in splits} == {rows // 2 if law == REAL_HALVES else rows}
        assert all(split.real[fit_key(0.99)] < 0.99 for split in splits)  # else fit rows are among the real


def test_splits_differ_and_can_be_had_again() -> None:
    first, second = comparisons()["real"]
    assert first.real["nn1"] != second.real["nn1"]
    again = compare_laws(
        RealSet("articles", articles()[:N_REAL]), 0, {}, choose_hnsw(), Progress("test", 1, "", quiet=True)
    )
    assert again[0].differences == comparisons()[REAL_HALVES][0].differences


@pytest.mark.parametrize("law", ["real", REAL_HALVES])
def test_real_against_real_is_near_zero(law: str) -> None:
    splits = comparisons()[law]
    assert gap_of_mean_curve(splits, HNSW) < 0.03
    assert max(largest_gaps(splits, HNSW)) < 0.04
    for split in splits:
        assert abs(split.differences["nn1"]) < 0.02
        assert abs(split.differences["pair_mean"]) < 0.01
        assert 0 <= split.differences["pair_w1"] < 0.01
        assert split.generated["lid"] == pytest.approx(split.real["lid"], rel=0.1)
        assert abs(split.differences[fit_key(0.5)]) < 0.03
    assert not memorises(splits, comparisons()[REAL_HALVES])


@pytest.mark.parametrize("law", ["copies", "few copies"])
def test_copies_of_the_fit_are_flagged(law: str) -> None:
    splits = comparisons()[law]
    assert memorises(splits, comparisons()[REAL_HALVES])
    assert all(split.generated[fit_key(0.95)] > 0.98 for split in splits)
    assert all(split.differences[fit_key(0.95)] > 0.1 for split in splits)


def test_the_seeds_law_is_far_off() -> None:
    for split in comparisons()["isotropic"]:
        assert max(largest_gaps([split], HNSW)) > 0.06
        assert split.differences["pair_w1"] > 0.02


def comparison(law: str = "law", **differences: float) -> Comparison:
    return Comparison("set", 0, 42, law, 1, 9, {}, {}, differences, 0.0)


def test_a_gap_of_the_mean_curve_is_not_the_mean_of_gaps() -> None:
    splits = [comparison(hnsw_10=0.1, hnsw_20=-0.02), comparison(hnsw_10=-0.1, hnsw_20=-0.04)]
    assert gap_of_mean_curve(splits, ["hnsw_10", "hnsw_20"]) == pytest.approx(0.03)
    assert largest_gaps(splits, ["hnsw_10", "hnsw_20"]) == pytest.approx([0.1, 0.1])


def test_what_real_rows_differ_by_is_no_memorising() -> None:
    splits = [comparison(fit_95=0.05, fit_99=0.0)]
    assert memorises(splits, [])
    assert memorises(splits, [comparison(fit_95=-0.02, fit_99=0.5)])
    assert not memorises(splits, [comparison(fit_95=-0.04, fit_99=0.5)])
    assert not memorises([comparison(fit_95=0.01, fit_99=0.01)], [])


def test_cells_are_means_with_spread() -> None:
    assert mean_and_spread([0.01, 0.03], sign=True) == "+.020 ±.014"
    assert mean_and_spread([-0.0004], sign=True) == "+.000"
    assert mean_and_spread([-0.5]) == "-.500"
    assert mean_and_spread([float("nan")]) == "-"
    assert mean_and_spread([float("nan"), 20.0, 22.0], 1) == "21.0 ±1.4"
    assert mean_and_spread([-12.4, -12.2], 0, sign=True) == "-12 ±0"


def test_the_table_has_a_column_for_each_law_and_says_who_memorises() -> None:
    found = [each for splits in comparisons().values() for each in splits]
    table = make_table(found, 96, "faiss 1")
    assert table.columns == ("generated minus real", "real", *comparisons())
    assert all(len(row) == len(table.columns) for row in table.rows)
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    flags = {law: rows["memorises"][law] for law in ("copies", "few copies", "real", REAL_HALVES)}
    assert flags == {"copies": "YES", "few copies": "YES", "real": "no", REAL_HALVES: "no"}
    shares = [float(rows["near-duplicates, % of rows"][law].split()[0]) for law in ("real", "copies")]
    assert shares[0] < 5
    assert shares[1] > 90
    text = "\n".join(table.lines())
    for part in ("HNSW by faiss 1", "seeds 42 to 43", "600 other queries", "900 unseen rows"):
        assert part in text


def test_end_to_end(tmp_path: Path) -> None:
    path = tmp_path / "articles.npy"
    np.save(path, 3 * articles()[:1_000])  # lengths do not matter
    printed, document = bench(tmp_path / "out", "realism", "--real", str(path))
    assert "articles.npy: 900 rows generated from 100" in printed
    laws = ["isotropic .1", "cuVS", "Gaussians", "bootstrap", "ours", REAL_HALVES]
    assert [m["law"] for m in document["measurements"]] == laws
    assert document["configuration"]["sets"] == [{"name": "articles.npy", "rows": 1_000, "dimension": 96}]
    assert document["configuration"]["seeds"] == [42]
    assert str(tmp_path) not in str(document)
    assert {*HNSW, "pq", "int8", "pair_w1", *map(fit_key, FIT_QUANTILES)} <= document["measurements"][0][
        "differences"
    ].keys()


def test_splits_and_sets_are_asked_for_by_flags() -> None:
    flags = _make_parser().parse_args(["realism", "--splits", "3", "--real", "a.npy", "--real", "b.parquet"])
    assert (flags.repetitions, flags.real) == (3, [Path("a.npy"), Path("b.parquet")])


def test_real_sets_are_cut_and_of_unit_length(tmp_path: Path) -> None:
    foundation = load_foundation_set(1_500)
    assert foundation.directions.shape == (1_500, 768)
    path = tmp_path / "x.npy"
    np.save(path, 3 * articles()[:1_200].astype(np.float16))
    found = load_set(path, 1_100)
    assert (found.name, found.directions.shape) == ("x.npy", (1_100, 96))
    for directions in (foundation.directions, found.directions):
        assert np.linalg.norm(directions, axis=1) == pytest.approx(1, abs=1e-5)


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--rows must be at least 1,000"):
        run(Settings(tmp_path, rows=999))
    with pytest.raises(InputError, match=r"none\.npy"):
        run(Settings(tmp_path, real=(tmp_path / "none.npy",)))
