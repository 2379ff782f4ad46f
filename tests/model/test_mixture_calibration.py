"""Calibration: the numbers of a law go where the fitted rows are."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from synthgen.model.calibration import CALIBRATED, Target, calibrate, set_centring
from synthgen.model.mixture_draw import Law, draw_rows
from synthgen.model.mixture_fit import fit_law
from synthgen.model.neighbours import nearest_cosines, normalise, pair_mean, scan_pairs, top_cosines
from synthgen.model.recipe import Recipe
from tests.model.test_mixture_fit import make_vectors


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return make_vectors(1_000)


@pytest.fixture(scope="module")
def law(vectors: np.ndarray) -> Law:
    with threadpool_limits(1):
        return fit_law(vectors, 1, Recipe())


def test_the_centring_brings_the_mean_cosine_home(law: Law, vectors: np.ndarray) -> None:
    target = pair_mean(vectors)
    for start in (-0.1, 0.3):
        found = set_centring(law.with_numbers(centring=start), target, 1)
        assert pair_mean(draw_rows(found, 8_000, 2)) == pytest.approx(target, abs=0.004)


def test_an_unreachable_mean_cosine_ends_at_the_border(law: Law) -> None:
    assert set_centring(law, -1.0, 1).recipe.centring == pytest.approx(0.5)
    assert set_centring(law, 1.0, 1).recipe.centring == pytest.approx(-0.3)


@pytest.mark.parametrize(
    ("name", "wrong", "sign"),
    [("softness", 0.2, 1), ("iso", 0.5, -1), ("stretch", 0.45, -1), ("gain", 1.25, -1)],
)
def test_what_is_set_wrong_is_brought_back(
    law: Law, vectors: np.ndarray, name: str, wrong: float, sign: int
) -> None:
    with threadpool_limits(1):
        mended = calibrate(law.with_numbers(**{name: wrong}), Target.of(vectors, 1), 1).law
    way = getattr(law.recipe, name) - wrong  # what a fit from the usual start finds
    assert sign * way > 0
    assert sign * (getattr(mended.recipe, name) - wrong) > 0.15 * abs(way)


def test_rows_that_fill_more_dimensions_are_drawn_wider(vectors: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    wide = normalise(vectors + 0.05 * rng.standard_normal(vectors.shape).astype(np.float32))
    with threadpool_limits(1):
        found = fit_law(wide, 1, Recipe())
    drawn = float(top_cosines(draw_rows(found, 1_000, 3), 1).mean())
    assert drawn == pytest.approx(float(top_cosines(wide, 1).mean()), abs=0.02)


def test_clusters_that_are_too_wide_are_made_smaller(vectors: np.ndarray) -> None:
    with threadpool_limits(1):
        wide = fit_law(vectors, 1, Recipe(rows_per_cluster=250.0))
        usual = fit_law(vectors, 1, Recipe(rows_per_cluster=40.0))
    assert wide.recipe.rows_per_cluster < 250 and usual.recipe.rows_per_cluster <= 40


def test_near_duplicates_come_where_the_fit_has_them(vectors: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    twins = vectors[:60] + 0.005 * rng.standard_normal((60, vectors.shape[1])).astype(np.float32)
    with threadpool_limits(1):
        contrasts = [
            fit_law(rows, 1, Recipe()).recipe.contrast
            for rows in (vectors, normalise(np.concatenate([vectors[:-60], twins])))
        ]
    assert contrasts[1] > contrasts[0]


def test_numbers_stay_in_their_ranges_whatever_the_rows() -> None:
    rows = normalise(np.random.default_rng(0).standard_normal((300, 64)).astype(np.float32))  # no structure
    with threadpool_limits(1):
        recipe = fit_law(rows, 1, Recipe()).recipe
    assert all(np.isfinite(getattr(recipe, name)) for name in CALIBRATED)
    assert 0.2 <= recipe.softness <= 1.5 and 0.02 <= recipe.iso <= 0.55 and 0.9 <= recipe.gain <= 1.3


def test_neighbours_are_exact() -> None:
    units = normalise(np.random.default_rng(0).standard_normal((1_100, 64)).astype(np.float32))
    cosines = units @ units.T
    np.fill_diagonal(cosines, -2)
    assert np.allclose(top_cosines(units, 3), -np.sort(-cosines, axis=1)[:, :3], atol=1e-6)
    scan = scan_pairs(units, 3, np.array([0.2, 0.3]))
    assert np.array_equal(scan.rows, np.argsort(-cosines, axis=1)[:, :3])
    assert np.allclose(scan.cosines, top_cosines(units, 3))
    assert scan.counts.tolist() == [(cosines >= 0.2).sum(), (cosines >= 0.3).sum()]
    assert np.allclose(nearest_cosines(units[:30], units[30:]), cosines[:30, 30:].max(axis=1), atol=1e-6)
    assert pair_mean(units) == pytest.approx(float(cosines[np.triu_indices(1_100, 1)].mean()), abs=1e-6)
