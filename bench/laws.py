"""The laws of geometry that ``realism`` compares: the seed's, three of the field, and ours.

Each is a function (fit, n_rows, seed) -> rows: ``fit`` (n, d) float32 of unit length, the rows (n_rows, d)
float32 of unit length. The same arguments and library versions give the same rows on one machine: one thread.
What others describe is written anew here from their description, which the docstring names.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from synthgen.generate.dataset import Dataset
from synthgen.model.kmeans import fit_centroids
from synthgen.model.mixture_fit import fit_mixture
from synthgen.model.spool import EmbeddingSpool
from synthgen.specs import DatasetSpec

Vectors = NDArray[np.float32]
Integers = NDArray[np.int64]
Law = Callable[[Vectors, int, int], Vectors]

ISOTROPIC_CENTROIDS, ISOTROPIC_STD_DEV = 100, 0.1
#: Clusters of the others, at most; none has fewer than 15 rows of the fit on average.
GAUSSIAN_CLUSTERS, BOOTSTRAP_CLUSTERS = 100, 60
_LEAST_ROWS = 15
CUVS_ROWS_PER_CLUSTER = 75
RANK = 32
#: The bootstrap's law of the weight that a real row keeps.
_KEEP_A, _KEEP_B = 0.8, 1.2
#: Least residual variance, fewest rows that are rescaled, and largest factor, in cuVS.
_CUVS_LEAST_VARIANCE, _CUVS_RESCALED_ROWS, _CUVS_LARGEST_FACTOR = 1e-6, 10, 5.0
#: What a spec calls a model that is in no file.
_SOURCE = "bench"


def embed(dataset: Dataset, n_rows: int) -> Vectors:
    """Return the first rows of ``dataset`` as a reader of its file gets them: (n_rows, d) float32."""
    rows = np.empty((n_rows, dataset.spec.model.dimension), np.float32)
    steps = 10.0**dataset.grid.decimals
    for block in dataset.blocks(0, n_rows):
        rows[block.start : block.start + len(block)] = block.embeddings / steps
    return rows


def draw_isotropic(fit: Vectors, n_rows: int, seed: int) -> Vectors:
    """Draw from the seed's law by the product's own code: 100 centroids, noise of 0.1 a component.

    Below 500 rows of the fit, a fifth as many centroids.
    """
    names = [f"{row:09d}" for row in range(len(fit))]
    with tempfile.TemporaryDirectory() as folder, EmbeddingSpool(Path(folder)) as spool:
        spool.add(names, names, fit)
        model = fit_centroids(spool, min(ISOTROPIC_CENTROIDS, len(fit) // 5), seed).model
    spec = DatasetSpec(model.reference(_SOURCE), n_rows, seed, std_dev=ISOTROPIC_STD_DEV)
    return embed(Dataset(spec, model), n_rows)


def draw_ours(fit: Vectors, n_rows: int, seed: int) -> Vectors:
    """Draw from the fitted law as a user gets it: fit_mixture, then the dataset's rows on their grid."""
    model = fit_mixture(fit, seed)
    return embed(Dataset(DatasetSpec(model.reference(_SOURCE), n_rows, seed), model), n_rows)


def draw_gaussian_mixture(fit: Vectors, n_rows: int, seed: int) -> Vectors:
    """Draw from a mixture of Gaussians: k-means, and in each cluster 32 principal axes and isotropic noise.

    A mixture of probabilistic principal component analysers with hard assignment (Tipping and Bishop 1999);
    the noise has what variance the axes leave, so that a cluster's total variance is right. 100 clusters, at
    most n/15; weights by size.
    """
    rng = np.random.default_rng(seed)
    _, clusters = _fit_clusters(fit, _n_clusters(fit, GAUSSIAN_CLUSTERS), seed)
    sizes = np.array([cluster.size for cluster in clusters])
    drawn = rng.choice(len(clusters), n_rows, p=sizes / sizes.sum())
    return _normalise(_centroids(clusters, drawn) + _noise(clusters, drawn, rng))


def draw_bootstrap(fit: Vectors, n_rows: int, seed: int) -> Vectors:
    """Draw from a smoothed bootstrap with a random bandwidth (Silverman 1986, section 6.4).

    y = m_c + sqrt(a) (x_i - m_c) + sqrt(1 - a) e: x_i a random row of the fit, m_c the mean of its cluster, e
    noise as in :func:`draw_gaussian_mixture`, a ~ Beta(0.8, 1.2). 60 clusters, at most n/15.
    """
    rng = np.random.default_rng(seed)
    labels, clusters = _fit_clusters(fit, _n_clusters(fit, BOOTSTRAP_CLUSTERS), seed)
    parents = rng.integers(len(fit), size=n_rows)
    drawn = labels[parents]
    centroids = _centroids(clusters, drawn)
    keep = rng.beta(_KEEP_A, _KEEP_B, n_rows).astype(np.float32)[:, None]
    noise = _noise(clusters, drawn, rng)
    return _normalise(centroids + np.sqrt(keep) * (fit[parents] - centroids) + np.sqrt(1 - keep) * noise)


def draw_cuvs(fit: Vectors, n_rows: int, seed: int) -> Vectors:
    """Draw as NVIDIA cuVS does: cuvs_bench.synthesize_dataset (2026), after its guide and what its code does.

    k-means; rows by cluster in proportion to its size, one at least, the first being the centroid itself; in
    each cluster a Gaussian along 32 principal axes, and residual noise whose variance is the mean variance of
    a component less the sum of the explained ones, 1e-6 at least (so 1e-6 in hundreds of dimensions); then
    each component is scaled, by 5 at most, to the cluster's variance of that component. Clusters of 32 rows
    or fewer: independent components. The user chooses the number of clusters; here it is n/75.
    """
    rng = np.random.default_rng(seed)
    labels, centroids = _cluster(fit, max(1, len(fit) // CUVS_ROWS_PER_CLUSTER), seed)
    sizes = np.bincount(labels, minlength=len(centroids))
    counts = 1 + np.floor(sizes / sizes.sum() * (n_rows - len(sizes))).astype(np.int64)
    counts[: n_rows - int(counts.sum())] += 1
    blocks = []
    for number, (centroid, count) in enumerate(zip(centroids, counts.tolist(), strict=True)):
        deviations = _draw_cuvs_cluster(fit[labels == number] - centroid, count - 1, rng)
        blocks.append(centroid + np.concatenate([np.zeros((1, fit.shape[1]), np.float32), deviations]))
    return _normalise(np.concatenate(blocks))


def _draw_cuvs_cluster(residuals: Vectors, n_rows: int, rng: np.random.Generator) -> Vectors:
    """Return (n_rows, d) deviations from a centroid, given those of its members (m, d)."""
    n_members, dimension = residuals.shape
    targets = residuals.var(axis=0) if n_members > 1 else np.full(dimension, 0.01, np.float32)
    if n_members <= RANK:
        return np.asarray(_normals(rng, n_rows, dimension) * np.sqrt(targets))
    axes, variances = _principal_axes(residuals)
    least = max(float(residuals.var()) - float(variances.sum()), _CUVS_LEAST_VARIANCE)
    rows = (_normals(rng, n_rows, len(axes)) * np.sqrt(variances)) @ axes
    rows += np.sqrt(np.float32(least)) * _normals(rng, n_rows, dimension)
    if n_rows >= _CUVS_RESCALED_ROWS:
        factors = np.sqrt(targets / np.maximum(rows.var(axis=0), least))
        rows *= np.minimum(factors, _CUVS_LARGEST_FACTOR)
    return np.asarray(rows)


#: By the name in the table.
LAWS: dict[str, Law] = {
    "isotropic .1": draw_isotropic,
    "cuVS": draw_cuvs,
    "Gaussians": draw_gaussian_mixture,
    "bootstrap": draw_bootstrap,
    "ours": draw_ours,
}


@dataclass(frozen=True)
class _Cluster:
    """``centroid`` (d,); ``axes`` (r, d), principal axes times their standard deviation; ``rest``: standard
    deviation per component of what they leave; ``size``: rows of the fit. All float32.
    """

    centroid: Vectors
    axes: Vectors
    rest: float
    size: int

    def draw_noise(self, n_rows: int, rng: np.random.Generator) -> Vectors:
        """Return (n_rows, d) float32 deviations from the centroid."""
        noise = _normals(rng, n_rows, len(self.axes)) @ self.axes
        noise += np.float32(self.rest) * _normals(rng, n_rows, len(self.centroid))
        return noise


def _n_clusters(fit: Vectors, most: int) -> int:
    return max(1, min(most, len(fit) // _LEAST_ROWS))


def _cluster(fit: Vectors, k: int, seed: int) -> tuple[Integers, Vectors]:
    """Return the cluster of each row (n,) and the centroids (k, d), none of them empty."""
    with threadpool_limits(1):
        kmeans = KMeans(k, n_init=1, random_state=seed).fit(fit)
    kept, labels = np.unique(kmeans.labels_, return_inverse=True)
    return labels.astype(np.int64), kmeans.cluster_centers_[kept]


def _fit_clusters(fit: Vectors, k: int, seed: int) -> tuple[Integers, list[_Cluster]]:
    """Return the cluster of each row (n,), and the clusters."""
    labels, centroids = _cluster(fit, k, seed)
    clusters = []
    for number, centroid in enumerate(centroids):
        residuals = fit[labels == number] - centroid
        axes, variances = _principal_axes(residuals)
        total = float(residuals.var(axis=0, ddof=1).sum()) if len(residuals) > 1 else 0.0
        rest = np.sqrt(max(0.0, total - float(variances.sum())) / fit.shape[1])
        scaled = (axes * np.sqrt(variances)[:, None]).astype(np.float32)
        clusters.append(_Cluster(centroid, scaled, float(rest), len(residuals)))
    return labels, clusters


def _principal_axes(residuals: Vectors) -> tuple[Vectors, Vectors]:
    """Return up to 32 axes (r, d) of rows (m, d), r < m, and the variances (r,) along them."""
    rank = min(RANK, len(residuals) - 1, residuals.shape[1])
    if rank < 1:
        return np.empty((0, residuals.shape[1]), np.float32), np.empty(0, np.float32)
    with threadpool_limits(1):
        pca = PCA(rank, svd_solver="full").fit(residuals)
    return pca.components_, pca.explained_variance_


def _centroids(clusters: list[_Cluster], drawn: Integers) -> Vectors:
    return np.stack([cluster.centroid for cluster in clusters])[drawn]


def _noise(clusters: list[_Cluster], drawn: Integers, rng: np.random.Generator) -> Vectors:
    """Return a deviation (len(drawn), d) of the cluster of each row."""
    noise = np.empty((len(drawn), len(clusters[0].centroid)), np.float32)
    for number, cluster in enumerate(clusters):
        rows = np.flatnonzero(drawn == number)
        noise[rows] = cluster.draw_noise(len(rows), rng)
    return noise


def _normals(rng: np.random.Generator, n_rows: int, dimension: int) -> Vectors:
    return rng.standard_normal((n_rows, dimension), dtype=np.float32)


def _normalise(rows: Vectors) -> Vectors:
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows
