"""A law against real vectors on one split, and what several splits come to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

#: Shuffles of queries and insertion order that a recall is the mean of.
N_SHUFFLES = 3
#: What stands in a law's place where real rows are compared with real rows.
REAL_HALVES = "real halves"
#: At which quantiles cosines to the nearest fit row are compared.
FIT_QUANTILES = (0.05, 0.5, 0.95, 0.99)
#: A law memorises when its rows lie nearer to the fit than unseen rows do, by more than this and the noise.
MEMORISING_MARGIN = 0.02
#: Copies of a twentieth, or of a hundredth, of the rows show here; the median also tells of rows too central.
JUDGED_QUANTILES = (0.95, 0.99)


def fit_key(share: float) -> str:
    """Return what the quantile ``share`` of cosines to the nearest fit row is called among the values."""
    return f"fit_{100 * share:g}"


@dataclass(frozen=True)
class Comparison:
    """A law, or real rows, against as many real rows.

    ``real``, ``generated``: values by statistic; ``differences``: generated minus real, and ``pair_w1``, the
    Wasserstein-1 distance of pair cosines; ``law_s``: seconds of fitting and generating.
    """

    real_set: str
    split: int
    seed: int
    law: str
    n_fit_rows: int
    n_rows: int
    real: Mapping[str, float]
    generated: Mapping[str, float]
    differences: Mapping[str, float]
    law_s: float

    def to_document(self) -> dict[str, Any]:
        """Return the comparison as JSON; nan becomes null."""
        document = asdict(self)
        for key in ("real", "generated", "differences"):
            document[key] = {k: v if math.isfinite(v) else None for k, v in document[key].items()}
        return document


Splits = Sequence[Comparison]


def largest_gaps(splits: Splits, keys: Sequence[str]) -> list[float]:
    """Return for each split the largest absolute difference among ``keys``."""
    return [max(abs(split.differences[key]) for key in keys) for split in splits]


def gap_of_mean_curve(splits: Splits, keys: Sequence[str]) -> float:
    """Return the largest absolute difference of the two curves that are means over splits."""
    return max(abs(float(np.mean([split.differences[key] for split in splits]))) for key in keys)


def memorises(splits: Splits, halves: Splits) -> bool:
    """Return whether rows lie nearer to the fit than unseen rows do, at 95% or 99% of them.

    Nearer by more than 0.02, in the mean, and the most that ``halves``, real against real, differ by.
    """
    for key in map(fit_key, JUDGED_QUANTILES):
        noise = max((abs(half.differences[key]) for half in halves), default=0.0)
        if np.mean([split.differences[key] for split in splits]) > MEMORISING_MARGIN + noise:
            return True
    return False
