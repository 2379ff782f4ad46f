import dataclasses
import sys

import numpy as np
import pytest

from synthgen.errors import InputError, SynthgenError, UsageError
from synthgen.fidelity import FidelityReport, JudgeOptions, judge
from synthgen.fidelity.recipe import make_recipe
from synthgen.fidelity.sets import make_set
from tests.fidelity.sets import (
    FAST,
    N_ROWS,
    articles,
    failing,
    other_real,
    passing,
    real,
    unit,
    with_near_duplicates,
)


def failed(report: FidelityReport) -> set[str]:
    return {line.key for line in report.failed}


def test_real_halves_pass() -> None:
    report = passing()
    assert failed(report) == set()
    assert report.exit_code == 0
    assert report.headline().startswith("PASS")
    assert "low power: 1,200 rows" in report.headline()


def test_seeds_recipe_fails_naming_recall() -> None:
    rows = articles(384)[:N_ROWS]
    synthetic = make_recipe(make_set(rows).directions, N_ROWS, 5)
    report = judge(rows, synthetic, n_shuffles=2, quiet=True, options=FAST)
    assert report.exit_code == 1
    assert {"hnsw_10", "hnsw_80", "ivf_1", "pq", "nn1", "nn10", "lid", "pair_sd"} <= failed(report)
    assert any(text.startswith("recall@10, HNSW, ef 10: 0.") for text in report.failures())
    line = next(line for line in report.judgements if line.key == "hnsw_10")
    assert line.synthetic == pytest.approx(line.recipe, abs=0.06)  # it is the recipe


def test_tight_blobs_fail() -> None:
    assert {"nn1", "nn10", "lid", "ivf_1", "near_duplicates"} <= failed(failing())
    assert failing().exit_code == 1


def test_injected_near_duplicates_are_caught_and_nothing_else_is_wrong() -> None:
    report = judge(real(), with_near_duplicates(), n_shuffles=2, quiet=True, options=FAST)
    assert "near_duplicates" in failed(report)
    assert failed(report) <= {"near_duplicates", "nn1"}


def test_exact_copies_are_caught_and_copies_of_real_are_noted() -> None:
    copies = real().copy()
    copies[:100] = copies[100:200]
    report = judge(real(), copies, n_shuffles=1, quiet=True, options=FAST)
    assert {"exact_duplicates", "near_duplicates"} <= failed(report)
    assert "copies" in report.notes()[0]


def test_the_same_again_whatever_the_threads() -> None:
    again = judge(
        real(), other_real(), n_shuffles=2, quiet=True, options=dataclasses.replace(FAST, n_threads=1)
    )
    first, second = passing().to_document(), again.to_document()
    for document in (first, second):
        del document["about"]["elapsed_s"]
    assert first == second


def test_lengths_are_judged_where_they_are_not_one() -> None:
    rng = np.random.default_rng(3)
    longer = real() * rng.normal(5, 0.5, (N_ROWS, 1)).astype(np.float32)
    other = other_real() * rng.normal(5, 0.5, (N_ROWS, 1)).astype(np.float32)
    report = judge(longer, other, n_shuffles=1, quiet=True, options=FAST)
    lines = {line.key: line for line in report.judgements}
    assert lines["length_mean"].real == pytest.approx(1.0)
    assert lines["length_sd"].real == pytest.approx(0.1, abs=0.01)
    assert lines["length_w1"].is_ok
    assert "length_mean" not in {line.key for line in passing().judgements}
    assert {"length_mean", "length_sd", "length_w1"} <= failed(
        judge(longer, other_real(), n_shuffles=1, quiet=True, options=FAST)
    )


def test_both_are_cut_to_one_size_and_a_given_recipe_is_used() -> None:
    recipe = unit(np.random.default_rng(0).standard_normal((1_200, 96)))
    report = judge(
        articles()[:1_000], other_real(), n_shuffles=1, quiet=True, seeds_recipe=recipe, options=FAST
    )
    assert (report.about.n_rows, report.about.n_real_given, report.about.n_synthetic_given) == (
        1000,
        1000,
        1200,
    )
    assert next(line for line in report.judgements if line.key == "pair_mean").recipe == pytest.approx(
        0, abs=0.01
    )


def nan_row() -> np.ndarray:
    rows = real().copy()
    rows[17, 3] = np.nan
    return rows


def zero_row() -> np.ndarray:
    rows = real().copy()
    rows[5] = 0
    return rows


@pytest.mark.parametrize(
    ("synthetic", "message"),
    [
        (nan_row(), "row 17 is not finite"),
        (zero_row(), "row 5 is all zero"),
        (real()[:, :64], "vectors of 64 components, REAL of 96"),
        (real()[:999], "999 rows are too few"),
        (real().ravel(), "not rows of floats"),
        (real()[:, :8], "vectors have 8 components"),
    ],
)
def test_bad_vectors_are_named(synthetic: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        judge(real(), synthetic, quiet=True, options=JudgeOptions(real_name="REAL", synthetic_name="SYNTH"))
    assert str(caught.value).startswith("SYNTH: ")
    assert "\n" not in str(caught.value)


def test_bad_options_are_refused() -> None:
    with pytest.raises(UsageError, match="splits"):
        JudgeOptions(n_splits=2)
    with pytest.raises(UsageError, match="threads"):
        JudgeOptions(n_threads=-1)
    with pytest.raises(UsageError, match="shuffles"):
        judge(real(), real(), n_shuffles=0)
    with pytest.raises(InputError, match="seed's recipe"):
        judge(real(), real(), seeds_recipe=real()[:1100], quiet=True)


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UsageError, match=r"pip install 'synthgen-memories\[fidelity\]'") as caught:
        judge(real(), other_real())
    assert isinstance(caught.value, SynthgenError)
    assert "\n" not in str(caught.value)


def test_progress_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    judge(real()[:1000], other_real()[:1000], n_shuffles=1, options=JudgeOptions(n_splits=3))
    assert "fidelity: " in capsys.readouterr().err
