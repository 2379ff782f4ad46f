"""Which differences count: tolerances, and what real vectors differ by from real vectors.

A statistic fails when |synthetic - real| exceeds its threshold, the larger of

1. its **tolerance**, what an index's user would not notice (the table STATISTICS), and
2. its **noise**: what real differs by from real at this size, with 99% confidence.

Noise. The real set (N rows, n of them judged) is split at random into disjoint halves of h = min(N/2,
5,000) rows, several times; each statistic is measured on both halves, in the same way as on the whole.
By exchangeability the differences D have mean 0, and the variance of a difference between two independent
samples of h rows: with a half drawn without replacement Var(mean) = s^2/h (1 - h/N), which at N = 2h
is s^2/(2h), and D is twice the half's deviation: 2 s^2/h. The judged sets have n rows, and sampling variance
falls with the number of rows that a statistic rests on (its queries, pairs' rows, graph's rows), so

    noise = t(S, 99%) * sqrt(mean D^2) * sqrt(used rows of a half / used rows of the judged set)

with Student's t at S = number of splits, the mean being known to be 0. A Wasserstein distance is never
negative: its noise is mean + t(S - 1, 99%) * sd, scaled alike. The rule errs to the lenient side where part
of the noise does not fall with n, being estimated at the smaller size (graph randomness is averaged over
shuffles in both). It knows nothing of synthetic vectors, and of real ones no more than the file shows.

Some are not scaled, because their noise does not fall so. What an index leaves to chance (order of
insertion, k-means) is not a matter of queries. Among n rows the share of rows with a twin grows like n, and
its variance, share / n, stays. The skewness that measures hubs hangs on a few of them: real halves of 940,
1,883 and 3,766 articles differed by 0.18, 0.14 and 0.15, and one hub among 15,000 package descriptions makes
1.2, in whichever set it is. So hubness has at least the noise of a Welch test, 2.58 * sqrt(e_real^2 +
e_synthetic^2), with e the standard error by bootstrap of the rows' counts. Near-duplicates come in groups,
c rows in that of a row on average: their shares p have at least the noise 2.58 * sqrt(c (p_real +
p_synthetic) / n), which is Poisson's with the groups of the real set.

A statistic whose noise exceeds its tolerance has **low power**: this many rows cannot show a difference
of the size of the tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synthgen.fidelity.geometry import skewness_error, wasserstein
from synthgen.fidelity.indexes import EF_SEARCH, N_PROBES
from synthgen.fidelity.measure import Measured
from synthgen.fidelity.student import INFINITE, t_quantile

CONFIDENCE = 0.99
#: Fewer rows than these make the whole verdict, and near-duplicates, a matter of low power.
LOW_POWER_ROWS = 5_000
LOW_POWER_DUPLICATE_ROWS = 20_000
#: Tolerance of duplicates: within a factor of 2, or within a tenth of a percent point.
_DUPLICATE_FACTOR = 2.0
_DUPLICATE_POINTS = 0.001
_DUPLICATES = ("near_duplicates", "exact_duplicates")
_NOT_SCALED = ("hnsw_", "ivf_", "pq", "hubness", *_DUPLICATES)
#: Below this skewness a relative tolerance of hubness would be one of noise.
_LEAST_HUBNESS = 0.5


@dataclass(frozen=True)
class Statistic:
    """A statistic that is judged: ``tolerance`` absolute, or relative to the real value; ``is_distance``:
    it is itself a distance to the real set, 0 there; ``is_share``: shown in percent.
    """

    key: str
    label: str
    tolerance: float
    is_relative: bool = False
    is_distance: bool = False
    is_share: bool = False


#: Tolerances of pair_w1 and pair_p99 are what 0.005 in mean and in sd do to a normal law together:
#: W1 = 0.005 E|1 + z| = 0.006, and 0.005 (1 + 2.33) = 0.017.
STATISTICS = (
    *(Statistic(f"hnsw_{ef}", f"recall@10, HNSW, ef {ef}", 0.02) for ef in EF_SEARCH),
    *(Statistic(f"ivf_{n}", f"recall@10, IVF, nprobe {n}", 0.03) for n in N_PROBES),
    Statistic("pq", "recall@10, PQ", 0.03),
    Statistic("pair_mean", "pairwise cosine, mean", 0.005),
    Statistic("pair_sd", "pairwise cosine, sd", 0.005),
    Statistic("pair_p99", "pairwise cosine, 99th percentile", 0.017),
    Statistic("pair_w1", "pairwise cosine, Wasserstein-1", 0.006, is_distance=True),
    Statistic("nn1", "cosine to 1st neighbour", 0.015),
    Statistic("nn10", "cosine to 10th neighbour", 0.015),
    Statistic("nn100", "cosine to 100th neighbour", 0.015),
    Statistic("lid", "local intrinsic dimension, median", 0.10, is_relative=True),
    Statistic("hubness", "hubness, skewness of 10-occurrence", 0.20, is_relative=True),
    Statistic("near_duplicates", "near-duplicates (cosine >= 0.95)", 0.001, is_share=True),
    Statistic("exact_duplicates", "exact duplicates", 0.001, is_share=True),
    Statistic("length_mean", "length, mean (real = 1)", 0.01),
    Statistic("length_sd", "length, sd (of the real mean)", 0.01),
    Statistic("length_w1", "length, Wasserstein-1", 0.01, is_distance=True),
)


@dataclass(frozen=True)
class Judgement:
    """One line of the verdict. ``recipe`` is the value of the seed's recipe; ``difference`` is synthetic
    minus real; ``is_low_power``: these many rows cannot show a difference of the size of the tolerance;
    ``real_interval``, ``synthetic_interval``: half-widths of 95% intervals over shuffles (recalls), or nan.
    """

    key: str
    label: str
    real: float
    synthetic: float
    recipe: float
    difference: float
    tolerance: float
    noise: float
    threshold: float
    is_ok: bool
    is_low_power: bool
    real_interval: float = math.nan
    synthetic_interval: float = math.nan

    @property
    def is_share(self) -> bool:
        """Whether to show values in percent."""
        return self.key in _DUPLICATES


@dataclass(frozen=True)
class NoiseModel:
    """Differences between halves of the real set: by key one for each split; rows that each rests on."""

    differences: Mapping[str, Sequence[float]]
    n_used: Mapping[str, int]

    def noise(self, statistic: Statistic, n_used: int) -> float:
        """Return how much real differs from real in ``statistic`` at ``n_used`` rows, with 99% confidence."""
        seen = np.array(self.differences[statistic.key])
        if statistic.is_distance:
            size = seen.mean() + t_quantile(len(seen) - 1, CONFIDENCE) * seen.std(ddof=1)
        else:
            size = t_quantile(len(seen), CONFIDENCE) * np.sqrt(np.square(seen).mean())
        if statistic.key.startswith(_NOT_SCALED):
            return float(size)
        return float(size * np.sqrt(min(1.0, self.n_used[statistic.key] / n_used)))


def compare(real: Measured, other: Measured) -> dict[str, float]:
    """Return other minus real for each statistic; a distance for those that are distances."""
    differences = {key: other.values[key] - real.values[key] for key in real.values}
    differences["pair_w1"] = real.pairs.distance(other.pairs)
    if "lengths" in real.samples:
        differences["length_w1"] = wasserstein(real.samples["lengths"], other.samples["lengths"])
    return differences


def tolerance(statistic: Statistic, real: float, difference: float) -> float:
    """Return the tolerance of ``statistic`` in its own unit."""
    if statistic.key in _DUPLICATES:
        factor = _DUPLICATE_FACTOR if difference > 0 else 1 / _DUPLICATE_FACTOR
        return max(_DUPLICATE_POINTS, abs(factor - 1) * real)
    if statistic.key == "hubness":
        return statistic.tolerance * max(abs(real), _LEAST_HUBNESS)
    return statistic.tolerance * (abs(real) if statistic.is_relative else 1.0)


def _error(key: str, real: Measured, synthetic: Measured) -> float:
    """Return the standard error of the difference, for what hangs on few rows."""
    if key == "hubness":
        return math.hypot(*(skewness_error(each.samples["occurrences"]) for each in (real, synthetic)))
    if key == "near_duplicates":
        share = real.values[key] + synthetic.values[key]
        return math.sqrt(real.clump_rows * share / real.n_used[key])
    return 0.0


def judge_statistic(
    statistic: Statistic, sets: Mapping[str, Measured], noise_model: NoiseModel, n_rows: int
) -> Judgement:
    """Return the line of ``statistic`` for ``sets`` real, synthetic and recipe of ``n_rows`` rows each."""
    real, key = sets["real"], statistic.key
    differences = {name: compare(real, sets[name])[key] for name in ("synthetic", "recipe")}
    value = 0.0 if statistic.is_distance else real.values[key]
    noise = noise_model.noise(statistic, real.n_used[key])
    noise = max(noise, t_quantile(INFINITE, CONFIDENCE) * _error(key, real, sets["synthetic"]))
    allowed = tolerance(statistic, value, differences["synthetic"])
    return Judgement(
        key,
        statistic.label,
        value,
        value + differences["synthetic"],
        value + differences["recipe"],
        differences["synthetic"],
        allowed,
        noise,
        max(allowed, noise),
        abs(differences["synthetic"]) <= max(allowed, noise),  # nan fails
        noise > allowed or (key in _DUPLICATES and n_rows < LOW_POWER_DUPLICATE_ROWS),
        real.spreads.get(key, math.nan),
        sets["synthetic"].spreads.get(key, math.nan),
    )
