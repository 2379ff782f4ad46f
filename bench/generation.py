"""How fast are memories made: by workers, beside the disk's own speed, by step, and beside a peer?"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import peer
from bench.commands import DIMENSION, N_CENTROIDS, generate, save_centroids
from bench.disk import remove, write_directly, write_durably
from bench.floors import NAMES, time_floors
from bench.settings import Settings
from bench.steps import STEPS, time_steps
from bench.table import Result, Spread, Table
from synthgen.phases.datasets import make_dataset
from synthgen.runtime.memory import available_cores
from synthgen.specs import BLOCK_ROWS, CHUNK_ROWS

_STEP_ROWS = 20 * CHUNK_ROWS


@dataclass(frozen=True)
class _Round:
    """One repetition of one number of workers: neighbours in time. ``few``: a null run of a tenth of the
    rows, whose time tells what starting costs.
    """

    workers: int
    rows: int
    null_rows_per_s: float
    file_rows_per_s: float
    null_s: float
    few_null_s: float
    few_rows: int
    file_command_s: float
    line_bytes: int
    disk_bytes_per_s: float
    direct_bytes_per_s: float | None

    @property
    def steady_rows_per_s(self) -> float | None:
        """Rows a second to the null sink once all workers run; None where noise was larger."""
        difference_s = self.null_s - self.few_null_s
        return (self.rows - self.few_rows) / difference_s if difference_s > 0 else None

    @property
    def file_bytes_per_s(self) -> float:
        return self.file_rows_per_s * self.line_bytes

    @property
    def share_of_disk(self) -> float:
        return self.file_bytes_per_s / self.disk_bytes_per_s

    @property
    def share_of_direct(self) -> float | None:
        return self.file_bytes_per_s / self.direct_bytes_per_s if self.direct_bytes_per_s else None


def run(settings: Settings) -> Result:
    """Measure and return all tables."""
    n_rows = settings.rows_of(quick=50_000, normal=200_000, full=950_000)
    n_peer_rows = settings.rows_of(quick=200_000, normal=400_000, full=950_000)
    counts = list(settings.workers) or worker_counts(available_cores())
    configuration = {
        **settings.to_document(),
        "rows": n_rows,
        "workers": counts,
        "centroids": N_CENTROIDS,
        "dimension": DIMENSION,
        "std_dev": 0.1,
        "block_rows": BLOCK_ROWS,
        "step_rows": min(n_rows, _STEP_ROWS),
        **peer.describe(n_peer_rows),
    }
    with settings.scratch() as folder:
        centroids = save_centroids(folder)
        steps = _time_all_steps(settings, centroids, min(n_rows, _STEP_ROWS))
        rounds = [
            _measure(folder, centroids, n_rows, workers, disk_first=repetition % 2 == 1)
            for repetition in range(settings.n_repetitions)
            for workers in counts
        ]
        line_bytes = rounds[0].line_bytes
        floors = [time_floors(folder / "floors", line_bytes) for _ in range(settings.n_repetitions)]
        tables = [_workers_table(rounds, counts, n_rows), _steps_table(steps, floors, line_bytes)]
        measurements: list[dict[str, Any]] = [vars(found) for found in rounds]
        measurements += [{"cpu_ns_per_number": step} for step in steps]
        measurements += [{"beside_cpu_ns_per_number": floor} for floor in floors]
        slopes = peer.measure(settings, folder, centroids, n_peer_rows)
        if slopes:
            tables.append(peer.make_table(slopes))
            measurements += [vars(slope) for slope in slopes]
    return Result("generation", configuration, tables, measurements)


def worker_counts(n_cores: int) -> list[int]:
    """Return 1, 2, 4 ... and ``n_cores``."""
    return sorted({n for n in (1 << k for k in range(n_cores.bit_length())) if n <= n_cores} | {n_cores})


def _measure(folder: Path, centroids: Path, n_rows: int, workers: int, *, disk_first: bool) -> _Round:
    few_rows = max(1, n_rows // 10)
    few = generate(centroids, few_rows, Path(os.devnull), workers)
    null = generate(centroids, n_rows, Path(os.devnull), workers)
    line_bytes = int(null.report["line_bytes"])
    block = os.urandom(BLOCK_ROWS * line_bytes)
    n_bytes, probe = n_rows * line_bytes, folder / "probe"
    disk_s, direct_s = _time_disk(probe, n_bytes, block) if disk_first else (0.0, None)
    output = folder / "rows.jsonl"
    file = generate(centroids, n_rows, output, workers)
    remove(output, folder / "rows.manifest.json")
    if not disk_first:
        disk_s, direct_s = _time_disk(probe, n_bytes, block)
    return _Round(
        workers,
        n_rows,
        null.report["rows_per_s"],
        file.report["rows_per_s"],
        null.report["elapsed_s"],
        few.report["elapsed_s"],
        few_rows,
        file.wall_s,
        line_bytes,
        n_bytes / disk_s,
        n_bytes / direct_s if direct_s else None,
    )


def _time_disk(probe: Path, n_bytes: int, block: bytes) -> tuple[float, float | None]:
    return write_durably(probe, n_bytes, block), write_directly(probe, n_bytes)


def _time_all_steps(settings: Settings, centroids: Path, n_rows: int) -> list[dict[str, float]]:
    dataset = make_dataset(centroids, centroids.parent, count=n_rows + CHUNK_ROWS, std_dev=0.1)
    path = centroids.with_name("steps")
    return [time_steps(dataset, path, n_rows) for _ in range(settings.n_repetitions)]


def _workers_table(rounds: list[_Round], counts: list[int], n_rows: int) -> Table:
    rows: list[tuple[int | Spread, ...]] = []
    for workers in counts:
        mine = [found for found in rounds if found.workers == workers]
        rows.append(
            (
                workers,
                Spread.of(found.null_rows_per_s for found in mine),
                Spread.of(found.steady_rows_per_s for found in mine),
                Spread.of(found.file_rows_per_s for found in mine),
                Spread.of(found.file_bytes_per_s / 1e6 for found in mine),
                Spread.of(found.disk_bytes_per_s / 1e6 for found in mine),
                Spread.of(found.share_of_disk for found in mine),
                Spread.of(found.direct_bytes_per_s and found.direct_bytes_per_s / 1e6 for found in mine),
                Spread.of(found.share_of_direct for found in mine),
                Spread.of(found.file_command_s for found in mine),
            )
        )
    columns = (
        "workers",
        "to /dev/null, rows/s",
        "steady, rows/s",
        "to a file, rows/s",
        "file MB/s",
        "disk MB/s",
        "file / disk",
        "directly MB/s",
        "file / directly",
        "whole command, s",
    )
    notes = (
        f"{n_rows:,} rows of {rounds[0].line_bytes:,} bytes; start of the workers included, that of the "
        "first process only in the last column",
        "steady: the difference to a job of a tenth of the rows, so that starting does not count",
        "a file's rate ends when it is synced and published under its name with its manifest",
        "disk: the same bytes in blocks of the same size by one process, then fsync, next to each file",
        "directly: as that, past the page cache, in blocks of 8 MB",
    )
    return Table("generation by workers", columns, list(rows), notes)


def _steps_table(steps: list[dict[str, float]], floors: list[dict[str, float]], line_bytes: int) -> Table:
    sums = [sum(step.values()) for step in steps]
    rows: list[tuple[str | Spread, ...]] = [
        (
            name,
            Spread.of(step[name] for step in steps),
            _core_rate(step[name] for step in steps),
            Spread.of(floor.get(name) for floor in floors),
            NAMES.get(name, ""),
        )
        for name in STEPS
    ]
    rows.append(("all", Spread.of(sums), _core_rate(sums), "", ""))
    notes = (
        f"one process, CPU time (user and system), {DIMENSION} numbers and {line_bytes:,} bytes a row",
        "ids, contents and confidences are part of the first step, lines whole of the second",
    )
    columns = ("step", "CPU ns a number", "rows/s a core", "beside it, ns", "what that is")
    return Table("CPU time of generating, by step", columns, list(rows), notes)


def _core_rate(costs_ns: Any) -> Spread:
    return Spread.of(1e9 / (cost_ns * DIMENSION) if cost_ns else None for cost_ns in costs_ns)
