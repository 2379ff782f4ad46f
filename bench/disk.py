"""The disk's own speed, as ``dd conv=fsync`` would tell it."""

from __future__ import annotations

import os
import time
from pathlib import Path


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
