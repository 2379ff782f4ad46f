"""Several k-means clusterings of the same rows, coarse and fine, so that clusters overlap; who is in which.

One hard clustering leaves gaps between its cells that an index notices; with three of different fineness, and
each row drawn now in one, now in another of them, there is structure at several scales, as in real data. How
often it is another one than the first, the softness, decides how sharply the clusters are divided.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

_ITERATIONS = 15
_BLOCK_ROWS = 4_096
#: A smaller cluster borrows the rows nearest to its centroid: mixtures of fewer would be copies.
_FEWEST_MEMBERS = 5


@dataclass(frozen=True)
class Clusterings:
    """K clusters of n rows in T clusterings.

    ``centroids`` (K, d) float32; ``labels`` (n, T, 2) int64, the nearest and second nearest cluster of a row
    in each clustering; ``members`` (M,) int64, rows by cluster, those of cluster c at
    ``starts[c]:starts[c + 1]``, five or more where there are as many rows; ``variances`` (K,) float32, mean
    squared distance of members from the centroid.
    """

    centroids: Floats
    labels: Integers
    members: Integers
    starts: Integers
    variances: Floats

    def rows_of(self, cluster: int) -> Integers:
        """Return the rows in ``cluster``."""
        return self.members[self.starts[cluster] : self.starts[cluster + 1]]

    def pick(self, rows: Integers, first: float, second: float, rng: np.random.Generator) -> Integers:
        """Return a random cluster of each of ``rows``: of the first clustering with probability ``first``,
        else of any other; the second nearest there with probability ``second``.
        """
        others = self.labels.shape[1] - 1
        clustering = np.where(rng.random(len(rows)) < first, 0, 1 + rng.integers(0, others, len(rows)))
        return self.labels[rows, clustering, (rng.random(len(rows)) < second).astype(np.int64)]


def cluster_rows(units: Floats, rows_per_cluster: Sequence[float], seed: int) -> Clusterings:
    """Return a k-means clustering of ``units`` (n, d) for each of ``rows_per_cluster``, two or more.

    Lloyd's algorithm (1982; scikit-learn's), 15 passes. Depends on the rows and ``seed`` when it runs in one
    thread, which is up to the caller.
    """
    parts = [_cluster_once(units, size, seed, turn) for turn, size in enumerate(rows_per_cluster)]
    offsets = np.cumsum([0] + [len(part.centroids) for part in parts])
    sizes = np.concatenate([np.diff(part.starts) for part in parts])
    return Clusterings(
        np.concatenate([part.centroids for part in parts]),
        np.concatenate([part.labels + at for part, at in zip(parts, offsets, strict=False)], axis=1),
        np.concatenate([part.members for part in parts]),
        np.concatenate([[0], np.cumsum(sizes)]),
        np.concatenate([part.variances for part in parts]),
    )


def _cluster_once(units: Floats, rows_per_cluster: float, seed: int, turn: int) -> Clusterings:
    n_clusters = max(2, round(len(units) / rows_per_cluster))
    start = int(np.random.default_rng([seed, turn]).integers(2**31))
    from sklearn.cluster import KMeans  # as in kmeans.py
    from sklearn.exceptions import ConvergenceWarning

    kmeans = KMeans(n_clusters, init="random", n_init=1, max_iter=_ITERATIONS, random_state=start)
    with warnings.catch_warnings():  # fewer distinct rows than clusters: there are then fewer clusters
        warnings.simplefilter("ignore", ConvergenceWarning)
        found: NDArray[Any] = kmeans.fit(units).labels_
    _, cluster_of = np.unique(found, return_inverse=True)
    members = np.argsort(cluster_of, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(cluster_of))])
    groups = [members[a:b] for a, b in pairwise(bounds)]
    centroids = np.stack([units[group].mean(axis=0) for group in groups])
    groups = [_enough(group, units, c) for group, c in zip(groups, centroids, strict=True)]
    variances = [
        float(np.square(units[group] - c).sum(axis=1).mean())
        for group, c in zip(groups, centroids, strict=True)
    ]
    labels = _two_nearest(units, centroids)[:, None, :]
    starts = np.concatenate([[0], np.cumsum([len(group) for group in groups])])
    return Clusterings(centroids, labels, np.concatenate(groups), starts, np.array(variances, np.float32))


def _enough(group: Integers, units: Floats, centroid: Floats) -> Integers:
    if len(group) >= _FEWEST_MEMBERS:
        return group
    distances = np.square(units).sum(axis=1) - 2 * (units @ centroid)
    return np.argsort(distances, kind="stable")[:_FEWEST_MEMBERS]


def _two_nearest(units: Floats, centroids: Floats) -> Integers:
    if len(centroids) == 1:
        return np.zeros((len(units), 2), np.int64)
    nearest = np.empty((len(units), 2), np.int64)
    half_squares = 0.5 * np.square(centroids).sum(axis=1)
    for at in range(0, len(units), _BLOCK_ROWS):
        nearness = units[at : at + _BLOCK_ROWS] @ centroids.T - half_squares
        rows = np.arange(len(nearness))
        first = nearness.argmax(axis=1)
        nearness[rows, first] = -np.inf
        nearest[at : at + len(rows)] = np.stack([first, nearness.argmax(axis=1)], axis=1)
    return nearest
