"""`bench queries` on few rows."""

from pathlib import Path

import numpy as np
import pytest

from bench import queries
from bench.recalls import choose_hnsw
from bench.settings import Settings
from synthgen.errors import UsageError
from tests.fidelity.sets import articles


def test_effects_are_those_of_the_queries() -> None:
    rows = articles()[:1_200]
    base, near = rows[:1_000], rows[1_000:]
    far = near - base.mean(axis=0) * 3
    far /= np.linalg.norm(far, axis=1, keepdims=True)
    same, other = (queries.measure(0.5, asked, near, base, choose_hnsw()) for asked in (near, far))
    assert same.kept == pytest.approx(1) and other.kept < 0.95
    assert same.nn1 > same.nn10 and same.nn1 > other.nn1 + 0.1
    cosines = near @ base.T
    assert same.nn1 == pytest.approx(float(cosines.max(axis=1).mean()), abs=1e-5)
    ten = base[np.argsort(-cosines[0])[:10]]
    pairs = (ten @ ten.T)[np.triu_indices(10, 1)]
    assert queries.measure(0, near[:1], near[:1], base, choose_hnsw()).among == pytest.approx(
        float(pairs.mean()), abs=1e-5
    )


def test_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "SHIFTS", (0.0, 0.8))
    result = queries.run(Settings(tmp_path, rows=1_000))
    [table] = result.tables
    assert [row[0] for row in table.rows] == ["0", "0.8"]
    held_out, shifted = result.measurements
    assert held_out["kept"] == pytest.approx(1) and shifted["kept"] == pytest.approx(0.6, abs=0.02)
    assert held_out["nn1"] > shifted["nn1"] + 0.1
    assert held_out["recalls"][0] > shifted["recalls"][0]
    assert result.configuration["queries"] == 250 and any("250 queries" in note for note in table.notes)


def test_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 1,000"):
        queries.run(Settings(tmp_path, rows=500))
