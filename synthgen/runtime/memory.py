"""How much memory the process tree holds, and how much it may hold. The only user of psutil.

Sizes are summed as PSS where the system tells it (Linux), else USS: RSS would count pages that processes
share once for each of them.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from synthgen.errors import ResourceError, UsageError
from synthgen.runtime.cgroups import MemoryGroup, cpu_quota, memory_groups

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
#: Share of the limit above which no further work is handed out, in percent.
HOLD_PERCENT = 90
#: Reading the size of a process costs milliseconds; more often than this tells nothing new.
SAMPLE_INTERVAL_S = 0.25
#: Sampling takes at most one part in this many of the sampler's time, however many workers there are.
_SAMPLE_SHARE = 50
_PROC = Path("/proc")
#: Sizes and children without a search through all processes of the machine: Linux, most kernels.
_HAS_ROLLUP = (_PROC / "self/smaps_rollup").exists()
_HAS_CHILDREN = (_PROC / "thread-self/children").exists()


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
    return sum(_process_bytes(member) for member in _tree(pid or os.getpid()))


def tree_cpu_s(pid: int) -> float:
    """Return the CPU time, user and system, that a process and its living descendants have used."""
    import psutil

    total = 0.0
    for member in _tree(pid):
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(member).cpu_times()
            total += times.user + times.system
    return total


def _process_bytes(pid: int) -> int:
    if _HAS_ROLLUP:
        with contextlib.suppress(OSError):  # it has ended
            text = (_PROC / str(pid) / "smaps_rollup").read_text()
            return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024
        return 0
    import psutil

    with contextlib.suppress(psutil.Error):
        info = psutil.Process(pid).memory_full_info()
        return int(getattr(info, "pss", 0) or info.uss)
    return 0


def _tree(pid: int) -> Iterator[int]:
    """Yield ``pid`` and its descendants."""
    yield pid
    for child in _children(pid):
        yield from _tree(child)


def _children(pid: int) -> list[int]:
    if _HAS_CHILDREN:
        with contextlib.suppress(OSError):  # it has ended
            lists = (_PROC / str(pid) / "task").glob("*/children")
            return [int(child) for path in lists for child in path.read_text().split()]
        return []
    import psutil

    with contextlib.suppress(psutil.Error):
        return [child.pid for child in psutil.Process(pid).children()]
    return []


def available_bytes() -> int:
    """Return how much memory the machine could give out now, in bytes."""
    import psutil

    return int(psutil.virtual_memory().available)


def available_cores(process: Path = _PROC / "self") -> int:
    """Return how many cores this process may use: affinity, and the CPU quotas of its control groups.

    A quota of 1.5 cores counts as 2: one worker alone would leave a third of it unused. ``process``: the
    folder in /proc that names the groups.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, cpu_quota(process))))


@dataclass(frozen=True)
class _Bound:
    """A bound on memory: who sets it, and what of it others hold already, in bytes."""

    where: str
    limit_bytes: int
    others_bytes: int = 0

    @property
    def room_bytes(self) -> int:
        return max(0, self.limit_bytes - self.others_bytes)

    def refusal(self, need_bytes: int) -> ResourceError:
        """Return the error that says that ``need_bytes`` are needed; what it asks for is enough."""
        held = f", of which others hold {self.others_bytes / 1e6:,.0f} MB," if self.others_bytes else ""
        least_mb = math.ceil((need_bytes + self.others_bytes) / 1e6)
        return ResourceError(
            f"a limit of {self.limit_bytes / 1e6:,.0f} MB{held} holds not one worker",
            where=self.where,
            next_step=f"give at least {least_mb}MB",
        )


def _bound_of(group: MemoryGroup, own_bytes: int) -> _Bound:
    others_bytes = max(0, group.held_bytes() - own_bytes)
    return _Bound(f"memory limit of the control group {group.folder}", group.limit_bytes(), others_bytes)


class Governor:
    """Keeps the process tree below ``budget_bytes``, and within what its control groups have left.

    What other processes of a group hold at the start is left to them; while they take more, so that the
    group comes near its limit, further work waits. ``plan_workers`` sizes the work before it starts;
    ``admits`` holds further work back before a limit is reached. ``limit_bytes``: what the tree may hold;
    ``peak_bytes``: the largest sum seen. Sampled every quarter second, or less often where that would take
    more than a fiftieth of the time. ``groups``: those that limit memory (None: of this process).
    """

    def __init__(self, budget_bytes: int, groups: Sequence[MemoryGroup] | None = None) -> None:
        self._groups = memory_groups() if groups is None else groups
        own_bytes = tree_bytes() if self._groups else 0
        bounds = [_Bound("--memory-budget", budget_bytes)]
        bounds += [_bound_of(group, own_bytes) for group in self._groups]
        self._bound = min(bounds, key=lambda bound: bound.room_bytes)
        self.limit_bytes = self._bound.room_bytes
        self.peak_bytes = 0
        self._sample_at_s = -math.inf
        self._last_bytes = 0
        self._is_full = False

    def plan_workers(self, wanted: int, base_bytes: int, worker_bytes: int) -> int:
        """Return how many of the ``wanted`` workers fit, at least 1; raise ResourceError if none does."""
        room_bytes = self.limit_bytes * HOLD_PERCENT // 100 - base_bytes
        if room_bytes < worker_bytes:
            raise self._bound.refusal(math.ceil((base_bytes + worker_bytes) * 100 / HOLD_PERCENT))
        return max(1, min(wanted, room_bytes // worker_bytes))

    def sample(self, *, now: bool = False) -> int:
        """Return the size of the tree in bytes, measured recently, or ``now``."""
        now_s = time.monotonic()
        if now or now_s >= self._sample_at_s:
            began_s = time.thread_time()
            self._last_bytes = tree_bytes()
            self.peak_bytes = max(self.peak_bytes, self._last_bytes)
            held = [(self._last_bytes, self.limit_bytes)]
            held += [(group.held_bytes(), group.limit_bytes()) for group in self._groups]
            self._is_full = any(size * 100 >= limit * HOLD_PERCENT for size, limit in held)
            cost_s = time.thread_time() - began_s
            self._sample_at_s = now_s + max(SAMPLE_INTERVAL_S, cost_s * _SAMPLE_SHARE)
        return self._last_bytes

    def admits(self) -> bool:
        """Return whether more work may be handed out now."""
        self.sample()
        return not self._is_full
