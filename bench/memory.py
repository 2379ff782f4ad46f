"""How much memory does each part hold at its peak, and does that grow with the number of rows?"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from bench.commands import SAMPLE_INTERVAL_S, PeakSampler, generate, run_synthgen, save_centroids
from bench.disk import remove
from bench.settings import Settings
from bench.table import Cell, Result, Spread, Table
from synthgen.errors import EXIT_UNPROVEN
from synthgen.phases.embedded import EmbeddedServer

_PARTS = ("generate", "ingest", "verify", "server")


@dataclass(frozen=True)
class Peak:
    """The largest sum seen over a part's process tree, PSS in bytes, at so many rows."""

    part: str
    rows: int
    peak_bytes: int


def run(settings: Settings) -> Result:
    """Measure and return the table."""
    counts = row_counts(settings)
    with settings.scratch() as folder:
        centroids = save_centroids(folder)
        peaks = [
            peak
            for _ in range(settings.n_repetitions)
            for n_rows in counts
            for peak in _measure(folder, centroids, n_rows)
        ]
    configuration = {**settings.to_document(), "rows": counts, "sample_interval_s": SAMPLE_INTERVAL_S}
    return Result("memory", configuration, [_make_table(peaks, counts)], [vars(peak) for peak in peaks])


def row_counts(settings: Settings) -> list[int]:
    """Return the numbers of rows to try, smallest first."""
    if settings.rows is not None:
        return sorted({max(1, settings.rows // 10), settings.rows})
    by_scale = {"quick": [20_000, 60_000], "normal": [20_000, 200_000], "full": [20_000, 200_000, 950_000]}
    return by_scale[settings.scale]


def _measure(folder: Path, centroids: Path, n_rows: int) -> list[Peak]:
    rows_file, data_dir = folder / "rows.jsonl", folder / "server"
    ledger = folder / "ledger.jsonl"
    peaks = {"generate": generate(centroids, n_rows, rows_file, watch=True).peak_bytes}
    try:
        with EmbeddedServer(data_dir, folder / "server.log") as server, PeakSampler(server.pid) as sampler:
            named = ("--input", rows_file, "--endpoint", server.endpoint)
            flags = (*named, "--ledger", ledger, "--no-verify")
            sent = run_synthgen("ingest", *flags, allowed=(EXIT_UNPROVEN,), watch=True)
            peaks["ingest"] = sent.peak_bytes
            peaks["verify"] = run_synthgen("verify", *named, watch=True).peak_bytes
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
        remove(rows_file, folder / "rows.manifest.json", *folder.glob(f"*{ledger.name}*"))
    peaks["server"] = sampler.peak_bytes
    return [Peak(part, n_rows, peaks[part]) for part in _PARTS]


def _make_table(peaks: list[Peak], counts: list[int]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for part in _PARTS:
        spreads = [
            Spread.of(p.peak_bytes / 1e6 for p in peaks if (p.part, p.rows) == (part, n_rows))
            for n_rows in counts
        ]
        least, most = spreads[0].median, spreads[-1].median
        rows.append((part, *spreads, most / least if most and least else None))
    columns = ("MB at the peak", *(f"{n_rows:,} rows" for n_rows in counts), "last / first")
    notes = (
        f"PSS of the whole process tree, sampled every {SAMPLE_INTERVAL_S:g} s: what is shorter is not seen",
        "server: during ingest and verify; at small counts a part may end before it holds all that it would",
    )
    return Table("peak memory", columns, rows, notes)
