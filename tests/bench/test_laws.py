"""The laws that `realism` compares: shapes, lengths, determinism, and what makes each of them that law."""

import numpy as np
import pytest

from bench import laws
from bench.laws import LAWS
from tests.fidelity.sets import Vectors, articles

N_FIT, N_ROWS = 300, 400


@pytest.fixture(scope="module")
def fit() -> Vectors:
    return articles()[:N_FIT]


def total_variance(rows: Vectors) -> float:
    return float(rows.var(axis=0).sum())


@pytest.mark.parametrize("name", LAWS)
def test_rows_are_of_unit_length_and_depend_on_the_seed(name: str, fit: Vectors) -> None:
    rows = LAWS[name](fit, N_ROWS, 1)
    assert (rows.shape, rows.dtype) == ((N_ROWS, fit.shape[1]), np.float32)
    assert np.abs(np.linalg.norm(rows, axis=1) - 1).max() < 1e-4  # a grid of 6 decimals
    assert np.array_equal(LAWS[name](fit, N_ROWS, 1), rows)
    assert not np.array_equal(LAWS[name](fit, N_ROWS, 2), rows)


@pytest.mark.parametrize("name", LAWS)
def test_a_law_leaves_the_fit_as_it_is(name: str, fit: Vectors) -> None:
    before = fit.copy()
    LAWS[name](fit, N_ROWS, 1)
    assert np.array_equal(fit, before)


@pytest.mark.parametrize("name", ["isotropic .1", "ours"])
def test_the_products_laws_lie_on_its_grid(name: str, fit: Vectors) -> None:
    steps = LAWS[name](fit, 50, 1).astype(np.float64) * 1e6
    assert np.abs(steps - np.rint(steps)).max() < 0.05  # float32 holds them to 0.03


def test_the_isotropic_law_has_noise_of_a_tenth_around_centroids() -> None:
    """Two tight clusters: what the rows have beyond them is noise of 0.1 a component."""
    rng = np.random.default_rng(0)
    centres = np.eye(2, 96, dtype=np.float32)
    fit = centres[rng.integers(2, size=N_FIT)] + 1e-4 * rng.standard_normal((N_FIT, 96)).astype(np.float32)
    rows = LAWS["isotropic .1"](fit, N_ROWS, 1)
    own = rows[np.arange(N_ROWS), rows[:, :2].argmax(axis=1)]
    assert own.mean() == pytest.approx(1 / np.sqrt(1 + 96 * 0.01), abs=0.02)


def test_a_gaussian_mixture_has_the_total_variance_of_its_fit(fit: Vectors) -> None:
    """20 clusters of 15 rows in 96 dimensions, drawn without the final scaling to unit length."""
    labels, clusters = laws._fit_clusters(fit, 6, 1)
    for number, cluster in enumerate(clusters):
        members = fit[labels == number]
        noise = cluster.draw_noise(20_000, np.random.default_rng(0))
        assert cluster.size == len(members)
        assert total_variance(noise) == pytest.approx(members.var(axis=0, ddof=1).sum(), rel=0.03)
        assert np.abs(noise.mean(axis=0)).max() < 0.01


def test_a_bootstrap_stays_near_rows_of_the_fit_as_no_mixture_does(fit: Vectors) -> None:
    nearest = {name: (LAWS[name](fit, N_ROWS, 1) @ fit.T).max(axis=1) for name in ("bootstrap", "cuVS")}
    assert np.median(nearest["bootstrap"]) > np.median(nearest["cuVS"]) + 0.1


def test_cuvs_draws_by_size_and_each_centroid_itself() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(4, 96, dtype=np.float32)
    own = np.repeat([0, 1, 2, 3], [150, 75, 50, 25])
    fit = centres[own] + 0.02 * rng.standard_normal((300, 96)).astype(np.float32)
    rows = LAWS["cuVS"](fit, 1_200, 1)
    counts = np.bincount(rows[:, :4].argmax(axis=1))
    assert counts.tolist() == pytest.approx([600, 300, 200, 100], abs=4)
    means = np.stack([fit[own == number].mean(axis=0) for number in range(4)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    assert (means @ rows.T).max() > 1 - 1e-6
    assert ((means @ rows.T) > 1 - 1e-6).sum() == 4


def test_cuvs_gives_each_component_its_variance(fit: Vectors) -> None:
    residuals = fit[:80] - fit[:80].mean(axis=0)
    rows = laws._draw_cuvs_cluster(residuals, 5_000, np.random.default_rng(0))
    assert rows.var(axis=0) == pytest.approx(residuals.var(axis=0), rel=1e-3)
    few = laws._draw_cuvs_cluster(residuals[: laws.RANK], 5_000, np.random.default_rng(0))
    assert few.var(axis=0) == pytest.approx(residuals[: laws.RANK].var(axis=0), rel=0.15)


def test_a_cluster_of_one_row_has_no_noise(fit: Vectors) -> None:
    _, [cluster] = laws._fit_clusters(fit[:1], 1, 1)
    assert not cluster.draw_noise(3, np.random.default_rng(0)).any()
