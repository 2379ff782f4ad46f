"""Another generator with the seed's flags, timed in turn with ours; SYNTHGEN_PEER_GENERATOR names its script.

SYNTHGEN_PEER_PYTHON names its interpreter where it needs another one. Nothing of it is kept here.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.commands import generate, run_command
from bench.settings import Settings
from bench.table import Cell, Spread, Table

SCRIPT_VARIABLE = "SYNTHGEN_PEER_GENERATOR"
PYTHON_VARIABLE = "SYNTHGEN_PEER_PYTHON"
#: A peer of the reference's kind makes some thousand rows a second; both sides get about equally long runs.
_PEER_SHARE = 20
_NULL = Path(os.devnull)


@dataclass(frozen=True)
class _Case:
    """Who makes rows, where to, by how many workers (0: as many as cores)."""

    who: str
    to_file: bool
    workers: int = 0

    def __str__(self) -> str:
        by = {("ours", 1): ", 1 worker", ("ours", 0): ", all cores"}.get((self.who, self.workers), "")
        return f"{self.who}{by}, to {'a file' if self.to_file else '/dev/null'}"


@dataclass(frozen=True)
class Slope:
    """Seconds of two whole commands that differ in their count alone, so that start-up falls out."""

    case: str
    counts: tuple[int, int]
    commands_s: tuple[float, float]

    @property
    def rows_per_s(self) -> float | None:
        """Rows a second of the difference; None where noise was larger than it."""
        difference_s = self.commands_s[1] - self.commands_s[0]
        return (self.counts[1] - self.counts[0]) / difference_s if difference_s > 0 else None

    @property
    def command_rows_per_s(self) -> float:
        """Rows a second of the whole larger command, start-up included."""
        return self.counts[1] / self.commands_s[1]

    @property
    def start_s(self) -> float | None:
        """Seconds that a command of no rows would take, by the slope."""
        rate = self.rows_per_s
        return None if rate is None else self.commands_s[0] - self.counts[0] / rate


CASES = (
    _Case("ours", False, 1),
    _Case("peer", False),
    _Case("ours", True, 1),
    _Case("peer", True),
    _Case("ours", False),
    _Case("ours", True),
)


def describe(n_rows: int) -> dict[str, Any]:
    """Return the configuration of the comparison; the peer's script by name alone."""
    script = os.environ.get(SCRIPT_VARIABLE)
    if not script:
        return {"peer": None}
    counts = {who: list(_counts(who, n_rows)) for who in ("ours", "peer")}
    return {"peer": Path(script).name, "peer_counts": counts}


def measure(settings: Settings, folder: Path, centroids: Path, n_rows: int) -> list[Slope]:
    """Time all cases in turn, as often as asked; nothing when no peer is named."""
    if not os.environ.get(SCRIPT_VARIABLE):
        return []
    return [
        _time(case, folder, centroids, _counts(case.who, n_rows))
        for repetition in range(settings.n_repetitions)
        for case in (CASES if repetition % 2 == 0 else CASES[::-1])
    ]


def _counts(who: str, n_rows: int) -> tuple[int, int]:
    large = n_rows if who == "ours" else max(20, n_rows // _PEER_SHARE)
    return max(1, large // 10), large


def _time(case: _Case, folder: Path, centroids: Path, counts: tuple[int, int]) -> Slope:
    """Time few rows, many, and few again: a hiccup in starting would look like speed."""
    small, large = counts
    times_s = [_command_s(case, folder, centroids, count) for count in (small, large, small)]
    return Slope(str(case), counts, (min(times_s[0], times_s[2]), times_s[1]))


def _command_s(case: _Case, folder: Path, centroids: Path, count: int) -> float:
    output = folder / f"{case.who}.jsonl" if case.to_file else _NULL
    if case.who == "ours":
        wall_s = generate(centroids, count, output, case.workers).wall_s
    else:
        python = os.environ.get(PYTHON_VARIABLE) or sys.executable
        command = [python, os.environ[SCRIPT_VARIABLE], "--centroids", str(centroids)]
        wall_s = run_command([*command, "--count", str(count), "--output", str(output)]).wall_s
    if case.to_file:
        output.unlink()
        output.with_suffix(".manifest.json").unlink(missing_ok=True)
    return wall_s


def _least(slopes: list[Slope]) -> Slope:
    """Return the slope of the shortest run of each count."""
    small_s, large_s = (min(s.commands_s[i] for s in slopes) for i in (0, 1))
    return Slope(slopes[0].case, slopes[0].counts, (small_s, large_s))


def make_table(slopes: list[Slope]) -> Table:
    """Return rates by case, and how many times the peer's best rate each is."""
    found = {str(case): [s for s in slopes if s.case == str(case)] for case in CASES}
    least = {case: _least(of_case) for case, of_case in found.items()}
    best = max(least[str(case)].rows_per_s or 0.0 for case in CASES if case.who == "peer")
    rows: list[tuple[Cell, ...]] = []
    for case, of_case in found.items():
        rate = least[case].rows_per_s
        spread = Spread.of(s.rows_per_s for s in of_case)
        ratio = rate / best if rate and best else None
        rows.append((case, spread, rate, ratio, least[case].start_s, least[case].command_rows_per_s))
    ours, theirs = (next(s.counts for s in slopes if s.case.startswith(who)) for who in ("ours", "peer"))
    notes = (
        f"whole commands in turn; two counts each (ours {ours[0]:,} and {ours[1]:,}, the peer's "
        f"{theirs[0]:,} and {theirs[1]:,}), the rate is that of the difference, so start-up does not count",
        "least times: the rate by the shortest run of each count, which other work spoils least",
        "the peer at its best: ratios refer to the better of its rates by least times, /dev/null or a file",
        "our file is synced and has a manifest when its command ends; the peer's is left to the page cache",
    )
    columns = (
        "who, where to",
        "rows/s",
        "by least times",
        "times the peer's best",
        "start-up, s",
        "with start-up, rows/s",
    )
    return Table("generation beside a peer", columns, rows, notes)
