"""The numbers of the mixture law that are chosen and not read off the data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How a model is fitted, and how its rows are drawn; shares are shares of variance.

    Clusters: ``rows_per_cluster``, ``n_clusterings``, and ``second``, the probability that a row is drawn in
    its anchor's second nearest cluster. Anchors: ``anchors_per_row`` of the fit (at least 1);
    ``anchor_members`` mixed into one; ``anchor_normal``, the share of normal noise in what is mixed, and
    ``anchor_pooled``, how much of that has the covariance of all clusters; ``closeness``: by what share of
    the mean distance an anchor is nearer to its parent than the parent's neighbour is; ``contrast``: how much
    tightness differs between anchors; ``popularity_shape`` of the Gamma law of their weights. Rows: the
    anchor keeps the share 1 - b, b = 1 - Beta(``stay_a``, ``stay_b``); of the rest ``tau`` is a normal
    mixture of cluster members, ``pool`` one of anchors anywhere, ``iso`` isotropic, what is left a positive
    mixture of three members; ``gain`` multiplies it (where the fit begins to look for it); ``stretch`` is the
    spread of log distances from the centroid.
    """

    rows_per_cluster: float = 45.0
    n_clusterings: int = 3
    second: float = 0.2
    anchors_per_row: float = 1.0
    anchor_members: int = 6
    anchor_normal: float = 0.5
    anchor_pooled: float = 0.2
    closeness: float = 0.05
    contrast: float = 1.25
    popularity_shape: float = 8.0
    stay_a: float = 0.6
    stay_b: float = 2.0
    tau: float = 0.35
    iso: float = 0.12
    pool: float = 0.08
    gain: float = 1.06
    stretch: float = 0.2
