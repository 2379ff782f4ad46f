"""What random words decide about each row of the mixture law, before any vector is touched.

``_WORDS`` words belong to a row, cut into 32-bit halves and 16-bit quarters, little end first:

    half 0           anchor                     quarters 8-12   five normal draws
    quarters 2, 3    clustering; second nearest quarters 14, 15 size of a near copy's noise; stretch
    quarters 4, 5    stay; simplex              halves 8-14     seven members of the cluster
    half 3           outlier                    halves 15, 16   two residuals of anchors anywhere
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal

import numpy as np
from numpy.typing import NDArray

from synthgen.generate.streams import MIXTURE, PAIRS, Stream
from synthgen.model.mixture import MixtureModel
from synthgen.specs import CHUNK_ROWS, DatasetSpec

_WORDS = 9
#: Vectors a row has of its cluster, its anchor first, and residuals of anchors anywhere; the latter are taken
#: from a table of this many at most.
N_ANCHORS, N_RESIDUALS = 8, 2
MOST_RESIDUALS = 4_096
_MEMBERS_AT, _RESIDUALS_AT = slice(8, 15), slice(15, 17)
#: The quarter of word 3 that sizes a near copy's noise.
_LEVEL = np.uint64(0xFFFF << 32)
#: 1 in the units of shares of variance, 2**-32.
ONE = 2**32
#: Where near copies are counted out, a row stays at least this share of its square away from its anchor:
#: then two rows of one anchor have a cosine of about 1 - 0.08, and few one above 0.95.
_FAR_ENOUGH = 0.08


@dataclass(frozen=True)
class Choices:
    """Of n rows. ``anchors``, ``clusters`` (n,) int64; ``members`` (n, 8) int64, the anchor itself and seven
    members of the cluster; ``residuals`` (n, 2) int64, places in the table of residuals; ``strayed`` (n,)
    int64, 1 - own in 2**-32; ``simplex`` (n, 4) and ``stretch`` (n,) int32 in 2**-16; ``normals`` (n, 5),
    places in the normal table; ``levels`` (n,) int64, 1 to 2**16; ``outliers`` (n,) bool, rows in no cluster;
    ``paired`` (n,) bool, near copies and their originals.
    """

    anchors: NDArray[np.int64]
    clusters: NDArray[np.int64]
    members: NDArray[np.int64]
    residuals: NDArray[np.int64]
    strayed: NDArray[np.int64]
    simplex: NDArray[np.int32]
    stretch: NDArray[np.int32]
    normals: NDArray[np.uint16]
    levels: NDArray[np.int64]
    outliers: NDArray[np.bool_]
    paired: NDArray[np.bool_]

    @property
    def towards(self) -> NDArray[np.int64]:
        """The member with the largest share of the positive mixture, (n,) int64."""
        towards: NDArray[np.int64]
        towards = self.members[np.arange(len(self.members)), 1 + self.simplex.argmax(axis=1)]
        return towards


class Chooser:
    """Draws the choices of ``spec`` from ``model``. Any rows of a chunk alone, by their words alone."""

    def __init__(self, model: MixtureModel, spec: DatasetSpec) -> None:
        self._model, self._seed = model, spec.seed
        self._rate = spec.near_duplicate_rate
        self._popularity = reweigh(model.popularity, model.labels[:, 0, 0], spec.zipf)
        self._stray = np.rint(model.tightness / spec.tightness).astype(np.int64)
        self._sizes = np.diff(model.starts)
        self._n_residuals = min(MOST_RESIDUALS, len(model.anchors))
        self._first, self._second = (round(model.settings[name] * 2**16) for name in ("first", "second"))
        self._outlier = round(spec.outlier_rate * ONE)
        self._least = self._least_strayed()

    def choose(self, chunk: int, first: int, n_rows: int) -> Choices:
        """Return the choices of rows ``first`` to ``first + n_rows - 1`` of ``chunk``."""
        if not self._rate:
            words = Stream(self._seed, (MIXTURE, chunk), _WORDS, first).next_rows(n_rows)
            return self._choose(words.reshape(n_rows, _WORDS), np.zeros(n_rows, np.bool_))
        rows = np.arange(first, first + n_rows)
        originals = pair_rows(self._seed, chunk, self._rate)[rows]
        words = Stream(self._seed, (MIXTURE, chunk), _WORDS).next_rows(CHUNK_ROWS)
        words = words.reshape(CHUNK_ROWS, _WORDS)
        chosen = words[np.where(originals < 0, rows, originals)]
        # Each has its own noise, else a copy would be exact.
        chosen[:, 3] = (words[rows, 3] & _LEVEL) | (chosen[:, 3] & ~_LEVEL)
        return self._choose(chosen, originals >= 0)

    def _choose(self, words: NDArray[np.uint64], paired: NDArray[np.bool_]) -> Choices:
        model, n = self._model, len(words)
        little = np.ascontiguousarray(words.astype("<u8", copy=False))
        halves, quarters = little.view("<u4"), little.view("<u2")
        anchors = np.searchsorted(self._popularity, halves[:, 0], side="right").astype(np.int64)
        anchors = np.minimum(anchors, len(model.anchors) - 1)
        second = (quarters[:, 3] < self._second).astype(np.int64)
        clustering = self._clusterings(quarters[:, 2])
        clusters = model.labels[anchors, clustering, second].astype(np.int64)
        members = np.empty((n, N_ANCHORS), np.int64)
        members[:, 0] = anchors
        places = halves[:, _MEMBERS_AT] * self._sizes[clusters][:, None] >> 32
        members[:, 1:] = model.members[places + model.starts[clusters][:, None]]
        strayed = model.stay[_below(quarters[:, 4], len(model.stay))] * self._stray[anchors]
        tightness = np.minimum(model.tightness[anchors] >> 12, len(model.stretch) - 1)
        return Choices(
            anchors=anchors,
            clusters=clusters,
            members=members,
            residuals=halves[:, _RESIDUALS_AT] * np.int64(self._n_residuals) >> 32,
            strayed=np.minimum(np.maximum(strayed, self._least[clusters]), ONE),
            simplex=model.simplex[_below(quarters[:, 5], len(model.simplex))],
            stretch=model.stretch[tightness, _below(quarters[:, 15], model.stretch.shape[1])],
            normals=quarters[:, 8:13],
            levels=quarters[:, 14].astype(np.int64) + 1,
            outliers=halves[:, 3] < self._outlier,
            paired=paired,
        )

    def _clusterings(self, quarters: NDArray[np.uint16]) -> NDArray[np.int64]:
        """Return the first clustering where a quarter is below its share, evenly the others elsewhere."""
        others = self._model.labels.shape[1] - 1
        places = (quarters.astype(np.int64) - self._first) * others // max(1, 2**16 - self._first)
        return np.where(quarters < self._first, 0, 1 + places)

    def _least_strayed(self) -> NDArray[np.int64]:
        """Return the least 1 - own by cluster in 2**-32: 0 unless near copies are counted out."""
        if self._rate is None:
            return np.zeros(len(self._model.spread), np.int64)
        variances = np.square(self._model.spread / 2.0**24) * self._model.anchors.shape[1]
        least = _FAR_ENOUGH / np.maximum(variances, _FAR_ENOUGH)
        return np.asarray(np.rint(least * ONE), np.int64)


def pair_rows(seed: int, chunk: int, rate: float) -> NDArray[np.int64]:
    """Return for each row of ``chunk`` the row whose near copy it is, -1 where it is none, (1000,) int64.

    Rows are paired at random; with probability ``rate`` the later one is a near copy of the earlier one,
    which then is its own original. So originals come first: a prefix of the dataset has them all.
    """
    words = Stream(seed, (PAIRS, chunk), 1).next_rows(CHUNK_ROWS)
    order = np.argsort(words, kind="stable").reshape(-1, 2)
    words = Stream(seed, (PAIRS, chunk), 1, CHUNK_ROWS).next_rows(len(order)) >> np.uint64(32)
    taken = order[words.astype(np.int64) < round(rate * ONE)]
    originals = np.full(CHUNK_ROWS, -1, np.int64)
    originals[taken] = taken.min(axis=1, keepdims=True)
    return originals


def reweigh(
    popularity: NDArray[np.uint32], clusters: NDArray[np.int32], exponent: float
) -> NDArray[np.uint32]:
    """Return ``popularity`` with each cluster's weight multiplied by rank**-exponent, rank 1 the heaviest.

    ``clusters`` (V,): of each anchor. Decimal arithmetic and integers, so the same on every machine.
    """
    if not exponent:
        return popularity
    weights = np.diff(popularity.astype(np.int64), prepend=0)
    totals = np.zeros(int(clusters.max()) + 1, np.int64)
    np.add.at(totals, clusters, weights)
    ranks = np.empty_like(totals)
    ranks[np.argsort(-totals, kind="stable")] = np.arange(1, len(totals) + 1)
    context, power = Context(prec=40), Decimal(repr(-float(exponent)))
    factors = [int(context.power(Decimal(int(rank)), power).scaleb(30)) for rank in ranks]
    cumulated, table = 0, []
    for weight, cluster in zip(weights.tolist(), clusters.tolist(), strict=True):
        cumulated += weight * factors[cluster]
        table.append(cumulated)
    return np.array([value * (ONE - 1) // cumulated for value in table], np.uint32)


def _below(quarters: NDArray[np.uint16], bound: int) -> NDArray[np.int64]:
    places: NDArray[np.int64] = quarters * np.int64(bound) >> 16
    return places
