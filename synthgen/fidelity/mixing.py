"""Two sets against each other: do they mix, is one a copy of the other, where do their rows lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthgen.fidelity.geometry import NEAR_DUPLICATE_COSINE, Floats, drop_self, nearest
from synthgen.fidelity.sets import pick_rows
from synthgen.fidelity.vectors import Vectors

_POOL_ROWS = 5_000
_NEIGHBOURS = 10
_RELABELLINGS = 300
_COPY_ROWS = 2_500
_POWER_ROUNDS = 30


@dataclass(frozen=True)
class Mixing:
    """How two sets mix: ``same_share`` of each row's 10 nearest in the pool belong to its own set where
    ``expected_share`` would by chance, ``z`` standard deviations apart; ``near_share`` of the second set's
    rows lie at a cosine of at least 0.95 to a row of the first.
    """

    same_share: float
    expected_share: float
    z: float
    near_share: float


def measure_mixing(real: Vectors, other: Vectors, seed: int) -> Mixing:
    """Return how rows of ``other`` (m, d) mix with ``real`` (n, d), both of unit length.

    The k-nearest-neighbour two-sample test (Schilling 1986) with k=10 on 5,000 rows of each; the standard
    deviation is that of 300 random relabellings of the same neighbour graph, which hubs cannot mislead.
    Any detectable difference is significant with enough rows: read the share, not the z alone.
    """
    m = min(_POOL_ROWS, len(real), len(other))
    pool = np.concatenate([real[pick_rows(len(real), m, seed)], other[pick_rows(len(other), m, seed)]])
    neighbours = drop_self(nearest(pool, pool, _NEIGHBOURS + 1)[1])
    labels = np.repeat([False, True], m)
    rng = np.random.default_rng([seed, 4])

    def same(marks: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
        return float((marks[neighbours] == marks[:, None]).mean())

    by_chance = np.array([same(rng.permutation(labels)) for _ in range(_RELABELLINGS)])
    expected = (m - 1) / (2 * m - 1)
    share = same(labels)
    return Mixing(share, expected, (share - expected) / float(by_chance.std()), near_share(real, other, seed))


def near_share(real: Vectors, other: Vectors, seed: int) -> float:
    """Return the share of ``other``'s rows (2,500 of them) that have a row of ``real`` at 0.95 or nearer."""
    asked = other[pick_rows(len(other), _COPY_ROWS, seed)]
    return float((nearest(asked, real, 1)[0][:, 0] >= NEAR_DUPLICATE_COSINE).mean())


@dataclass(frozen=True)
class Plane:
    """The plane in which ``real`` varies most: ``centre`` (d,), ``axes`` (d, 2)."""

    centre: Floats
    axes: Floats

    def project(self, rows: Vectors) -> Floats:
        """Return the coordinates (n, 2) of ``rows`` (n, d)."""
        return (rows - self.centre) @ self.axes


def fit_plane(real: Vectors, seed: int) -> Plane:
    """Return the first two principal axes of ``real`` by subspace iteration; the sign is fixed."""
    centre = real.mean(axis=0, dtype=np.float64)
    rows = real - centre.astype(np.float32)
    basis = np.random.default_rng([seed, 5]).standard_normal((rows.shape[1], 6)).astype(np.float32)
    for _ in range(_POWER_ROUNDS):
        basis = np.linalg.qr(rows.T @ (rows @ basis))[0].astype(np.float32)
    inner = rows @ basis
    values, vectors = np.linalg.eigh((inner.T @ inner).astype(np.float64))
    axes = basis.astype(np.float64) @ vectors[:, np.argsort(-values)[:2]]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    return Plane(centre, axes)
