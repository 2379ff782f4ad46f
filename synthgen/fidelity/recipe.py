"""The seed's recipe, to compare with: k-means centroids and isotropic Gaussian noise of 0.1 a component."""

from __future__ import annotations

import numpy as np

from synthgen.fidelity.vectors import Vectors

N_CENTROIDS = 100
STD_DEV = 0.1
_ROUNDS = 15
_FIT_ROWS = 20_000
_BLOCK_ROWS = 4_096


def make_recipe(directions: Vectors, n_rows: int, seed: int) -> Vectors:
    """Return ``n_rows`` rows of the isotropic law that the seed's tool draws from, as (n_rows, d) float32.

    Centroids: 100 by k-means of a random half of the real ``directions`` (m, d); clusters uniformly chosen;
    noise of standard deviation 0.1 per component; unit length. Depends on the rows and ``seed``.
    """
    rng = np.random.default_rng([seed, 3])
    half = directions[rng.permutation(len(directions))[: min(_FIT_ROWS, len(directions) // 2)]]
    centroids = fit_centroids(half, min(N_CENTROIDS, len(half) // 5), rng)
    rows = np.empty((n_rows, directions.shape[1]), np.float32)
    for at in range(0, n_rows, _BLOCK_ROWS):
        block = rows[at : at + _BLOCK_ROWS]
        rng.standard_normal(out=block, dtype=np.float32)
        block *= STD_DEV
        block += centroids[rng.integers(len(centroids), size=len(block))]
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return rows


def fit_centroids(rows: Vectors, k: int, rng: np.random.Generator) -> Vectors:
    """Return ``k`` centroids (k, d) of ``rows`` by 15 rounds of Lloyd's k-means from random rows."""
    centroids = rows[rng.choice(len(rows), k, replace=False)].copy()
    for _ in range(_ROUNDS):
        labels = (rows @ centroids.T - 0.5 * np.square(centroids).sum(axis=1)).argmax(axis=1)
        order = np.argsort(labels, kind="stable")
        starts = np.searchsorted(labels[order], np.arange(k))
        sizes = np.bincount(labels, minlength=k)
        filled = sizes > 0
        sums = np.add.reduceat(rows[order], starts[filled], axis=0)
        centroids[filled] = sums / sizes[filled, None]  # an empty cluster stays where it was
    return centroids
