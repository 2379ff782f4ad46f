"""`bench normals` on few draws and rows: exact normals pass, a table that was broken on purpose does not."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from bench import draws, normals
from bench.draws import draw_bytes, draw_exact, draw_table, measure_draws, measure_table
from bench.settings import Settings
from synthgen.errors import UsageError
from synthgen.generate import isotropic

N = 400_000


def replace_table(monkeypatch: pytest.MonkeyPatch, table: np.ndarray) -> None:
    monkeypatch.setattr(isotropic, "normal_table", lambda: table.astype(np.int32))


def worst(found: draws.Draws) -> float:
    return max(map(abs, found.errors()))


@pytest.mark.parametrize("source", [draw_table, draw_exact])
def test_the_table_and_exact_normals_are_normal(source: draws.Source) -> None:
    for seed in (1, 2):
        found = measure_draws("x", source, seed, N)
        assert found.n == N and found.ks_p > 1e-3 and worst(found) < 4.5
        assert len(found.moments) == 6 and len(found.tails) == 2


def test_figures_are_those_of_the_draws() -> None:
    blocks = np.concatenate(list(draw_exact(3, 300_001)))
    found = measure_draws("x", draw_exact, 3, 300_001)
    assert len(blocks) == 300_001 and found.largest == np.abs(blocks).max()
    assert found.moments == pytest.approx([np.mean(blocks**k) for k in range(1, 7)], rel=1e-9)
    assert found.tails == ((np.abs(blocks) > 3).mean(), (np.abs(blocks) > 4).mean())
    stats = pytest.importorskip("scipy.stats")
    exact = stats.kstest(blocks, "norm")
    assert found.ks == pytest.approx(exact.statistic, abs=2e-5)  # the exact one lies between two draws
    assert found.ks_p == pytest.approx(exact.pvalue, abs=0.01)


def test_the_table_itself_differs_by_less_than_a_hundred_million_draws_can_show() -> None:
    table = measure_table("each value")
    assert table.ks < 1e-5 < 0.828 / np.sqrt(1e8)
    assert table.moments == pytest.approx((0, 1, 0, 3, 0, 15), abs=0.01)
    assert table.largest == pytest.approx(4.39, abs=0.01)
    sampled = measure_draws("x", draw_table, 1, N)
    assert sampled.largest == table.largest


def tail_dropped(table: np.ndarray) -> np.ndarray:
    return np.clip(table, -3 * 2**24, 3 * 2**24)


def shifted(table: np.ndarray) -> np.ndarray:
    return table + 2**24 // 50


def coarse(table: np.ndarray) -> np.ndarray:
    return (table >> 20) << 20


def skewed(table: np.ndarray) -> np.ndarray:
    return np.where(table > 2 * 2**24, table + 2**21, table)


@pytest.mark.parametrize(
    ("harm", "moved"),
    [(tail_dropped, "tails"), (shifted, "moments"), (coarse, "ks"), (skewed, "moments")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_broken_table_is_seen(monkeypatch: pytest.MonkeyPatch, harm: object, moved: str) -> None:
    replace_table(monkeypatch, harm(isotropic.normal_table()))  # type: ignore[operator]
    sampled, table = measure_draws("x", draw_table, 1, N), measure_table("each value")
    if moved == "ks":
        assert sampled.ks_p < 1e-6 and table.ks > 1e-3
    else:
        assert worst(sampled) > 8
    if moved == "tails":
        assert sampled.tails == (0, 0) == table.tails


def test_projections_of_bytes_are_normal() -> None:
    found = measure_draws("x", draw_bytes, 1, 3_000)
    assert found.ks_p > 1e-3 and worst(found) < 4.5
    drawn = np.concatenate(list(draw_bytes(1, 3_000)))
    assert len(drawn) == 3_000 and drawn.std() == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("source", [draw_table, draw_exact, draw_bytes])
def test_memory_does_not_grow_with_the_draws(source: draws.Source) -> None:
    peaks = []
    for n in (400_000, 1_600_000) if source is not draw_bytes else (1_000, 4_000):
        tracemalloc.start()
        measure_draws("x", source, 1, n)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0] < 60e6


def test_neighbours_see_a_table_that_is_too_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    good, exact = (make(0.03, 42, 1_000) for make in (normals.rows_by_table, normals.rows_by_exact_normals))
    replace_table(monkeypatch, isotropic.normal_table() * 1.1)
    wide = normals.rows_by_table(0.03, 42, 1_000)
    nn1 = [normals.measure_rows(rows)["nn1"] for rows in (good, exact, wide)]
    assert abs(nn1[0] - nn1[1]) < 0.01 and nn1[1] - nn1[2] > 0.03


def test_exact_rows_lie_around_the_same_centroids() -> None:
    table, exact = (make(0.01, 5, 300) for make in (normals.rows_by_table, normals.rows_by_exact_normals))
    assert (np.einsum("ij,ij->i", table, exact) > 0.8).all() and not np.allclose(table, exact, atol=1e-3)


def test_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normals, "STD_DEVS", (0.03,))
    result = normals.run(Settings(tmp_path, "quick", rows=1_000))
    drawn, rows = result.tables
    kinds = ("table", "exact", "bytes")
    assert drawn.columns[3:] == (
        "table, each value",
        *(f"{kind}, seed {seed}" for kind in kinds for seed in (42, 43)),
    )
    for table in result.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)
    by_name = {row[0]: row[1:] for row in rows.rows}
    assert abs(float(str(by_name["cosine to the nearest row"][2]))) < 0.02
    assert len(result.measurements) == 7 + 4 and result.configuration["draws"] == 10**6
    assert "each value" in "\n".join(result.lines())


def test_a_difference_is_held_against_what_seeds_differ_by() -> None:
    assert normals.difference_of_means([1.0, 3.0], [5.0, 5.0]) == (-3.0, 1.0)
    found = [
        normals.Neighbours(kind, 0.1, seed, dict.fromkeys(dict(normals.KEYS), mean + 0.1 * seed))
        for kind, mean in (("table", 1.0), ("exact", 2.0))
        for seed in (0, 1)
    ]
    for row in normals.rows_table(found, 0.1, 1_000).rows:
        assert row[1:] == ("1.0500", "2.0500", "-1.0000", "0.0707", "-14.1")


def test_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 1,000"):
        normals.run(Settings(tmp_path, rows=500))
