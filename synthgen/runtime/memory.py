"""How much memory the process tree holds, and how much it may hold. The only user of psutil.

Sizes are summed as PSS where the system tells it (Linux), else USS: RSS would count pages that forked
processes share once for each of them.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

import psutil

from synthgen.errors import ResourceError, UsageError

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
#: Share of the limit above which no further work is handed out.
HOLD_SHARE = 0.9
#: Reading the sizes of a process costs milliseconds; more often than this tells nothing new.
SAMPLE_INTERVAL_S = 0.25


def parse_size(text: str, flag: str = "--memory-budget") -> int:
    """Return the bytes that ``4GB``, ``512MB``, ``2GiB`` or ``1000000`` stand for; raise UsageError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?\s*", text.upper())
    if match is None or (match[3] and not match[2]):
        raise UsageError(f"{flag} must be a size like 4GB, 512MB or 2GiB, not {text!r}")
    return int(float(match[1]) * (_BINARY_UNITS if match[3] else _UNITS)[match[2]])


def tree_bytes(pid: int | None = None) -> int:
    """Return the memory of a process (None: this one) and all its descendants, in bytes (PSS, else USS).

    What has ended meanwhile counts nothing.
    """
    total = 0
    for process in _tree(pid):
        with contextlib.suppress(psutil.Error):
            info = process.memory_full_info()
            total += getattr(info, "pss", 0) or info.uss
    return total


def tree_cpu_s(pid: int) -> float:
    """Return the CPU time, user and system, that a process and its living descendants have used."""
    total = 0.0
    for process in _tree(pid):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _tree(pid: int | None) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def available_bytes() -> int:
    """Return how much memory the machine could give out now, in bytes."""
    return int(psutil.virtual_memory().available)


def cgroup_limit_bytes(
    root: Path = Path("/sys/fs/cgroup"), self_file: Path = Path("/proc/self/cgroup")
) -> int:
    """Return the tightest memory limit of this process's control groups (v1 or v2); 2**63 if none."""
    limit = 2**63
    with contextlib.suppress(OSError):
        for line in self_file.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                limit = min(limit, _tightest(root, path, "memory.max"))
            elif "memory" in controllers.split(","):
                limit = min(limit, _tightest(root / "memory", path, "memory.limit_in_bytes"))
    return limit


def _tightest(root: Path, path: str, name: str) -> int:
    limit = 2**63
    folder = root / path.lstrip("/")
    for place in [folder, *folder.parents]:  # any ancestor may be the tighter one
        with contextlib.suppress(OSError, ValueError):
            limit = min(limit, int((place / name).read_text()))
        if place == root:
            break
    return limit


def available_cores() -> int:
    """Return how many cores this process may use: affinity, and the CPU quota of its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for path in ("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"):
        with contextlib.suppress(OSError, ValueError):
            quota, *period = Path(path).read_text().split()
            per_core = int(period[0]) if period else 100_000
            if int(quota) > 0:
                cores = min(cores, max(1, int(quota) // per_core))
    return max(1, cores)


class Governor:
    """Keeps the process tree below ``budget_bytes`` (and below its control group's limit).

    ``plan_workers`` sizes the work before it starts; ``admits`` holds further work back before the
    limit is reached; ``peak_bytes`` is the largest sum seen, sampled at most every quarter second.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.limit_bytes = min(budget_bytes, cgroup_limit_bytes())
        self.peak_bytes = 0
        self._sampled_at_s = -1.0
        self._last_bytes = 0

    def plan_workers(self, wanted: int, base_bytes: int, worker_bytes: int) -> int:
        """Return how many of the ``wanted`` workers fit, at least 1; raise ResourceError if none does."""
        room = int(self.limit_bytes * HOLD_SHARE) - base_bytes
        if room < worker_bytes:
            need = int((base_bytes + worker_bytes) / HOLD_SHARE) + 1
            raise ResourceError(
                f"a budget of {self.limit_bytes / 1e6:,.0f} MB holds not one worker",
                where="--memory-budget",
                next_step=f"give at least {need / 1e6:,.0f}MB",
            )
        return max(1, min(wanted, room // worker_bytes))

    def sample(self) -> int:
        """Return the size of the tree in bytes, measured now or very recently."""
        now_s = time.monotonic()
        if now_s - self._sampled_at_s >= SAMPLE_INTERVAL_S:
            self._last_bytes = tree_bytes()
            self.peak_bytes = max(self.peak_bytes, self._last_bytes)
            self._sampled_at_s = time.monotonic()
        return self._last_bytes

    def admits(self) -> bool:
        """Return whether more work may be handed out now."""
        return self.sample() < self.limit_bytes * HOLD_SHARE
