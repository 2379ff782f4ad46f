"""Statistics of a set's geometry: cosines of pairs, neighbours, local dimension, hubs, duplicates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.fidelity.extras import need
from synthgen.fidelity.vectors import Vectors

#: Cosines of pairs are counted in bins of 0.0001: quantiles and distances are exact to that.
PAIR_BINS = np.linspace(-1.0, 1.0, 20_001)
LID_NEIGHBOURS = 100
HUB_NEIGHBOURS = 10
NEAR_DUPLICATE_COSINE = 0.95
_BLOCK_ROWS = 128

Floats = NDArray[np.float64]


def nearest(queries: Vectors, base: Vectors, k: int) -> tuple[Vectors, NDArray[np.int64]]:
    """Return the ``k`` highest inner products of each query with rows of ``base``, exact, highest first.

    ``queries`` (q, d), ``base`` (n, d), k <= n; returns (q, k) float32 products and (q, k) row numbers.
    faiss's blocked matrix product; which of two equal products comes first is not defined.
    """
    faiss = need("faiss")
    found: tuple[Vectors, NDArray[np.int64]] = faiss.knn(queries, base, k, metric=faiss.METRIC_INNER_PRODUCT)
    return found


@dataclass(frozen=True)
class PairCosines:
    """Cosines of all pairs of a set: ``mean``, ``sd``, and ``counts`` (20,000,) int64 by PAIR_BINS."""

    mean: float
    sd: float
    counts: NDArray[np.int64]

    def quantile(self, share: float) -> float:
        """Return the cosine below which ``share`` of the pairs lie, to within a bin of 0.0001."""
        cumulated = np.cumsum(self.counts) / self.counts.sum()
        return float(np.interp(share, cumulated, PAIR_BINS[1:]))

    def distance(self, other: PairCosines) -> float:
        """Return the Wasserstein-1 distance to ``other``: the area between the cumulative shares."""
        gaps = np.cumsum(self.counts / self.counts.sum() - other.counts / other.counts.sum())
        return float(np.abs(gaps).sum() * (PAIR_BINS[1] - PAIR_BINS[0]))


def count_pairs(directions: Vectors) -> PairCosines:
    """Return the cosines of all n(n-1)/2 pairs of rows of ``directions`` (n, d), block by block."""
    counts = np.zeros(len(PAIR_BINS) - 1, np.int64)
    total = squares = 0.0
    for at in range(0, len(directions), _BLOCK_ROWS):
        block = directions[at : at + _BLOCK_ROWS] @ directions[at:].T
        width = len(block)
        for cosines in (block[:, :width][np.triu_indices(width, 1)], block[:, width:].ravel()):
            total += float(cosines.sum(dtype=np.float64))
            squares += float(np.square(cosines).sum(dtype=np.float64))
            places = ((cosines + 1) * (len(counts) / 2)).astype(np.int32)
            counts += np.bincount(np.clip(places, 0, len(counts) - 1), minlength=len(counts))
    n_pairs = len(directions) * (len(directions) - 1) / 2
    mean = total / n_pairs
    return PairCosines(mean, float(np.sqrt(max(0.0, squares / n_pairs - mean**2))), counts)


def wasserstein(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the Wasserstein-1 distance of two samples of one dimension and any size, exact.

    It is the area between their distribution functions (Vallender 1974).
    """
    a, b = np.sort(a), np.sort(b)
    both = np.sort(np.concatenate([a, b]))
    share_a = np.searchsorted(a, both[:-1], "right") / len(a)
    share_b = np.searchsorted(b, both[:-1], "right") / len(b)
    return float(np.abs(share_a - share_b) @ np.diff(both))


def local_dimension(cosines: Vectors) -> Floats:
    """Return the local intrinsic dimension (q,) at each query, from the cosines (q, k) of its neighbours.

    Maximum likelihood, -1 / mean(log(r_i / r_k)) over i < k (Levina and Bickel 2004, equation 8), with the
    Euclidean distances r of unit vectors; ``cosines`` highest first. Neighbours nearer than 1e-6 count as
    1e-6: an exact duplicate has no logarithm. nan where all neighbours are equally far.
    """
    radii = np.sqrt(np.maximum(2.0 - 2.0 * cosines.astype(np.float64), 1e-12))
    means = np.log(radii[:, :-1] / radii[:, -1:]).mean(axis=1)
    return -1.0 / np.where(means < 0, means, np.nan)


def skewness(values: NDArray[Any]) -> float:
    """Return the third standardised moment; 0 for equal values."""
    centred = values.astype(np.float64) - values.mean()
    variance = float(np.square(centred).mean())
    return float((centred**3).mean() / variance**1.5) if variance > 0 else 0.0


def count_occurrences(neighbours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how often each row (n,) is among the k nearest of the others (Radovanovic et al. 2010).

    ``neighbours`` (n, k + 1): what :func:`nearest` finds of rows among themselves. The skewness of the counts
    is the measure of hubness.
    """
    counts: NDArray[np.int64] = np.bincount(drop_self(neighbours).ravel(), minlength=len(neighbours))
    return counts


def skewness_error(values: NDArray[Any], seed: int = 0) -> float:
    """Return the standard error of the skewness by 200 bootstraps: one value among thousands can make it."""
    rng = np.random.default_rng(seed)
    n = len(values)
    return float(np.std([skewness(values[rng.integers(n, size=n)]) for _ in range(200)]))


def drop_self(neighbours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return neighbours (n, k) of rows among themselves, given (n, k + 1) with the row itself or a twin."""
    own = neighbours == np.arange(len(neighbours))[:, None]
    own[~own.any(axis=1), -1] = True  # more twins than places: any may go
    others: NDArray[np.int64] = neighbours[~own].reshape(len(neighbours), -1)
    return others


def near_duplicate_share(products: Vectors) -> float:
    """Return the share of rows whose nearest other row has a cosine of at least 0.95.

    ``products`` (n, k >= 2): what :func:`nearest` finds of rows among themselves.
    """
    return float((products[:, 1] >= NEAR_DUPLICATE_COSINE).mean())


def clump_size(products: Vectors, neighbours: NDArray[np.int64]) -> float:
    """Return how many rows the group has that a near-duplicate is in, on average: 2 when they come in pairs.

    ``products``, ``neighbours`` (n, k): what :func:`nearest` finds of rows among themselves; groups are
    linked by cosines of at least 0.95. It is by how much duplicates are more variable than single events.
    """
    rows, places = np.nonzero(products >= NEAR_DUPLICATE_COSINE)
    root = np.arange(len(products))

    def find(row: int) -> int:
        while root[row] != row:
            root[row] = root[root[row]]  # halve the path
            row = int(root[row])
        return row

    for a, b in zip(rows.tolist(), neighbours[rows, places].tolist(), strict=True):
        root[find(b)] = find(a)
    sizes = np.bincount([find(row) for row in np.unique(rows).tolist()] or [0]).astype(np.float64)
    sizes = sizes[sizes > 1]
    return float(np.square(sizes).sum() / sizes.sum()) if len(sizes) else 2.0
