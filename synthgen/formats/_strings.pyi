"""JSON strings to what they mean (_strings.c)."""

import numpy as np
from numpy.typing import NDArray

def write_strings(strings: NDArray[np.uint8], width: int, out: NDArray[np.uint8], /) -> int: ...
