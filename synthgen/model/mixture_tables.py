"""A law in floating point turned into the integers of a :class:`MixtureModel`.

The tables are quantiles: an equally likely entry of a table is a draw. What is left of a distribution beyond
its last of 4,096 quantiles is lost, which no figure of a dataset sees.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.model.mixture import MIDDLE_BITS, MixtureModel
from synthgen.model.mixture_draw import Law

Integers = NDArray[np.int32]

#: Largest component, so that anchors are bytes, whose number is the cost of a row.
LARGEST_COMPONENT = 127
#: Finer, and rows with their middle would be too long for exact sums of squares.
_MOST_UNIT_BITS = 16
_TABLE_ROWS = 4_096
_STRETCH_ROWS, _STRETCH_VALUES = 16, 256
#: Largest tightness kept: rows of such an anchor stray all the way, whatever b is.
_MOST_TIGHTNESS = 1_024.0
#: Members in the positive mixture of a row.
N_POSITIVE = 4
#: Real root of x**4 = x + 1, for Roberts' R3 sequence.
_ROOT = 1.22074408460575947536


def make_model(
    law: Law, lengths: NDArray[np.float64], titles: tuple[str, ...], about: dict[str, Any]
) -> MixtureModel:
    """Return ``law`` as integers; ``lengths`` (V,): of each anchor's parent, all equal or not."""
    recipe, clusters = law.recipe, law.clusters
    anchors, centroids = law.anchors.units - law.mean, clusters.centroids - law.mean
    unit_bits = choose_unit_bits(anchors, centroids)
    middle = np.rint(np.ldexp(law.mean - law.offset, unit_bits + MIDDLE_BITS)).astype(np.int32)
    scale, relative = split_lengths(lengths)
    return MixtureModel(
        anchors=_in_units(anchors, unit_bits),
        centroids=_in_units(centroids, unit_bits),
        middle=middle,
        labels=clusters.labels.astype(np.int32),
        members=clusters.members.astype(np.int32),
        starts=clusters.starts.astype(np.int64),
        popularity=popularity_table(law.anchors.weights),
        tightness=_fixed(np.minimum(law.tightness, _MOST_TIGHTNESS), 16),
        spread=_fixed(law.spread, 24),
        stay=stay_table(recipe.stay_a, recipe.stay_b),
        simplex=simplex_table(),
        stretch=stretch_table(recipe.stretch),
        lengths=relative,
        unit_bits=unit_bits,
        scale=scale,
        settings={
            **{name: float(getattr(recipe, name)) for name in ("tau", "iso", "pool", "gain")},
            "first": recipe.first_share,
            "second": recipe.second_share,
        },
        titles=titles,
        about=about,
    )


def choose_unit_bits(*arrays: NDArray[np.float32]) -> int:
    """Return the finest unit, 2**-bits, in which no component is above 127."""
    largest = max(float(np.abs(array).max()) for array in arrays)
    return min(_MOST_UNIT_BITS, math.floor(math.log2(LARGEST_COMPONENT / max(largest, 1e-9))))


def split_lengths(lengths: NDArray[np.float64]) -> tuple[float, Integers]:
    """Return the mean length, and each in 2**-16 of it: none where they differ by less than 0.1%."""
    scale = float(lengths.mean())
    if abs(scale - 1) < 1e-3:
        scale = 1.0
    if float(np.abs(lengths / scale - 1).max()) < 1e-2 and float(lengths.std()) < 1e-3 * scale:
        return scale, np.empty(0, np.int32)
    return scale, _fixed(np.minimum(lengths / scale, 2.0**14), 16)


def popularity_table(weights: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Return the cumulated weights in 2**-32, ascending, the last one 2**32 - 1."""
    cumulated = np.cumsum(weights)
    table = np.floor(cumulated * (2.0**32 / cumulated[-1])).clip(0, 2.0**32 - 1)
    table[-1] = 2.0**32 - 1
    return np.asarray(table, np.uint32)


def stay_table(a: float, b: float) -> Integers:
    """Return (4096,) quantiles of 1 - Beta(a, b), ascending, in 2**-16."""
    from scipy import special  # type: ignore[import-untyped]  # as scikit-learn in kmeans.py

    return _fixed(special.betaincinv(b, a, _middles(_TABLE_ROWS)), 16)


def simplex_table() -> Integers:
    """Return (4096, 4) square roots, in 2**-16, of weights that are uniform on the simplex.

    These are Dirichlet(1, 1, 1, 1): the gaps between three sorted uniform numbers (Devroye 1986), which come
    from Roberts' R3 sequence (2018), evener than random ones.
    """
    steps = np.arange(_TABLE_ROWS)[:, None] * _ROOT ** -np.arange(1.0, N_POSITIVE)
    ends = np.sort((0.5 + steps) % 1.0, axis=1)
    return _fixed(np.sqrt(np.diff(ends, axis=1, prepend=0.0, append=1.0)), 16)


def stretch_table(stretch: float) -> Integers:
    """Return (16, 256) factors exp(h (s z - s**2)), h by row, z normal quantiles, in 2**-16."""
    tightness = (np.arange(_STRETCH_ROWS) + 0.5) / _STRETCH_ROWS
    tightness[-1] = 1.0  # most anchors: 1 and all above it
    from scipy import special

    z = special.ndtri(_middles(_STRETCH_VALUES))
    return _fixed(np.exp(tightness[:, None] * (stretch * z - stretch**2)), 16)


def _middles(n: int) -> NDArray[np.float64]:
    return np.asarray((np.arange(n) + 0.5) / n)


def _in_units(vectors: NDArray[np.float32], unit_bits: int) -> NDArray[np.int8]:
    return np.rint(np.ldexp(vectors, unit_bits)).astype(np.int8)


def _fixed(values: NDArray[np.floating[Any]], bits: int) -> Integers:
    return np.rint(np.ldexp(np.asarray(values, np.float64), bits)).astype(np.int32)
