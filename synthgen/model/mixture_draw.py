"""The mixture law in floating point, for fitting: what a model's rows would be like, before it is one.

Datasets never come from here: generate/mixture.py draws the same law in integers, the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from synthgen.model.anchors import Anchors
from synthgen.model.clusterings import Clusterings
from synthgen.model.neighbours import normalise
from synthgen.model.recipe import Recipe

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

_BLOCK_ROWS = 4_096
_N_POSITIVE, _N_NORMAL, _N_POOLED = 4, 3, 2


@dataclass(frozen=True)
class Law:
    """Everything a row is drawn from. ``clusters``: of the anchors, not of the fit rows."""

    anchors: Anchors
    clusters: Clusterings
    recipe: Recipe

    def with_numbers(self, **numbers: float) -> Law:
        """Return the law with other numbers of its recipe; only those that do not move anchors."""
        return replace(self, recipe=replace(self.recipe, **numbers))  # type: ignore[arg-type]

    @property
    def tightness(self) -> NDArray[np.float64]:
        """How far rows stray from each anchor, about 1, (V,)."""
        return np.asarray(self.anchors.distances**self.recipe.contrast)

    @property
    def spread(self) -> NDArray[np.float64]:
        """Standard deviation per component of each cluster, (K,)."""
        variances = self.clusters.variances.astype(np.float64)
        return np.asarray(np.sqrt(variances / self.anchors.units.shape[1]))

    @property
    def offset(self) -> Floats:
        """What is taken away from every row before it is brought to its length, (d,)."""
        return np.asarray(self.recipe.centring * self.mean, np.float32)

    @cached_property
    def mean(self) -> Floats:
        """Mean of the anchors, each as often as it is drawn, (d,)."""
        return np.asarray(self.anchors.weights.astype(np.float32) @ self.anchors.units)

    @cached_property
    def residual_spread(self) -> float:
        """Standard deviation per component of anchors around the centroid of their first cluster."""
        total = 0.0
        for at in range(0, len(self.anchors.units), _BLOCK_ROWS):
            rows = slice(at, at + _BLOCK_ROWS)
            total += float(np.square(self.anchors.units[rows] - _home(self, rows)).sum(dtype=np.float64))
        return float(np.sqrt(total / self.anchors.units.size))


def _home(law: Law, anchors: Integers | slice) -> Floats:
    return np.asarray(law.clusters.centroids[law.clusters.labels[anchors, 0, 0]])


def draw_rows(law: Law, n_rows: int, seed: int) -> Floats:
    """Return (n_rows, d) float32 rows of unit length; depends on the law and ``seed``."""
    rng = np.random.default_rng([seed, 2])
    cumulated = np.cumsum(law.anchors.weights)
    rows = np.empty((n_rows, law.anchors.units.shape[1]), np.float32)
    for at in range(0, n_rows, _BLOCK_ROWS):
        n = min(_BLOCK_ROWS, n_rows - at)
        drawn = np.searchsorted(cumulated, rng.random(n)).clip(max=len(cumulated) - 1)
        rows[at : at + n] = normalise(_draw_block(law, drawn, rng))
    return rows


def _draw_block(law: Law, drawn: Integers, rng: np.random.Generator) -> Floats:
    recipe, n = law.recipe, len(drawn)
    cluster = law.clusters.pick(drawn, recipe.first_share, recipe.second_share, rng)
    centroid = law.clusters.centroids[cluster]
    tightness = law.tightness[drawn]
    strayed = np.minimum((1 - rng.beta(recipe.stay_a, recipe.stay_b, n)) * tightness, 1)
    rest = 1 - recipe.tau - recipe.iso - recipe.pool
    noise = _mix(law, cluster, np.sqrt(rest * rng.dirichlet(np.ones(_N_POSITIVE), n)), rng)
    normal = rng.standard_normal((n, _N_NORMAL)) * np.sqrt(recipe.tau / _N_NORMAL)
    noise += _mix(law, cluster, normal, rng)
    pooled = np.sqrt(recipe.pool / _N_POOLED) * law.spread[cluster] / law.residual_spread
    for _ in range(_N_POOLED):
        elsewhere = rng.integers(0, len(law.anchors.units), n)
        weight = (rng.standard_normal(n) * pooled).astype(np.float32)[:, None]
        noise += weight * (law.anchors.units[elsewhere] - _home(law, elsewhere))
    isotropic = rng.standard_normal(noise.shape, np.float32)
    noise += isotropic * (np.sqrt(recipe.iso) * law.spread[cluster]).astype(np.float32)[:, None]
    z = rng.standard_normal(n)
    stretch = np.exp(np.minimum(tightness, 1) * (recipe.stretch * z - recipe.stretch**2))
    own = (stretch * np.sqrt(1 - strayed)).astype(np.float32)[:, None]
    other = (recipe.gain * stretch * np.sqrt(strayed)).astype(np.float32)[:, None]
    rows = centroid + own * (law.anchors.units[drawn] - centroid) + other * noise
    return np.asarray(rows - law.offset, np.float32)


def _mix(law: Law, cluster: Integers, weights: NDArray[np.float64], rng: np.random.Generator) -> Floats:
    """Return for each row the weighted sum of residuals of random members of its cluster."""
    starts, centroid = law.clusters.starts, law.clusters.centroids[cluster]
    sizes = np.diff(starts)[cluster]
    total = np.zeros(centroid.shape, np.float32)
    for weight in weights.astype(np.float32).T:
        member = law.clusters.members[starts[cluster] + (rng.random(len(cluster)) * sizes).astype(np.int64)]
        total += weight[:, None] * (law.anchors.units[member] - centroid)
    return total
