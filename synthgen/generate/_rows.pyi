"""Inner loops of the laws of geometry (_rows.c)."""

import numpy as np
from numpy.typing import NDArray

Texts = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]

is_wide: int

def draw_isotropic(
    state: NDArray[np.uint64],
    noise: NDArray[np.int32],
    centroids: NDArray[np.int32],
    clusters: NDArray[np.int64],
    grid: float,
    out: NDArray[np.int32],
    dimension: int,
    /,
) -> None: ...
def draw_mixture(
    state: NDArray[np.uint64],
    table: NDArray[np.int8],
    places: NDArray[np.int64],
    weights: NDArray[np.float32],
    middle: NDArray[np.float64],
    factors: NDArray[np.float64],
    out: NDArray[np.int32],
    dimension: int,
    /,
) -> None: ...
def join_texts(near: Texts, towards: Texts, out: NDArray[np.uint8], at: int, /) -> None: ...
