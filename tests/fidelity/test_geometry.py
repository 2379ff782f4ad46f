import numpy as np
import pytest

from synthgen.fidelity import geometry
from synthgen.fidelity.mixing import fit_plane, measure_mixing
from synthgen.fidelity.recipe import fit_centroids, make_recipe
from synthgen.fidelity.sets import make_folds, make_set, n_exact_duplicates, pick_rows
from synthgen.fidelity.student import t_quantile
from tests.fidelity.sets import Vectors, articles, other_real, real, unit


def gaussian(n: int, d: int, seed: int = 0) -> Vectors:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def test_pairs_are_those_of_brute_force() -> None:
    rows = real()[:700]
    pairs = geometry.count_pairs(rows)
    brute = (rows.astype(np.float64) @ rows.T)[np.triu_indices(700, 1)]
    assert pairs.counts.sum() == len(brute) == 700 * 699 // 2
    assert pairs.mean == pytest.approx(brute.mean(), abs=1e-7)
    assert pairs.sd == pytest.approx(brute.std(), abs=1e-7)
    for share in (0.01, 0.5, 0.99):
        assert pairs.quantile(share) == pytest.approx(np.quantile(brute, share), abs=2e-4)


def test_pairs_distance_is_the_exact_wasserstein_distance() -> None:
    a, b = real()[:500], unit(real()[:600] + 0.3)
    brute = [(x @ x.T)[np.triu_indices(len(x), 1)] for x in (a, b)]
    exact = geometry.wasserstein(*brute)
    assert exact > 0.1
    assert geometry.count_pairs(a).distance(geometry.count_pairs(b)) == pytest.approx(exact, abs=2e-4)


def test_extreme_cosines_have_a_bin() -> None:
    rows = np.array([[1, 0], [1, 0], [-1, 0]], np.float32)
    assert geometry.count_pairs(rows).counts[[0, -1]].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ([0.0, 1.0, 3.0], [5.0, 6.0, 8.0], 5.0),  # a shift
        ([0.0, 1.0], [0.0, 0.0, 1.0, 1.0], 0.0),  # sizes do not matter
        ([0.0], [1.0, 2.0, 3.0], 2.0),
        ([0.0, 2.0], [1.0], 1.0),
        ([4.0], [4.0], 0.0),
    ],
)
def test_wasserstein_of_known_samples(a: list[float], b: list[float], distance: float) -> None:
    assert geometry.wasserstein(np.array(a), np.array(b)) == pytest.approx(distance)
    assert geometry.wasserstein(np.array(b), np.array(a)) == pytest.approx(distance)


def test_wasserstein_of_equal_sizes_is_the_mean_gap_of_sorted_values() -> None:
    a, b = np.random.default_rng(0).standard_normal((2, 1000)) * [[1], [2]]
    assert geometry.wasserstein(a, b) == pytest.approx(np.abs(np.sort(a) - np.sort(b)).mean())


def test_nearest_is_brute_force() -> None:
    queries, base = real()[:50], real()[50:500]
    products, rows = geometry.nearest(queries, base, 7)
    brute = queries @ base.T
    assert np.allclose(products, -np.sort(-brute, axis=1)[:, :7], atol=1e-6)
    assert (rows == np.argsort(-brute, axis=1)[:, :7]).mean() > 0.99  # but for ties


@pytest.mark.parametrize(("dimension", "tolerance"), [(5, 0.05), (10, 0.15)])  # low where rows are few
def test_local_dimension_of_a_uniform_sphere(dimension: int, tolerance: float) -> None:
    # uniform on a sphere of `dimension` dimensions, turned into 64: the estimate knows nothing of the 64
    flat = unit(gaussian(6_000, dimension + 1))
    turned = flat @ np.linalg.qr(gaussian(64, 64, 1))[0][: dimension + 1]
    cosines, _ = geometry.nearest(turned[:1000], turned[1000:], geometry.LID_NEIGHBOURS)
    assert np.median(geometry.local_dimension(cosines)) == pytest.approx(dimension, rel=tolerance)


def test_local_dimension_follows_the_formula_and_survives_duplicates() -> None:
    radii = np.array([0.1, 0.2, 0.4])
    expected = -1 / np.mean(np.log(radii[:-1] / radii[-1]))
    assert geometry.local_dimension(np.array([1 - radii**2 / 2]))[0] == pytest.approx(expected, rel=1e-4)
    assert np.isfinite(geometry.local_dimension(np.array([[1.0, 1.0, 0.5]], np.float32))).all()
    assert np.isnan(geometry.local_dimension(np.array([[0.5, 0.5, 0.5]], np.float32))).all()


def test_skewness_of_known_laws() -> None:
    assert geometry.skewness(np.array([3, 3, 3])) == 0.0
    assert geometry.skewness(np.array([0, 0, 0, 1])) == pytest.approx(2 / np.sqrt(3))
    assert geometry.skewness(np.random.default_rng(0).exponential(size=200_000)) == pytest.approx(2, rel=0.05)


def test_skewness_error_is_that_of_repeated_samples() -> None:
    samples = np.random.default_rng(0).gamma(10, size=(300, 400))
    spread = np.std([geometry.skewness(sample) for sample in samples])
    estimates = [geometry.skewness_error(sample) for sample in samples[:40]]
    assert np.mean(estimates) == pytest.approx(spread, rel=0.3)


def test_occurrences_are_those_of_brute_force() -> None:
    rows = real()[:400]
    brute = rows @ rows.T
    np.fill_diagonal(brute, -2)
    neighbours = np.argsort(-brute, axis=1)[:, :10]
    expected = np.bincount(neighbours.ravel(), minlength=400)
    assert np.array_equal(geometry.count_occurrences(geometry.nearest(rows, rows, 11)[1]), expected)


def test_occurrences_of_many_twins_still_count_ten_each() -> None:
    rows = np.repeat(real()[:20], 20, axis=0)
    assert geometry.count_occurrences(geometry.nearest(rows, rows, 11)[1]).sum() == 10 * len(rows)


def n_near(rows: Vectors) -> int:
    return round(len(rows) * geometry.near_duplicate_share(geometry.nearest(rows, rows, 2)[0]))


def test_duplicates_are_counted() -> None:
    rows = real()[:1000].copy()
    before = n_near(rows)
    rows[:10] = rows[500:510]
    rows[20] = unit(rows[600:601] + 0.01 * gaussian(1, 96))[0]
    assert n_exact_duplicates(rows) == 20
    assert n_near(rows) == before + 22


def test_clumps_have_the_size_that_a_row_sees() -> None:
    rows = np.eye(64, dtype=np.float32)[[*range(20), 0, 1, 2, 2, 2]]  # two pairs, and a group of four
    found = geometry.nearest(rows, rows, 11)
    assert geometry.clump_size(*found) == pytest.approx((2 * 2 + 2 * 2 + 4 * 4) / 8)
    assert geometry.clump_size(*geometry.nearest(rows[:20], rows[:20], 11)) == 2.0


def test_minus_zero_is_zero() -> None:
    assert n_exact_duplicates(np.array([[0.0, 1.0], [-0.0, 1.0], [1.0, 0.0]], np.float32)) == 2


def test_a_set_keeps_lengths_apart() -> None:
    rows = gaussian(5_000, 20)
    made = make_set(rows * np.float32(3))
    assert np.allclose(np.linalg.norm(made.directions, axis=1), 1, atol=1e-6)
    assert np.allclose(made.lengths, 3 * np.linalg.norm(rows, axis=1), rtol=1e-6)
    assert not made.is_unit
    assert make_set(unit(rows).astype(np.float16).astype(np.float32)).is_unit
    assert np.isfinite(make_set(np.full((2, 16), 1e30, np.float32)).directions).all()


@pytest.mark.parametrize(
    ("n_rows", "n_shuffles", "n_queries"), [(1000, 3, 333), (20_000, 3, 2500), (1000, 5, 200)]
)
def test_folds_ask_each_row_once_at_most(n_rows: int, n_shuffles: int, n_queries: int) -> None:
    folds = make_folds(n_rows, n_shuffles, 1)
    asked = np.concatenate([fold.queries for fold in folds])
    assert len(asked) == len(set(asked.tolist())) == n_shuffles * n_queries
    for fold in folds:
        assert sorted([*fold.queries, *fold.base]) == list(range(n_rows))
    assert not np.array_equal(np.sort(folds[0].base), folds[0].base)
    assert np.array_equal(make_folds(n_rows, n_shuffles, 1)[1].base, folds[1].base)


def test_rows_are_picked_once() -> None:
    assert sorted(pick_rows(10, 99, 0)) == list(range(10))
    assert len(set(pick_rows(1000, 100, 0).tolist())) == 100


def test_sets_of_one_law_mix_and_others_do_not() -> None:
    same = measure_mixing(real(), other_real(), 0)
    assert abs(same.z) < 4
    assert same.expected_share == pytest.approx(1199 / 2399)
    apart = measure_mixing(real(), unit(other_real() + 0.05), 0)
    assert apart.z > 10
    assert apart.same_share > same.same_share


def test_copies_are_seen() -> None:
    assert measure_mixing(real(), real()[::-1], 0).near_share == 1.0
    assert measure_mixing(real(), other_real(), 0).near_share < 0.05


def test_plane_is_that_of_the_largest_variances() -> None:
    rows = gaussian(3_000, 32) * np.linspace(1, 0.1, 32, dtype=np.float32)
    rows[:, 7] *= 5
    rows[:, 3] *= 9
    plane = fit_plane(rows, 0)
    assert np.abs(plane.axes[[3, 7], [0, 1]]) == pytest.approx([1, 1], abs=0.01)
    assert (plane.axes[[3, 7], [0, 1]] > 0).all()  # the sign is fixed
    expected = (rows - rows.mean(axis=0))[:5, [3, 7]]
    assert np.allclose(plane.project(rows[:5]), expected, atol=0.5)


def test_kmeans_finds_separate_blobs() -> None:
    centres = 10 * np.eye(5, 16, dtype=np.float32)
    labels = np.arange(500) % 5
    rows = centres[labels] + 0.01 * gaussian(500, 16)
    found = fit_centroids(rows, 40, np.random.default_rng(0))  # more than blobs: some stay empty or share
    assert np.linalg.norm(found[:, None] - centres, axis=2).min(axis=0).max() < 0.1


def test_recipe_is_isotropic_around_centroids() -> None:
    made = make_recipe(articles(), 4_000, 7)
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    assert np.array_equal(made, make_recipe(articles(), 4_000, 7))
    assert not np.array_equal(made, make_recipe(articles(), 4_000, 8))
    nearest_cosine = geometry.nearest(made[:500], made[500:], 1)[0].mean()
    assert nearest_cosine < geometry.nearest(real()[:500], real()[500:], 1)[0].mean() - 0.05


def test_t_quantiles() -> None:
    assert t_quantile(1, 0.95) == 12.706
    assert t_quantile(6, 0.99) == 3.707
    assert t_quantile(10**6, 0.99) == 2.576
