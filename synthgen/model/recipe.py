"""The numbers of the mixture law that are chosen and not read off the data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How a model is fitted, and how its rows are drawn; shares are shares of variance.

    Clusters: three clusterings, of ``rows_per_cluster`` rows a cluster, of ``fineness`` times fewer, and of
    as many times more. ``softness``: 0 where every row is drawn in its anchor's cluster of the first
    clustering, 1 where all three are equally likely; the second nearest cluster of a clustering is taken with
    probability ``second`` times that.

    Anchors: ``anchors_per_row`` of the fit (at least 1, and no more than 30,000 in all where the fit has
    fewer rows), placed in clusters with ``anchor_softness``;
    ``anchor_members`` mixed into one; ``anchor_normal``, the share of normal noise in what is mixed, and
    ``anchor_pooled``, how much of that has the covariance of all clusters; ``closeness``: by what share of
    the mean distance an anchor is nearer to its parent than the parent's neighbour is; ``contrast``: how much
    tightness differs between anchors; ``popularity_shape`` of the Gamma law of their weights.

    Rows: the anchor keeps the share 1 - b, b = 1 - Beta(``stay_a``, ``stay_b``); of the rest ``tau`` is a
    normal mixture of cluster members, ``pool`` one of anchors anywhere, ``iso`` isotropic, what is left a
    positive mixture of members; ``gain`` multiplies it; ``stretch`` is the spread of log distances from the
    centroid; of the mean of all rows ``centring`` is taken away, since bringing rows to their length draws
    them together. Softness, contrast, iso, gain, stretch and centring are where the fit begins to look.
    """

    rows_per_cluster: float = 28.0
    fineness: float = 2.0
    softness: float = 0.9
    second: float = 0.35
    anchors_per_row: float = 3.0
    anchor_softness: float = 0.15
    anchor_members: int = 6
    anchor_normal: float = 0.5
    anchor_pooled: float = 0.2
    closeness: float = 0.06
    contrast: float = 1.2
    popularity_shape: float = 5.0
    stay_a: float = 0.7
    stay_b: float = 1.6
    tau: float = 0.35
    iso: float = 0.12
    pool: float = 0.03
    gain: float = 1.06
    stretch: float = 0.25
    centring: float = 0.0

    @property
    def cluster_sizes(self) -> tuple[float, float, float]:
        """Rows of a cluster in each clustering."""
        size = self.rows_per_cluster
        return size, size / self.fineness, size * self.fineness

    @property
    def first_share(self) -> float:
        """Probability that a row is drawn in a cluster of the first clustering."""
        return first_share(self.softness)

    @property
    def second_share(self) -> float:
        """Probability that a row is drawn in its anchor's second nearest cluster of a clustering."""
        return self.second * self.softness


def first_share(softness: float) -> float:
    """Return the probability of the first of three clusterings: 1 at softness 0, a third at 1."""
    return max(0.0, 1 - softness * 2 / 3)
