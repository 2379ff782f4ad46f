"""`bench knobs` on few rows."""

from pathlib import Path

import numpy as np
import pytest

from bench import knobs
from bench.recalls import choose_hnsw
from bench.settings import Settings
from synthgen.errors import UsageError
from tests.fidelity.sets import articles, blobs, with_near_duplicates


def test_each_knob_is_turned_alone_and_the_defaults_are_one_dataset() -> None:
    wanted = list(knobs.variants())
    assert wanted[0] == ("as fitted", {})
    assert [flags for flags, _ in wanted[1:]] == [
        "--tightness 0.5",
        "--tightness 2",
        "--zipf 0.5",
        "--zipf 1",
        "--near-duplicate-rate 0",
        "--near-duplicate-rate 0.01",
        "--near-duplicate-rate 0.1",
        "--outlier-rate 0.02",
        "--outlier-rate 0.2",
    ]
    assert all(len(parameters) == 1 for _, parameters in wanted[1:])


def test_effects_are_those_of_the_rows() -> None:
    hnsw = choose_hnsw()
    real, tight = (knobs.measure("", rows, hnsw) for rows in (articles()[:1_200], blobs()))
    assert tight.nn1 > real.nn1 + 0.2
    assert real.recalls[0] < real.recalls[1] < real.recalls[2] <= 1
    assert knobs.measure("", articles()[:1_200], hnsw) == real
    twins = knobs.measure("", with_near_duplicates(), hnsw)
    assert twins.near_duplicates == pytest.approx(0.08, abs=0.01)  # 4% of the rows are copies of others


def test_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knobs, "KNOBS", {"tightness": (1.0, 8.0), "near_duplicate_rate": (0.3,)})
    result = knobs.run(Settings(tmp_path, rows=1_000))
    [table] = result.tables
    assert [row[0] for row in table.rows] == ["as fitted", "--tightness 8", "--near-duplicate-rate 0.3"]
    fitted, tight, twins = result.measurements
    assert tight["nn1"] > fitted["nn1"] + 0.02
    assert twins["near_duplicates"] > 0.2 > fitted["near_duplicates"]
    assert all(len(m["recalls"]) == len(m["ef"]) == 3 for m in result.measurements)
    assert result.configuration["rows"] == 1_000
    assert any("333 held-out queries" in note for note in table.notes)
    assert np.isfinite([m["lid"] for m in result.measurements]).all()


def test_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 1,000"):
        knobs.run(Settings(tmp_path, rows=500))
