"""Lines to blocks of a Zstandard frame (_frames.c)."""

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Table = tuple[NDArray[np.uint32], Bytes, int]

is_wide: int
SCRATCH_BYTES: int

def write_blocks(
    lines: Bytes,
    layout: tuple[int, int, int, int, int, bool],
    codes: tuple[NDArray[np.uint32], NDArray[np.uint32], Bytes],
    tables: tuple[Table, Table, Table],
    state: NDArray[np.int64],
    scratch: Bytes,
    out: memoryview,
    /,
) -> int: ...
