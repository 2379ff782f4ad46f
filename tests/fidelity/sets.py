"""Sets of vectors for the tests: real articles in fewer dimensions, and ways to spoil them."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from synthgen.fidelity import FidelityReport, JudgeOptions, judge
from synthgen.wiki.foundation import load_foundation

Vectors = NDArray[np.float32]
N_ROWS = 1_200
FAST = JudgeOptions(n_splits=3, n_threads=2)


def unit(rows: NDArray[np.floating]) -> Vectors:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@cache
def articles(dimension: int = 96) -> Vectors:
    """The foundation's 7,533 rows, shuffled, projected at random to ``dimension``, of unit length."""
    rows = load_foundation()[1].astype(np.float32)
    rng = np.random.default_rng(0)
    return unit(rng.permutation(rows) @ rng.standard_normal((rows.shape[1], dimension)).astype(np.float32))


@cache
def real() -> Vectors:
    return articles()[:N_ROWS]


@cache
def other_real() -> Vectors:
    return articles()[N_ROWS : 2 * N_ROWS]


def blobs() -> Vectors:
    """Tight clusters: what makes an index look perfect."""
    rng = np.random.default_rng(1)
    centres = articles()[:60]
    return unit(centres[rng.integers(60, size=N_ROWS)] + 0.02 * rng.standard_normal((N_ROWS, 96)))


def with_near_duplicates() -> Vectors:
    """Other real rows, 4% of them replaced by near copies of their neighbours in the file."""
    rows = other_real().copy()
    places = np.arange(0, N_ROWS, 25)
    rows[places] = unit(
        rows[places + 1] + 0.015 * np.random.default_rng(2).standard_normal((len(places), 96))
    )
    return rows


@cache
def passing() -> FidelityReport:
    return judge(real(), other_real(), n_shuffles=2, quiet=True, options=FAST)


@cache
def failing() -> FidelityReport:
    return judge(real(), blobs(), n_shuffles=2, quiet=True, options=FAST)
