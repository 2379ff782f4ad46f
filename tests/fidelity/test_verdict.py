import dataclasses

import numpy as np
import pytest

from synthgen.fidelity.geometry import count_pairs, skewness
from synthgen.fidelity.measure import Measured
from synthgen.fidelity.verdict import STATISTICS, NoiseModel, judge_statistic, tolerance
from tests.fidelity.sets import real

BY_KEY = {statistic.key: statistic for statistic in STATISTICS}


def model(key: str, differences: list[float], n_used: int = 100) -> NoiseModel:
    return NoiseModel({key: differences}, {key: n_used})


def test_noise_is_the_99_percent_bound_scaled_to_the_rows() -> None:
    noise = model("nn1", [0.01, -0.01, 0.02, -0.02], 100)
    expected = 4.604 * np.sqrt((0.01**2 + 0.02**2) / 2)
    assert noise.noise(BY_KEY["nn1"], 100) == pytest.approx(expected)
    assert noise.noise(BY_KEY["nn1"], 400) == pytest.approx(expected / 2)
    assert noise.noise(BY_KEY["nn1"], 25) == pytest.approx(expected)  # never scaled up


def test_noise_of_distances_is_around_their_mean() -> None:
    noise = model("pair_w1", [0.001, 0.003], 100)
    assert noise.noise(BY_KEY["pair_w1"], 100) == pytest.approx(0.002 + 63.657 * np.sqrt(2e-6))


@pytest.mark.parametrize("key", ["hnsw_10", "ivf_1", "pq", "hubness", "near_duplicates", "exact_duplicates"])
def test_noise_that_does_not_fall_is_not_scaled(key: str) -> None:
    noise = model(key, [0.01, -0.01, 0.01])
    assert noise.noise(BY_KEY[key], 10**6) == noise.noise(BY_KEY[key], 100)


def test_noise_is_that_of_real_samples() -> None:
    """Halves of a known population, scaled, bound the differences of whole samples of it as promised."""
    rng = np.random.default_rng(0)
    n, misses = 400, 0
    for _ in range(400):
        sample, other = rng.standard_normal((2, n))
        differences = []
        for _ in range(6):
            mixed = rng.permutation(sample)
            differences.append(float(mixed[: n // 2].mean() - mixed[n // 2 :].mean()))
        bound = model("nn1", differences, n // 2).noise(BY_KEY["nn1"], n)
        misses += abs(sample.mean() - other.mean()) > bound
    assert misses <= 12  # 1% of 400, and chance


@pytest.mark.parametrize(
    ("key", "value", "difference", "expected"),
    [
        ("hnsw_10", 0.8, 0.5, 0.02),
        ("lid", 20.0, 1.0, 2.0),
        ("hubness", 2.0, 1.0, 0.4),
        ("hubness", 0.0, 1.0, 0.1),
        ("near_duplicates", 0.01, 0.005, 0.01),  # up to twice as many
        ("near_duplicates", 0.01, -0.005, 0.005),  # down to half as many
        ("near_duplicates", 0.0002, 0.0005, 0.001),  # a tenth of a point
    ],
)
def test_tolerances(key: str, value: float, difference: float, expected: float) -> None:
    assert tolerance(BY_KEY[key], value, difference) == pytest.approx(expected)


def measured(nn1: float) -> Measured:
    return Measured({"nn1": nn1}, {"nn1": 100}, {}, {}, count_pairs(real()[:10]))


@pytest.mark.parametrize(
    ("synthetic", "noise", "is_ok", "is_low_power"),
    [
        (0.514, 0.0, True, False),
        (0.516, 0.0, False, False),
        (0.516, 0.01, True, True),
        (float("nan"), 0.0, False, False),
    ],
)
def test_a_statistic_fails_beyond_tolerance_and_noise(
    synthetic: float, noise: float, is_ok: bool, is_low_power: bool
) -> None:
    sets = {"real": measured(0.5), "synthetic": measured(synthetic), "recipe": measured(0.1)}
    line = judge_statistic(BY_KEY["nn1"], sets, model("nn1", [noise, -noise, noise]), 10_000)
    assert (line.is_ok, line.is_low_power) == (is_ok, is_low_power)
    assert line.tolerance == 0.015
    assert dataclasses.asdict(line)["difference"] == pytest.approx(synthetic - 0.5, nan_ok=True)


def test_hubness_has_at_least_the_noise_of_its_own_hubs() -> None:
    counts = np.random.default_rng(0).poisson(10, 500)
    hub = np.append(counts, 300)

    def with_counts(counts: np.ndarray) -> Measured:
        values = {"hubness": skewness(counts)}
        return Measured(values, {"hubness": 500}, {}, {"occurrences": counts}, count_pairs(real()[:10]))

    sets = {"real": with_counts(counts), "synthetic": with_counts(hub), "recipe": with_counts(counts)}
    line = judge_statistic(BY_KEY["hubness"], sets, model("hubness", [0.01, 0.01, 0.01]), 10_000)
    assert line.noise > line.difference > 10 > line.tolerance  # one row: no evidence of a law
    sets["synthetic"] = with_counts(np.append(counts, [300] * 40))
    line = judge_statistic(BY_KEY["hubness"], sets, model("hubness", [0.01, 0.01, 0.01]), 10_000)
    assert not line.is_ok


def test_near_duplicates_have_at_least_the_noise_of_their_groups() -> None:
    def with_share(share: float, clump_rows: float) -> Measured:
        values, used = {"near_duplicates": share}, {"near_duplicates": 3_000}
        return Measured(values, used, {}, {}, count_pairs(real()[:10]), clump_rows)

    sets = {
        "real": with_share(0.006, 3.0),
        "synthetic": with_share(0.014, 900.0),
        "recipe": with_share(0, 2.0),
    }
    line = judge_statistic(BY_KEY["near_duplicates"], sets, model("near_duplicates", [0.0, 0.0, 0.0]), 3_000)
    assert line.noise == pytest.approx(
        2.576 * np.sqrt(3 * 0.02 / 3_000)
    )  # the real groups, whatever is judged
    assert line.is_ok
