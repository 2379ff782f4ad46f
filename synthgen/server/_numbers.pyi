"""An array of JSON to floats (_numbers.c)."""

import numpy as np
from numpy.typing import NDArray

def read_array_of(text: bytes, key: bytes, out: NDArray[np.float32], /) -> tuple[int, int] | None: ...
