"""How glibc keeps freed memory: each page that is given back is cleared when it is taken again."""

from __future__ import annotations

import contextlib
import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def keep_freed_memory(*, blocks_below_bytes: int, kept_bytes: int) -> None:
    """Have this process take blocks below a size from its heaps, and keep so much free at the end of each.

    By itself glibc gives the memory of arrays back whenever it is freed, which for those of some hundred
    kilobytes takes longer than what is done with them. Elsewhere than on glibc nothing happens.
    """
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, blocks_below_bytes)
        libc.mallopt(_TRIM_THRESHOLD, kept_bytes)
