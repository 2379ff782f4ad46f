"""Counts of a run, gathered in the groups, added up in the parent, shown as one line."""

from __future__ import annotations

import resource
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

#: Latencies fall into buckets of 4.7 % width (50 a decade), from 1 us to 100 s and beyond.
_BUCKETS_PER_DECADE = 50
_N_BUCKETS = 8 * _BUCKETS_PER_DECADE + 1


@dataclass
class Stats:
    """What happened since the last report of a group: requests sent and answered well, rows sent again,
    errors by class after which something was sent again, refusals for good by status, CPU seconds, and
    latencies as counts by bucket. ``trouble``: what the group waits for, if anything.
    """

    n_sent: int = 0
    n_acked: int = 0
    n_retries: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    latencies: Counter[int] = field(default_factory=Counter)
    cpu_s: float = 0.0
    trouble: str = ""

    def add(self, other: Stats) -> None:
        """Add the counts of ``other``."""
        self.n_sent += other.n_sent
        self.n_acked += other.n_acked
        self.n_retries += other.n_retries
        self.errors.update(other.errors)
        self.refusals.update(other.refusals)
        self.latencies.update(other.latencies)
        self.cpu_s += other.cpu_s

    def latency_ms(self, quantile: float) -> float:
        """Return a quantile (in [0, 1]) of the latencies of acknowledged requests, in milliseconds."""
        total = self.latencies.total()
        if total == 0:
            return 0.0
        passed = 0
        for bucket in sorted(self.latencies):
            passed += self.latencies[bucket]
            if passed >= quantile * total:
                break
        return float(10 ** ((bucket + 0.5) / _BUCKETS_PER_DECADE) / 1e3)

    def describe(self) -> str:
        """Return what was tried again, what was refused, and latencies, for people."""
        parts = []
        for what, counts in (("tried again", self.errors), ("refused", self.refusals)):
            if counts:
                kinds = ", ".join(f"{kind} {count:,}" for kind, count in counts.most_common(4))
                parts.append(f"{counts.total():,} {what} ({kinds})")
        if self.latencies:
            parts.append(f"p50 {self.latency_ms(0.5):.1f} ms, p99 {self.latency_ms(0.99):.1f} ms")
        return ", ".join(parts)


class Recorder:
    """Gathers the counts of one process between reports; ``taken_s``: when the last one was made."""

    def __init__(self, now_s: float) -> None:
        self.stats = Stats()
        self.latencies_s: list[float] = []
        self.taken_s = now_s
        self._cpu_s = cpu_seconds()

    def take(self, now_s: float, trouble: str) -> Stats:
        """Return all counts since the last time, and begin anew."""
        stats, self.stats = self.stats, Stats()
        stats.latencies = count_latencies(self.latencies_s)
        self.latencies_s = []
        cpu_s = cpu_seconds()
        stats.cpu_s, self._cpu_s = cpu_s - self._cpu_s, cpu_s
        stats.trouble = trouble
        self.taken_s = now_s
        return stats


def count_latencies(latencies_s: list[float]) -> Counter[int]:
    """Return how many of ``latencies_s`` (seconds) fall into each bucket."""
    if not latencies_s:
        return Counter()
    microseconds: NDArray[np.float64] = np.maximum(np.array(latencies_s) * 1e6, 1.0)
    buckets = np.minimum(np.log10(microseconds) * _BUCKETS_PER_DECADE, _N_BUCKETS - 1).astype(np.int64)
    values, counts = np.unique(buckets, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def cpu_seconds() -> float:
    """Return the CPU time of this process, user and system, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
