"""Centroids of real embeddings by mini-batch k-means (Sculley 2010; scikit-learn's), in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from synthgen.errors import InputError
from synthgen.model.centroids import CentroidModel
from synthgen.model.spool import EmbeddingSpool

#: Rows that are fitted at once; further ones are streamed through in batches. 200 MB at 768 dimensions.
_SAMPLE_ROWS = 65_536
_BATCH_ROWS = 1_024
_MAX_PASSES = 100
_N_TITLES = 6


@dataclass(frozen=True)
class CentroidFit:
    """Fitted centroids: ``inertia`` is the sum of squared distances to the nearest one, ``sizes`` (k,) how
    many rows are nearest to each, ``n_rows`` the number of rows fitted.
    """

    model: CentroidModel
    inertia: float
    sizes: NDArray[np.int64]
    n_rows: int


def fit_centroids(spool: EmbeddingSpool, n_centroids: int, seed: int) -> CentroidFit:
    """Fit ``n_centroids`` centroids to the rows of ``spool``; raise InputError when there are fewer rows.

    Depends on the rows and ``seed``, not on the order in which they came. One thread, so that sums have one
    order: the same on one machine every time; another machine may differ in last bits.
    """
    if len(spool) < n_centroids:
        raise InputError(
            f"{len(spool):,} memories are fewer than {n_centroids:,} centroids",
            next_step="store more memories, or lower --num-centroids",
        )
    from sklearn.cluster import MiniBatchKMeans  # a second to load, which not every start needs

    order = np.random.default_rng(seed).permutation(len(spool))
    kmeans = MiniBatchKMeans(
        n_clusters=n_centroids, random_state=seed, batch_size=_BATCH_ROWS, max_iter=_MAX_PASSES, n_init=3
    )
    with threadpool_limits(1):
        kmeans.fit(spool.gather(order[:_SAMPLE_ROWS]))
        for at in range(_SAMPLE_ROWS, len(order), _BATCH_ROWS):
            kmeans.partial_fit(spool.gather(order[at : at + _BATCH_ROWS]))
        return _describe(spool, np.ascontiguousarray(kmeans.cluster_centers_, np.float32))


def _describe(spool: EmbeddingSpool, centroids: NDArray[np.float32]) -> CentroidFit:
    """Assign every row to its nearest centroid, block by block, and find the titles nearest to each."""
    k = len(centroids)
    sizes, inertia = np.zeros(k, np.int64), 0.0
    best = np.full((k, _N_TITLES), -np.inf, np.float32)
    best_rows = np.full((k, _N_TITLES), -1, np.int64)
    directions = centroids / np.linalg.norm(centroids, axis=1, keepdims=True)
    half_squares = 0.5 * np.square(centroids).sum(axis=1)
    for at in range(0, len(spool), 4 * _BATCH_ROWS):
        rows = np.arange(at, min(at + 4 * _BATCH_ROWS, len(spool)))
        x = spool.gather(rows)
        gain = x @ centroids.T - half_squares  # largest where the distance is smallest
        labels = gain.argmax(axis=1)
        sizes += np.bincount(labels, minlength=k)
        inertia += float(np.square(x).sum() - 2 * gain.max(axis=1).sum())
        lengths = np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        best, best_rows = _merge(best, best_rows, ((x / lengths) @ directions.T).T, rows)
    titles = tuple(tuple(spool.title(row) for row in each if row >= 0) for each in best_rows.tolist())
    return CentroidFit(CentroidModel(centroids, titles), inertia, sizes, len(spool))


def _merge(
    best: NDArray[np.float32],
    best_rows: NDArray[np.int64],
    cosines: NDArray[np.float32],
    rows: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the highest cosines of each centroid among those known and the new ones, highest first."""
    values = np.concatenate([best, cosines], axis=1)
    places = np.concatenate([best_rows, np.broadcast_to(rows, cosines.shape)], axis=1)
    top = np.argsort(-values, axis=1, kind="stable")[:, : best.shape[1]]
    return np.take_along_axis(values, top, axis=1), np.take_along_axis(places, top, axis=1)
