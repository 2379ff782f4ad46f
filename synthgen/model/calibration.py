"""The numbers of a law that are set by comparing what it draws with the rows it was fitted to.

Five numbers (softness, stretch, isotropic share, gain, contrast) are moved until drawn rows look like the
fitted ones: in the correlation sum, which says how many pairs are nearer than a distance (Grassberger and
Procaccia 1983), at five distances; in the pairs at a cosine of 0.95; in how often neighbours share a cluster;
in hubness and intrinsic dimension. The centring is set apart, by the mean cosine. The correlation sum depends
on the law alone and not on how many rows there are: pairs of n rows foretell how near the nearest neighbours
of 9n or 100n rows will be.

The steps are those of Gauss and Newton, damped by how far each number was from its start in other sets, with
derivatives measured once (on two sets of texts): drawing is noisy, and noise would drown differences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.model.mixture_draw import Law, draw_rows
from synthgen.model.neighbours import Scan, pair_mean, scan_pairs, top_cosines

Floats = NDArray[np.float32]
Numbers = NDArray[np.float64]

_ROUNDS = 6
#: Rows that are looked at, and how often where the fit has fewer.
_ROWS, _DRAWS = 4_000, 3
#: Where the correlation sum is compared: neighbours per row that are nearer.
_NEIGHBOURS_PER_ROW = (0.1, 0.5, 2.0, 10.0, 40.0)
_NEAR_DUPLICATE = 0.95
_ROWS_PER_CELL, _HUB_NEIGHBOURS, _DIMENSION_NEIGHBOURS = 45, 10, 100


@dataclass(frozen=True)
class _Number:
    """A number that is moved: its range, how far it ends from its start in most sets, and by how much it
    raises each of :data:`STATISTICS`.
    """

    name: str
    least: float
    most: float
    usual: float
    raises: tuple[float, ...]


#: What is compared. Logarithms of the correlation sum, at five distances and at a cosine of 0.95; division:
#: the share of the 10 nearest neighbours that lie in a row's own cell of a k-means clustering; logarithms of
#: hubness, the skewness of how many rows a row is a neighbour of (Radovanovic, Nanopoulos and Ivanovic 2010),
#: and of the median intrinsic dimension (Levina and Bickel 2004, by 100 neighbours); mean cosines to the
#: first and the tenth neighbour.
STATISTICS = (
    *(f"neighbours_{share:g}" for share in _NEIGHBOURS_PER_ROW),
    "near_duplicates",
    "division",
    "hubness",
    "dimension",
    "nn1",
    "nn10",
)
_NUMBERS = (
    _Number(
        *("softness", 0.2, 1.5, 0.35),
        (-0.67, -0.72, -0.64, -0.36, -0.12, 0.0, -0.14, 0.25, 0.18, -0.05, -0.03),
    ),
    _Number(
        *("stretch", 0.05, 0.45, 0.07),
        (1.2, 2.9, 3.1, 2.5, 2.1, 0.0, 0.18, 2.7, -0.55, 0.13, 0.17),
    ),
    _Number(
        *("iso", 0.02, 0.55, 0.12),
        (-2.2, -2.6, -2.0, -1.2, -0.9, -2.0, 0.1, 0.3, 0.6, -0.24, -0.1),
    ),
    _Number(
        *("gain", 0.9, 1.3, 0.06),
        (-4.6, -5.7, -6.5, -5.8, -5.2, -3.0, -0.7, -0.4, 1.4, -0.36, -0.41),
    ),
    _Number(
        *("contrast", 0.4, 3.0, 0.5),
        (0.45, 0.14, 0.05, 0.02, 0.01, 1.8, 0.01, -0.06, -0.02, 0.02, 0.0),
    ),
)
CALIBRATED = tuple(number.name for number in _NUMBERS)
#: How far apart sets of 1,500 rows may lie in each statistic: what real ones do, and more where that is to
#: count for less.
_DEVIATIONS = (0.5, 0.25, 0.12, 0.06, 0.05, 0.5, 0.015, 0.2, 0.03, 0.01, 0.006)
#: What drawn rows should have more of than the fitted ones, since they lose it against real ones when nine
#: times as many are drawn.
_EXCESS = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.008, 0.1, 0.04, 0.0, -0.007)

_CENTRING_ROUNDS, _CENTRING_TOLERANCE = 3, 3e-4
_LEAST_CENTRING, _MOST_CENTRING = -0.3, 0.5
#: Components drawn for one look at the mean cosine: 5,200 rows at 768.
_CENTRING_COMPONENTS = 4_000_000


@dataclass(frozen=True)
class Calibrated:
    """A law, and its ``misfit``: the sum of squares that was made small, by which laws can be compared."""

    law: Law
    misfit: float


@dataclass(frozen=True)
class Target:
    """What drawn rows are to be like: ``aim`` (11,), the :data:`STATISTICS` of ``n_rows`` fitted ones and
    what drawn ones should have more; ``cosines`` (5,) of the correlation sum; ``pair_mean`` of all.
    """

    n_rows: int
    cosines: Floats
    aim: Numbers
    pair_mean: float

    @classmethod
    def of(cls, units: Floats, seed: int) -> Target:
        """Return the target that rows ``units`` (n, d) of unit length set; depends on the arguments."""
        n_rows = min(len(units), _ROWS)
        sample = units[np.random.default_rng([seed, 3]).permutation(len(units))[:n_rows]]
        cosines = _cosines(sample)
        return cls(n_rows, cosines, look_at(sample, cosines) + _EXCESS, pair_mean(units))


def calibrate(law: Law, target: Target, seed: int) -> Calibrated:
    """Return ``law`` with its numbers set by ``target``, of the rows that it was fitted to."""
    n_draws = min(_DRAWS, max(1, _ROWS // target.n_rows))
    deviations = np.array(_DEVIATIONS) * max(0.6, math.sqrt(1_500 / target.n_rows))
    start = np.array([getattr(law.recipe, name) for name in CALIBRATED])
    at, tried = start, []
    for turn in range(_ROUNDS):
        law = law.with_numbers(**dict(zip(CALIBRATED, at.tolist(), strict=True)))
        rows = draw_rows(law, n_draws * target.n_rows, seed + 2)
        found = np.mean([look_at(part, target.cosines) for part in np.split(rows, n_draws)], axis=0)
        errors = (target.aim - found) / deviations
        tried.append((float(errors @ errors + np.square(_away(at, start)).sum()), law))
        at = _move(at, start, errors, deviations, 1.0 if turn < _ROUNDS // 2 else 0.5)
        law = _centre(law, pair_mean(rows) - target.pair_mean)
    misfit, best = min(tried, key=lambda pair: pair[0])
    return Calibrated(set_centring(best, target.pair_mean, seed), misfit)


def _move(at: Numbers, start: Numbers, errors: Numbers, deviations: Numbers, share: float) -> Numbers:
    """Return where to look next: a ``share`` of the step of Gauss and Newton, within the numbers' ranges."""
    raises = np.array([number.raises for number in _NUMBERS]).T / deviations[:, None]
    usual = np.array([number.usual for number in _NUMBERS])
    normal = raises.T @ raises + np.diag(1 / usual**2)
    step = np.linalg.solve(normal, raises.T @ errors - _away(at, start) / usual)
    low, high = (np.array([getattr(number, end) for number in _NUMBERS]) for end in ("least", "most"))
    return np.asarray(np.clip(at + share * step, low, high))


def _away(at: Numbers, start: Numbers) -> Numbers:
    return np.asarray((at - start) / np.array([number.usual for number in _NUMBERS]))


def look_at(rows: Floats, cosines: Floats) -> Numbers:
    """Return :data:`STATISTICS` (11,) of ``rows`` (n, d) of unit length, correlation sums at ``cosines``."""
    n = len(rows)
    scan = scan_pairs(rows, min(_DIMENSION_NEIGHBOURS, n // 3), np.append(cosines, _NEAR_DUPLICATE))
    seen = np.full(len(scan.counts), 0.3)  # so that none is no infinity
    seen[-1] = 1.0
    sums = np.log((scan.counts / 2 + seen) / (n * (n - 1) / 2))
    logarithms = [math.log(max(_hubness(scan), 0.1)), math.log(_dimension(scan))]
    nearest = [float(scan.cosines[:, k - 1].mean()) for k in (1, _HUB_NEIGHBOURS)]
    return np.array([*sums, _division(rows, scan), *logarithms, *nearest])


def _cosines(rows: Floats) -> Floats:
    """Return the cosine that so many neighbours of a row exceed, (5,), for each of _NEIGHBOURS_PER_ROW."""
    most = min(len(rows) - 1, 2 * int(max(_NEIGHBOURS_PER_ROW)))
    falling = -np.sort(-top_cosines(rows, most).ravel())
    places = [max(1, min(len(falling) - 1, round(len(rows) * share))) for share in _NEIGHBOURS_PER_ROW]
    return falling[places]


def _division(rows: Floats, scan: Scan) -> float:
    near, shares = scan.rows[:, :_HUB_NEIGHBOURS], []
    for start in range(3):
        from sklearn.cluster import KMeans  # as in kmeans.py

        kmeans = KMeans(max(4, round(len(rows) / _ROWS_PER_CELL)), init="random", n_init=1, max_iter=8)
        cells = kmeans.set_params(random_state=start).fit(rows).labels_
        shares.append(float((cells[near] == cells[:, None]).mean()))
    return float(np.mean(shares))


def _hubness(scan: Scan) -> float:
    counts = np.bincount(scan.rows[:, :_HUB_NEIGHBOURS].ravel(), minlength=len(scan.rows)).astype(np.float64)
    counts -= counts.mean()
    return float((counts**3).mean() / max(float(np.square(counts).mean()) ** 1.5, 1e-9))


def _dimension(scan: Scan) -> float:
    squares = np.maximum(2 - 2 * scan.cosines.astype(np.float64), 1e-12)
    logs = 0.5 * np.log(squares[:, :-1] / squares[:, -1:])
    return float(np.median(-1 / np.minimum(logs.mean(axis=1), -1e-9)))


def set_centring(law: Law, target: float, seed: int) -> Law:
    """Return ``law`` with the centring at which drawn rows have the mean cosine ``target``."""
    n_rows = _CENTRING_COMPONENTS // law.anchors.units.shape[1]
    for _ in range(_CENTRING_ROUNDS):
        error = pair_mean(draw_rows(law, n_rows, seed)) - target
        if abs(error) < _CENTRING_TOLERANCE:
            break
        law = _centre(law, error)
    return law


def _centre(law: Law, error: float) -> Law:
    """Return ``law`` with as much more centring as takes ``error`` from the mean cosine, |mean|**2."""
    more = error / (2 * max(float(law.mean @ law.mean), 1e-3))
    return law.with_numbers(
        centring=float(np.clip(law.recipe.centring + more, _LEAST_CENTRING, _MOST_CENTRING))
    )
