"""Rows to lines of one length (_lines.c)."""

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int32]

is_wide: int

def write_lines(
    rows: tuple[Bytes, Bytes, Integers, Integers],
    tables: tuple[NDArray[np.uint64], Bytes],
    tail_digits: int,
    layout: tuple[int, ...],
    lines: Bytes,
    /,
) -> None: ...
