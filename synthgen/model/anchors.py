"""Virtual anchors: made-up rows, each as far from the real row it comes from as a new real row would be.

Silverman's smoothed bootstrap (1986, section 6.4) with the bandwidth read off the neighbour distances: the
anchor of a row x in cluster c is C_c + s (x - C_c) + g sqrt(1 - s^2) e, with s such that its cosine to x is
that of x to its own nearest other row (what a row that the fit never saw has), e a mixture of the cluster's
rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.model.clusterings import Clusterings
from synthgen.model.neighbours import normalise
from synthgen.model.recipe import Recipe, first_share

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

#: How far towards its parent an anchor may lie, even where the parent has a twin.
_MOST_KEPT = 0.97
#: No anchor is tighter than this share of the mean distance between neighbours.
_LEAST_DISTANCE = 0.05
#: More would not fit a processor's caches, and a file of 768 components would grow past 20 MB.
_MOST_ANCHORS = 30_000
#: Rows behind a draw of the pooled noise; the covariance of all rows comes from drawing them anew.
_POOLED_ROWS = 256


@dataclass(frozen=True)
class Anchors:
    """V made-up rows: ``units`` (V, d) float32 of unit length; ``parents`` (V,) int64, the fit rows they come
    from: the first n are all of them, in some order; ``distances`` (V,) float64, of each from its parent, as
    shares of the mean; ``weights`` (V,) float64, sum 1.
    """

    units: Floats
    parents: Integers
    distances: NDArray[np.float64]
    weights: NDArray[np.float64]


def make_anchors(
    units: Floats, nearest: Floats, clusters: Clusterings, recipe: Recipe, rng: np.random.Generator
) -> Anchors:
    """Return ``recipe.anchors_per_row`` anchors for each row of ``units`` (n, d).

    ``nearest`` (n, 2): the cosines of each row to its two nearest other ones, nearest first.
    """
    n_anchors = min(round(recipe.anchors_per_row * len(units)), _MOST_ANCHORS)
    n_anchors = max(n_anchors, len(units))  # so that no cluster is empty
    turns = -(-n_anchors // len(units))
    parents = np.concatenate([rng.permutation(len(units)) for _ in range(turns)])[:n_anchors]
    softness = recipe.anchor_softness
    picked = clusters.pick(parents, first_share(softness), recipe.second * softness, rng)
    cosines = _held_out_cosines(nearest, parents, recipe.closeness, rng)
    anchors = np.empty((n_anchors, units.shape[1]), np.float32)
    order = np.argsort(picked, kind="stable")
    for places in np.split(order, np.flatnonzero(np.diff(picked[order])) + 1):
        cluster = int(picked[places[0]])
        noise = recipe.gain * _Noise(units, clusters, recipe, rng).draw(cluster, len(places))
        centroid = clusters.centroids[cluster]
        parent = units[parents[places]]
        kept = _kept(cosines[places], parent @ centroid)[:, None]
        anchors[places] = centroid + kept * (parent - centroid) + np.sqrt(1 - kept * kept) * noise
    distances = 1 - cosines
    mean = max(float(distances.mean()), 1e-6)
    distances = np.maximum(distances, _LEAST_DISTANCE * mean) / mean
    weights = rng.gamma(recipe.popularity_shape, 1.0, n_anchors)
    return Anchors(normalise(anchors), parents, distances, weights / weights.sum())


def _held_out_cosines(
    nearest: Floats, parents: Integers, closeness: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return how near a new row would be: as the first or second neighbour, since the fit is a sample."""
    cosines = nearest[parents, rng.integers(0, 2, len(parents))].astype(np.float64)
    return np.asarray(cosines + closeness * (1 - cosines).mean())


def _kept(cosines: NDArray[np.float64], to_centroid: Floats) -> Floats:
    kept = (cosines - to_centroid) / np.maximum(1 - to_centroid, 1e-3)
    return np.clip(kept, 0, _MOST_KEPT).astype(np.float32)


@dataclass(frozen=True)
class _Noise:
    """Noise with about a cluster's covariance: mixtures of its members, and normal."""

    units: Floats
    clusters: Clusterings
    recipe: Recipe
    rng: np.random.Generator

    def draw(self, cluster: int, n: int) -> Floats:
        share, members = self.recipe.anchor_normal, self._members(cluster)
        noise = np.sqrt(1 - share) * self._mixed(members, n) + np.sqrt(share) * self._normal(members, n)
        return np.asarray(noise, np.float32)

    def _members(self, cluster: int) -> Floats:
        return np.asarray(self.units[self.clusters.rows_of(cluster)] - self.clusters.centroids[cluster])

    def _mixed(self, members: Floats, n: int) -> Floats:
        shape = (n, self.recipe.anchor_members)
        weights = np.sqrt(self.rng.dirichlet(np.full(shape[1], 2.0), n)).astype(np.float32)
        return np.asarray(
            np.einsum("nq,nqd->nd", weights, members[self.rng.integers(0, len(members), shape)])
        )

    def _normal(self, members: Floats, n: int) -> Floats:
        share = self.recipe.anchor_pooled
        own = _combine(members, n, len(members) - 1, self.rng)
        rows = self.rng.integers(0, len(self.units), _POOLED_ROWS)
        others = self.units[rows] - self.clusters.centroids[self.clusters.labels[rows, 0, 0]]
        size = np.sqrt(
            np.square(members).sum(axis=1).mean() / max(np.square(others).sum(axis=1).mean(), 1e-12)
        )
        pooled = size * _combine(others, n, _POOLED_ROWS, self.rng)
        return np.asarray(np.sqrt(1 - share) * own + np.sqrt(share) * pooled)


def _combine(rows: Floats, n: int, freedom: int, rng: np.random.Generator) -> Floats:
    """Return (n, d) normal noise with the covariance of ``rows``, without ever forming it."""
    return np.asarray(
        rng.standard_normal((n, len(rows)), np.float32) @ rows / np.sqrt(np.float32(max(freedom, 1)))
    )
