"""The disk's own speed, as ``dd conv=fsync`` would tell it."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

#: Of a direct write: a multiple of any disk's block, and large enough that calls do not count.
_DIRECT_BYTES = 8 << 20


def write_directly(path: Path, n_bytes: int) -> float | None:
    """As :func:`write_durably`, past the page cache (``dd oflag=direct``); None where that cannot be done."""
    flag = getattr(os, "O_DIRECT", 0)
    block = mmap.mmap(-1, _DIRECT_BYTES)
    block.write(os.urandom(_DIRECT_BYTES))
    started_s = time.perf_counter()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flag, 0o644)
    except OSError:
        path.unlink(missing_ok=True)
        return None
    try:
        for _ in range(-(-n_bytes // _DIRECT_BYTES)):
            os.write(descriptor, block)
        os.fsync(descriptor)
        return time.perf_counter() - started_s if flag else None
    finally:
        os.close(descriptor)
        path.unlink()


def write_durably(path: Path, n_bytes: int, block: bytes) -> float:
    """Write ``n_bytes`` to a new file in blocks, sync it, delete it; return the seconds until synced."""
    started_s = time.perf_counter()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        left = n_bytes
        while left > 0:
            left -= os.write(descriptor, block if left >= len(block) else block[:left])
        os.fsync(descriptor)
        return time.perf_counter() - started_s
    finally:
        os.close(descriptor)
        path.unlink()


def remove(*paths: Path) -> None:
    """Delete a dataset's files."""
    for path in paths:
        path.unlink(missing_ok=True)
