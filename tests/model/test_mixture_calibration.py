"""Gain and isotropic share: they go where the fitted rows are, and stay where they should."""

from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from synthgen.model.calibration import calibrate, set_gain
from synthgen.model.mixture_draw import Law, draw_rows
from synthgen.model.mixture_fit import fit_law
from synthgen.model.neighbours import nearest_cosines, normalise, pair_mean, top_cosines
from synthgen.model.recipe import Recipe
from tests.model.test_mixture_fit import make_vectors


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return make_vectors(1_000)


@pytest.fixture(scope="module")
def law(vectors: np.ndarray) -> Law:
    with threadpool_limits(1):
        return fit_law(vectors, 1, Recipe())


def test_the_gain_brings_the_mean_cosine_home(law: Law, vectors: np.ndarray) -> None:
    target = pair_mean(vectors)
    for start in (0.95, 1.25):
        found = set_gain(replace(law, recipe=replace(law.recipe, gain=start)), target, 1)
        assert pair_mean(draw_rows(found, 8_000, 2)) == pytest.approx(target, abs=0.006)


def test_an_unreachable_mean_cosine_ends_at_the_border(law: Law) -> None:
    assert set_gain(law, -1.0, 1).recipe.gain == pytest.approx(1.3)
    assert set_gain(law, 1.0, 1).recipe.gain == pytest.approx(0.9)


def test_rows_that_lie_too_close_get_more_isotropic_noise(law: Law, vectors: np.ndarray) -> None:
    drawn = float(top_cosines(draw_rows(law, 1_000, 3), 1).mean())
    wider = calibrate(law, vectors, drawn - 0.03, 1)
    assert law.recipe.iso < wider.recipe.iso <= 0.55
    assert float(top_cosines(draw_rows(wider, 1_000, 3), 1).mean()) == pytest.approx(drawn - 0.03, abs=0.015)


def test_rows_that_lie_far_apart_keep_the_least_noise(law: Law, vectors: np.ndarray) -> None:
    assert calibrate(law, vectors, 0.999, 1).recipe.iso == law.recipe.iso


def test_neighbours_are_exact() -> None:
    units = normalise(np.random.default_rng(0).standard_normal((1_100, 64)).astype(np.float32))
    cosines = units @ units.T
    np.fill_diagonal(cosines, -2)
    assert np.allclose(top_cosines(units, 3), -np.sort(-cosines, axis=1)[:, :3], atol=1e-6)
    assert np.allclose(nearest_cosines(units[:30], units[30:]), cosines[:30, 30:].max(axis=1), atol=1e-6)
    assert pair_mean(units) == pytest.approx(float(cosines[np.triu_indices(1_100, 1)].mean()), abs=1e-6)
