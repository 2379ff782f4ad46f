"""What the system says of a process."""

from __future__ import annotations

import contextlib
from pathlib import Path


def status_bytes(field: str, pid: int | str = "self") -> int | None:
    """Return a size from /proc/PID/status (VmRSS: resident now, VmHWM: at most so far), in bytes; None where
    the system has no such file (macOS).
    """
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return int(value.split()[0]) * 1024
    return None


def folder_bytes(folder: Path) -> int:
    """Return how much the files below ``folder`` take on the disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
