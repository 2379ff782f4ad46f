"""Several k-means clusterings of the same rows, so that clusters overlap, and who is in which.

One hard clustering leaves gaps between its cells that an index notices: with three, and each row drawn now in
one, now in another of them, the recall of HNSW on generated rows comes 0.02 to 0.04 closer to the real one.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

_ITERATIONS = 15
_BLOCK_ROWS = 4_096


@dataclass(frozen=True)
class Clusterings:
    """K clusters of n rows in T clusterings.

    ``centroids`` (K, d) float32; ``labels`` (n, T, 2) int64, the nearest and second nearest cluster of a row
    in each clustering; ``members`` (T * n,) int64, rows by cluster, those of cluster c at
    ``starts[c]:starts[c + 1]``; ``variances`` (K,) float32, mean squared distance of members from the
    centroid.
    """

    centroids: Floats
    labels: Integers
    members: Integers
    starts: Integers
    variances: Floats

    def rows_of(self, cluster: int) -> Integers:
        """Return the rows in ``cluster``."""
        return self.members[self.starts[cluster] : self.starts[cluster + 1]]

    def pick(self, rows: Integers, second: float, rng: np.random.Generator) -> Integers:
        """Return a random cluster of each of ``rows``: the second nearest with probability ``second``."""
        clustering = rng.integers(0, self.labels.shape[1], len(rows))
        return self.labels[rows, clustering, (rng.random(len(rows)) < second).astype(np.int64)]


def cluster_rows(units: Floats, rows_per_cluster: float, n_clusterings: int, seed: int) -> Clusterings:
    """Return ``n_clusterings`` k-means clusterings of ``units`` (n, d), each from other random starts.

    Lloyd's algorithm (1982; scikit-learn's), 15 passes. Depends on the rows and ``seed`` when it runs in one
    thread, which is up to the caller.
    """
    parts = [_cluster_once(units, rows_per_cluster, seed, turn) for turn in range(n_clusterings)]
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
    kmeans = KMeans(n_clusters, init="random", n_init=1, max_iter=_ITERATIONS, random_state=start)
    with warnings.catch_warnings():  # fewer distinct rows than clusters: there are then fewer clusters
        warnings.simplefilter("ignore", ConvergenceWarning)
        found: NDArray[Any] = kmeans.fit(units).labels_
    _, cluster_of = np.unique(found, return_inverse=True)
    members = np.argsort(cluster_of, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(cluster_of))])
    groups = [units[members[a:b]] for a, b in pairwise(starts)]
    centroids = np.stack([group.mean(axis=0) for group in groups])
    variances = [float(np.square(g - c).sum(axis=1).mean()) for g, c in zip(groups, centroids, strict=True)]
    labels = _two_nearest(units, centroids)[:, None, :]
    return Clusterings(centroids, labels, members, starts, np.array(variances, np.float32))


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
