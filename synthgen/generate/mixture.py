"""The mixture law: rows near virtual anchors, drawn towards mixtures of the anchors' neighbours.

A row is y = c + s (sqrt(own) (v - c) + gain sqrt(1 - own) noise), brought to its length: v an anchor by
popularity, c the centroid of one of its clusters, s the stretch, own from the table ``stay``. The noise is a
positive mixture of four members of the cluster (less c), a normal one of three, a normal one of two anchors
anywhere (less their own centroids, and as wide as the cluster), and isotropic noise, in the shares rest, tau,
pool and iso of the model's settings. It is a smoothed bootstrap (Silverman and Young 1987) whose kernel is
made of the neighbours.

All arithmetic is exact, so that every machine makes the same bits. Vectors are tables of 8-bit integers: a
row gathers eleven, whose bytes are its cost, and the rounding moves an anchor by a cosine of about 1e-4, its
rows with it. Each row's weights are made by single, correctly rounded IEEE 754 operations, then rounded to
integers so small that sums stay below 2**24 in each component: float32 adds them exactly in any order. What
all vectors have in common is added last, in float64. The length of a sum stays below 2**26, and is brought to
that of the row as in isotropic.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import InputError
from synthgen.generate._rows import draw_mixture
from synthgen.generate.choices import MOST_RESIDUALS, N_ANCHORS, N_RESIDUALS, ONE, Choices
from synthgen.generate.grid import choose_grid
from synthgen.generate.isotropic import LENGTH_BITS, normal_table
from synthgen.generate.streams import MIXTURE_NOISE, Stream
from synthgen.model.mixture import MIDDLE_BITS, MixtureModel
from synthgen.specs import DatasetSpec

Floats = NDArray[np.float64]

#: Components of sums stay below 2**24: exact in float32.
_COMPONENT_BITS = 24
#: Fewer bits than this in a weight would be seen in the rows.
_FEWEST_WEIGHT_BITS = 4
#: Isotropic noise is uniform over the odd numbers from -127 to 127: in 64 or more dimensions only its
#: covariance can be seen, and eight components cost one random word and no table. Its standard deviation:
_NOISE_LARGEST, _NOISE_DEVIATION = 127, math.sqrt((128**2 - 1) / 3)
#: A near copy and its original each have isotropic noise of at most this share of a unit vector's square, so
#: that their cosine is about 1 / (1 + 0.02) or more.
_COPY_NOISE = 0.02

#: What each of a row's vectors is, in this order; the last one is its noise.
_ANCHOR, _POSITIVE, _NORMAL = 0, slice(1, 5), slice(5, N_ANCHORS)
_N_NORMAL = N_ANCHORS - _NORMAL.start
_OF_CLUSTER = slice(0, N_ANCHORS)
_RESIDUALS = slice(N_ANCHORS, N_ANCHORS + N_RESIDUALS)
_CENTROID, _NOISE = _RESIDUALS.stop, _RESIDUALS.stop + 1
_N_SLOTS = _NOISE + 1


@dataclass(frozen=True)
class MixtureDraw:
    """Rows that are drawn, not yet mixed. ``vectors`` (n, 11) int64, rows of the law's table; ``weights``
    (n, 12) float32, integers, the last one that of the noise; ``factors`` (n,) float64, to the grid.
    """

    vectors: NDArray[np.int64]
    weights: NDArray[np.float32]
    factors: Floats


class MixtureLaw:
    """Makes embeddings of ``model`` with the parameters of ``spec``, at most ``block_rows`` at once.

    Results lie in rows that the next call overwrites: nothing is allocated in the loop.
    Depends on the spec and the model's integers alone.
    """

    def __init__(self, model: MixtureModel, spec: DatasetSpec, block_rows: int) -> None:
        self.dimension = model.anchors.shape[1]
        self.words_per_row = -(-self.dimension // 8)  # eight 8-bit draws a word
        self._model = model
        self._shares = _Shares.of(model)
        self._table = _Table(model)
        weight_bits = _weight_bits(model, self._shares, self._table)
        if weight_bits < _FEWEST_WEIGHT_BITS:
            raise InputError(
                "the settings of the model make rows that exact arithmetic cannot hold",
                where=spec.model.source,
                next_step="fit it again with `synthgen fit`",
            )
        self._unit = 2.0**weight_bits
        # Integers: weights have as many bits, or more.
        self._middle = np.ldexp(model.middle.astype(np.float64), weight_bits - MIDDLE_BITS)
        self._noise_unit = math.ldexp(self._unit, self._table.unit_bits) / _NOISE_DEVIATION
        self._grid = float(10 ** choose_grid(spec, model).decimals) * model.scale
        self._result = np.empty((block_rows, self.dimension), np.int32)

    def open_stream(self, seed: int, chunk: int, first_row: int) -> NDArray[np.uint64]:
        """Return the state of the noise stream of ``chunk`` at its row ``first_row``, for :meth:`embed`."""
        return Stream(seed, (MIXTURE_NOISE, chunk), self.words_per_row, first_row).state()

    def weigh(self, choices: Choices) -> MixtureDraw:
        """Return what to mix for each of ``choices``, and with which weights."""
        shares, n = self._shares, len(choices.anchors)
        strayed = choices.strayed / ONE
        stretch = choices.stretch / 2.0**16
        other = stretch * (np.sqrt(strayed) * shares.gain)
        normals = normal_table()[choices.normals] / 2.0**24
        weights = np.zeros((n, _N_SLOTS))
        weights[:, _ANCHOR] = stretch * np.sqrt(1.0 - strayed)
        weights[:, _POSITIVE] = (other * shares.positive)[:, None] * (choices.simplex / 2.0**16)
        weights[:, _NORMAL] = (other * shares.normal)[:, None] * normals[:, :-N_RESIDUALS]
        spread = self._model.spread[choices.clusters] / 2.0**24
        pooled = other * shares.pooled * (spread / self._table.residual_deviation)
        weights[:, _RESIDUALS] = pooled[:, None] * normals[:, -N_RESIDUALS:]
        weights[choices.outliers] = 0.0
        np.rint(weights * self._unit, out=weights)
        weights[:, _CENTROID] = self._unit - weights[:, _OF_CLUSTER].sum(axis=1)
        isotropic = other * shares.isotropic * spread
        weights[:, _NOISE] = self._noise_weights(choices, isotropic)
        narrow = weights.astype(np.float32)
        return MixtureDraw(self._table.places(choices), narrow, self._factors(choices))

    def embed(self, draw: MixtureDraw, state: NDArray[np.uint64], part: slice) -> NDArray[np.int32]:
        """Return (n, d) int32 grid components of the rows ``part`` of ``draw``, the next n of the stream in
        ``state``, which moves on.
        """
        out = self._result[: part.stop - part.start]
        draw_mixture(
            state,
            self._table.vectors,
            draw.vectors[part],
            draw.weights[part],
            self._middle,
            draw.factors[part],
            out,
            self.dimension,
        )
        return out

    def _noise_weights(self, choices: Choices, deviations: Floats) -> Floats:
        """Return integer weights of the isotropic noise, never 0: no row is exactly another one."""
        copy = math.sqrt(_COPY_NOISE / self.dimension)
        deviations = np.where(choices.paired, copy * (choices.levels / 2.0**16), deviations)
        deviations = np.where(choices.outliers, self._table.deviation, deviations)
        return np.maximum(np.rint(deviations * self._noise_unit), 1.0)

    def _factors(self, choices: Choices) -> Floats:
        lengths = self._model.lengths
        if not len(lengths):
            return np.full(len(choices.anchors), self._grid)
        return lengths[choices.anchors] / 2.0**16 * self._grid


@dataclass(frozen=True)
class _Shares:
    """The gain, and the factor of one vector in each part of the noise, root of its share of the variance."""

    gain: float
    positive: float
    normal: float
    pooled: float
    isotropic: float

    @classmethod
    def of(cls, model: MixtureModel) -> _Shares:
        tau, iso, pool = (model.settings[name] for name in ("tau", "iso", "pool"))
        rest = max(0.0, 1 - tau - iso - pool)
        roots = (rest, tau / _N_NORMAL, pool / N_RESIDUALS, iso)
        return cls(model.settings["gain"], *map(math.sqrt, roots))


class _Table:
    """The vectors that rows are mixed of, (m, d) int8 in units of 2**-``unit_bits``: anchors, residuals of
    some (less the centroid of their first cluster), centroids, and the mean of all anchors, from which these
    have the standard deviation ``deviation`` per component; ``residual_deviation``: that of the residuals.
    """

    def __init__(self, model: MixtureModel) -> None:
        some = np.arange(min(MOST_RESIDUALS, len(model.anchors)))
        some = some * len(model.anchors) // len(some)  # evenly spaced
        residuals = model.anchors[some].astype(np.int16) - model.centroids[model.labels[some, 0, 0]]
        self.residual_deviation = _deviation(residuals, model.unit_bits)
        total = model.anchors.sum(axis=0, dtype=np.int64)
        mean = np.rint(total / len(model.anchors)).astype(np.int64)
        parts = (model.anchors, _bytes(residuals), model.centroids, _bytes(mean[None]))
        self.vectors = np.concatenate(parts)
        self.squares: NDArray[np.int64]  # of lengths, (m,)
        self.squares = np.einsum("ij,ij->i", self.vectors, self.vectors, dtype=np.int64)
        self.unit_bits = model.unit_bits
        self._residuals_at, self._centroids_at, self._mean_at, _ = np.cumsum([len(part) for part in parts])
        self.deviation = self._deviation_of_anchors(total, mean)

    def _deviation_of_anchors(self, total: NDArray[np.int64], mean: NDArray[np.int64]) -> float:
        n, d = int(self._residuals_at), len(mean)
        squares = int(self.squares[:n].sum())
        around = squares - 2 * int(mean @ total) + n * int(mean @ mean)
        return math.ldexp(math.sqrt(around / (n * d)), -self.unit_bits)

    def places(self, choices: Choices) -> NDArray[np.int64]:
        """Return the rows of the table for each row's slots, (n, 11)."""
        places = np.empty((len(choices.anchors), _N_SLOTS - 1), np.int64)
        places[:, _OF_CLUSTER] = choices.members
        places[:, _RESIDUALS] = choices.residuals + self._residuals_at
        places[:, _CENTROID] = choices.clusters + self._centroids_at
        places[choices.outliers, _CENTROID] = self._mean_at
        return places


def _weight_bits(model: MixtureModel, shares: _Shares, table: _Table) -> int:
    """Return the most bits of a weight with which no sum is too large, whatever the random words."""
    strength = float(model.stretch.max()) / 2**16 * shares.gain
    normal = float(normal_table()[-1]) / 2**24
    members = shares.positive * float(model.simplex.sum(axis=1).max()) / 2**16
    members += _N_NORMAL * shares.normal * normal
    of_cluster = strength * (1 / shares.gain + members)
    widest = float(model.spread.max()) / 2**24
    residuals = strength * N_RESIDUALS * shares.pooled * normal * widest / table.residual_deviation
    vectors = 1 + 2 * of_cluster + residuals  # the centroid has the weight 1 - those of the cluster
    deviation = strength * shares.isotropic * widest
    deviation = max(deviation, table.deviation, math.sqrt(_COPY_NOISE / table.vectors.shape[1]))
    noise = math.ldexp(deviation, table.unit_bits) / _NOISE_DEVIATION * _NOISE_LARGEST
    # One percent more: weights are rounded.
    component = 1.01 * (vectors * _largest(table.vectors) + noise)
    longest = math.sqrt(int(table.squares.max()))
    length = 1.01 * (vectors * longest + noise * math.sqrt(table.vectors.shape[1]))
    middle = model.middle.astype(np.int64)
    length += math.ldexp(math.sqrt(int(middle @ middle)), -MIDDLE_BITS)  # weights of vectors sum to one unit
    return min(_COMPONENT_BITS - math.frexp(component)[1], LENGTH_BITS - math.frexp(length)[1])


def _deviation(vectors: NDArray[np.signedinteger], unit_bits: int) -> float:
    """Return the root mean square of the components in ones, and no less than half a unit."""
    squares = int(np.einsum("ij,ij->", vectors, vectors, dtype=np.int64))
    return math.ldexp(max(math.sqrt(squares / vectors.size), 0.5), -unit_bits)


def _bytes(vectors: NDArray[np.signedinteger]) -> NDArray[np.int8]:
    return vectors.clip(-127, 127).astype(np.int8)


def _largest(vectors: NDArray[np.signedinteger]) -> int:
    return max(int(vectors.max()), -int(vectors.min()))
