"""Fitting the mixture law: what a model is, what it keeps of its rows, and what is refused."""

import numpy as np
import pytest
from numpy.typing import NDArray

from synthgen.errors import InputError
from synthgen.model import mixture_fit
from synthgen.model.mixture import MixtureModel
from synthgen.model.mixture_fit import ArraySource, fit_mixture
from synthgen.model.neighbours import nearest_cosines, normalise, pair_mean, top_cosines
from tests.model.mixture_reference import reference_rows


def make_vectors(n: int = 600, dimension: int = 96, *, seed: int = 7) -> NDArray[np.float32]:
    """Rows in 12 nested clusters of few dimensions, off centre: about as embeddings lie."""
    rng = np.random.default_rng(seed)
    axes = rng.standard_normal((12, 8, dimension)) / 8
    centres = rng.standard_normal((12, dimension)) / 8 + rng.standard_normal(dimension) / 16
    cluster = rng.integers(0, 12, n)
    inner = np.einsum("nk,nkd->nd", rng.standard_normal((n, 8)) / 4, axes[cluster])
    rows = centres[cluster] + inner + 0.03 * rng.standard_normal((n, dimension))
    return normalise(rows.astype(np.float32))


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    return make_vectors()


def whole_anchors(model: MixtureModel) -> NDArray[np.float32]:
    return ((model.anchors + model.middle / 16) / 2**model.unit_bits).astype(np.float32)


@pytest.fixture(scope="module")
def model(vectors: NDArray[np.float32]) -> MixtureModel:
    return fit_mixture(ArraySource(vectors, [f"title {i}" for i in range(len(vectors))]), 3)


def test_a_model_is_what_its_docstring_says(model: MixtureModel) -> None:
    n_anchors, dimension = model.anchors.shape
    n_clusters = len(model.centroids)
    assert (n_anchors, dimension) == (1_800, 96) and model.centroids.shape == (n_clusters, 96)
    assert model.anchors.dtype == model.centroids.dtype == np.int8
    assert max(np.abs(model.anchors).max(), np.abs(model.centroids).max()) <= 127
    lengths = np.linalg.norm(whole_anchors(model), axis=1)
    assert np.abs(lengths - 1).max() < 0.1  # but for the centring
    assert model.labels.shape == (n_anchors, 3, 2) and model.labels.max() < n_clusters
    per_clustering = np.sort(model.labels[:, :, 0], axis=1)
    assert (np.diff(per_clustering, axis=1) > 0).all()  # each clustering has clusters of its own
    assert model.starts[0] == 0 and model.starts[-1] == len(model.members)
    assert (np.diff(model.starts) >= 5).all()  # small clusters borrow
    assert (np.bincount(model.members) >= 3).all()  # one anchor of each row, in each clustering
    assert model.members.max() == 599
    assert (np.diff(model.popularity.astype(np.int64)) > 0).all() and model.popularity[-1] == 2**32 - 1
    assert model.tightness.shape == (n_anchors,) and model.tightness.min() > 0
    assert 0.5 < model.tightness.mean() / 2**16 < 2
    assert model.spread.shape == (n_clusters,) and model.spread.min() > 0
    assert model.scale == 1.0 and len(model.lengths) == 0
    assert set(model.settings) == {"tau", "iso", "pool", "gain", "first", "second"}
    assert len(set(model.titles)) == 600


def test_members_of_a_cluster_lie_in_it(model: MixtureModel) -> None:
    step = 2.0**-model.unit_bits
    for cluster in range(len(model.centroids)):
        members = model.members[model.starts[cluster] : model.starts[cluster + 1]]
        away = (model.anchors[members].astype(float) - model.centroids[cluster]) * step
        spread = np.sqrt(96) * model.spread[cluster] * 2.0**-24
        assert np.sqrt(np.square(away).sum(axis=1).mean()) < 2 * spread + 0.1


def test_rows_have_the_geometry_of_the_real_ones() -> None:
    vectors = make_vectors(3_000)  # the second half is never fitted
    rows = reference_rows(fit_mixture(vectors[:1_500], 3), 1_500, 5)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert pair_mean(rows) == pytest.approx(pair_mean(vectors[:1_500]), abs=0.005)
    ours, theirs = top_cosines(normalise(rows), 100), top_cosines(vectors[1_500:], 100)
    for place in (0, 9, 99):
        assert ours[:, place].mean() == pytest.approx(theirs[:, place].mean(), abs=0.03)


def test_no_fitted_row_is_in_the_model(model: MixtureModel, vectors: NDArray[np.float32]) -> None:
    anchors = normalise(whole_anchors(model))
    unseen = make_vectors(1_200)[600:]
    ours = nearest_cosines(anchors, vectors)
    theirs = nearest_cosines(unseen, vectors)
    assert ours.max() < 0.999
    assert np.quantile(ours, 0.5) < np.quantile(theirs, 0.5) + 0.03
    stated = model.about["anchor_to_nearest_fit_row"]["0.5"]
    assert stated == pytest.approx(float(np.quantile(ours, 0.5)), abs=1e-3)


#: How much nearer to the fit drawn rows may lie than unseen ones do, at the median and at the 95% quantile.
MEMORISING_MARGIN = 0.03


def nearness_to_fit(rows: NDArray[np.float32], fit: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.quantile(nearest_cosines(normalise(rows), fit), [0.5, 0.95])


def test_drawn_rows_are_no_nearer_to_the_fit_than_unseen_ones() -> None:
    vectors = make_vectors(3_000)
    fit, unseen = vectors[:1_500], nearness_to_fit(vectors[1_500:], vectors[:1_500])
    drawn = nearness_to_fit(reference_rows(fit_mixture(fit, 3), 1_500, 5), fit)
    assert (drawn < unseen + MEMORISING_MARGIN).all()
    bootstrap = fit + 0.02 * np.random.default_rng(1).standard_normal(fit.shape).astype(np.float32)
    assert (nearness_to_fit(bootstrap, fit) > unseen + MEMORISING_MARGIN).any()  # the margin tells


def test_the_same_rows_and_seed_make_the_same_model(
    model: MixtureModel, vectors: NDArray[np.float32]
) -> None:
    titles = [f"title {i}" for i in range(len(vectors))]
    assert fit_mixture(ArraySource(vectors.astype(np.float64), titles), 3).digest == model.digest
    assert fit_mixture(ArraySource(vectors, titles), 4).digest != model.digest


def test_titles_are_those_of_the_parents(model: MixtureModel, vectors: NDArray[np.float32]) -> None:
    parents = vectors[[int(title.split()[1]) for title in model.titles]]
    anchors = normalise(whole_anchors(model))
    assert np.median((anchors * parents).sum(axis=1)) > np.median(nearest_cosines(anchors, parents)) - 0.1


def test_lengths_are_kept_apart(vectors: NDArray[np.float32]) -> None:
    lengths = np.random.default_rng(0).gamma(40.0, 0.1, len(vectors)).astype(np.float32)
    varied = fit_mixture(vectors * lengths[:, None], 3)
    assert varied.scale == pytest.approx(float(lengths.mean()), rel=1e-5)
    drawn = np.linalg.norm(reference_rows(varied, 4_000, 1), axis=1)
    assert drawn.mean() == pytest.approx(lengths.mean(), rel=0.02)
    assert drawn.std() == pytest.approx(lengths.std(), rel=0.1)
    equal = fit_mixture(vectors * np.float32(7.5), 3)
    assert equal.scale == pytest.approx(7.5, rel=1e-5) and len(equal.lengths) == 0


@pytest.mark.parametrize("dimension", [64, 4_096])
def test_other_dimensions_can_be_fitted(dimension: int) -> None:
    model = fit_mixture(make_vectors(200, dimension), 1)
    assert model.anchors.shape == (600, dimension)
    assert np.abs(model.anchors).max() > 2**5  # fine enough steps


def test_a_component_that_outweighs_all_others_fits() -> None:
    vectors = make_vectors(200)
    vectors[:, 5] = 12.0
    model = fit_mixture(vectors, 1)
    assert np.median(np.abs(model.anchors)) > 4  # and does not drown what the others say
    others = np.delete(np.arange(96), 5)
    real, drawn = (
        rows[:, others] - rows[:, others].mean(axis=0) for rows in (vectors, reference_rows(model, 400, 1))
    )
    assert np.square(drawn).sum(axis=1).mean() == pytest.approx(np.square(real).sum(axis=1).mean(), rel=0.2)


def test_what_all_rows_share_does_not_drown_what_they_differ_by() -> None:
    vectors = make_vectors(1_000) + np.float32(10)
    drawn = reference_rows(fit_mixture(vectors, 1), 1_000, 1)
    spread = [float(np.square(rows - rows.mean(axis=0)).sum(axis=1).mean()) for rows in (vectors, drawn)]
    assert spread[1] == pytest.approx(spread[0], rel=0.15)


def test_twins_do_not_break_the_fit() -> None:
    vectors = np.repeat(make_vectors(50), 4, axis=0)
    model = fit_mixture(vectors, 1)
    assert nearest_cosines(normalise(whole_anchors(model)), vectors).max() < 0.9999


def test_large_sets_are_sampled(vectors: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture_fit, "MAX_ROWS", 250)
    model = fit_mixture(vectors, 1)
    assert model.about["n_fit_rows"] == 250 and model.about["n_source_rows"] == 600
    monkeypatch.setattr(mixture_fit, "MAX_FIT_BYTES", 4 * 96 * 150)
    assert fit_mixture(vectors, 1).about["n_fit_rows"] == 150


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v[:99], "99 vectors are too few"),
        (lambda v: v[:, :63], "63 components"),
        (lambda v: v * np.nan, "row 0 is not finite"),
        (lambda v: np.where(np.arange(600)[:, None] == 17, np.inf, v), "row 17 is not finite"),
        (lambda v: v * (np.arange(600)[:, None] != 31), "row 31 is all zero"),
        (lambda v: np.repeat(v[:1], 200, axis=0), "all vectors point the same way"),
        (lambda v: np.repeat(v[:1], 200, axis=0) * np.arange(1, 201)[:, None], "point the same way"),
        (lambda v: v[0], "no rows of"),
        (lambda v: (v * 100).astype(np.int32), "no rows of"),
    ],
)
def test_unusable_vectors_are_refused(vectors: NDArray[np.float32], change: object, message: str) -> None:
    assert callable(change)
    with pytest.raises(InputError, match=message):
        fit_mixture(change(vectors), 1)


def test_huge_and_tiny_lengths_are_measured(vectors: NDArray[np.float32]) -> None:
    for factor in (1e30, 1e-30):
        model = fit_mixture(vectors * np.float32(factor), 1)
        assert model.scale == pytest.approx(factor, rel=1e-4)
