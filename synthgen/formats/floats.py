"""Grid components as float32: the nearest to the decimal that the same row has as text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synthgen.specs import Grid

#: Whole numbers up to this one are exact in float32, and so is every power of ten up to 10**10.
_EXACT = 2**24


def write_nearest(steps: NDArray[np.int32], grid: Grid, out: NDArray[np.float32]) -> None:
    """Write components ``steps`` (n, d) of ``grid`` to ``out`` (n, d), each the float32 nearest to it.

    A division of two exact numbers is correctly rounded (IEEE 754), so in float32 it gives the nearest
    where steps are exact there. Else it is made in float64 and rounded a second time, which can go wrong only
    where the first rounding ends in the middle between two float32. That is p / 2**s with p below 2**25. A
    decimal k / 10**m other than it differs by at least 1 / (10**m 2**s), which is 1 / (10**m p) of it or
    more: above 2**-49 for m up to 7, while float64 rounds by 2**-53. (Above 2**25 the middles are whole
    numbers: the decimal differs by at least 10**-m, which is 1 / k of it, and k is below 2**31.)
    """
    if grid.largest <= _EXACT:
        np.divide(steps, np.float32(10**grid.decimals), out=out, dtype=np.float32, casting="unsafe")
    else:
        np.divide(steps, float(10**grid.decimals), out=out, dtype=np.float64, casting="unsafe")
