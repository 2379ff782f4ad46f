"""How fast is each output format, to nowhere and to a file, beside vectors alone and beside zstd level 1?"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.alone import Rate, compress_alone, draw_alone
from bench.commands import run_synthgen, save_centroids
from bench.disk import remove, write_durably
from bench.settings import Settings
from bench.table import Cell, Result, Spread, Table
from synthgen.phases.datasets import builtin_model, make_dataset
from synthgen.runtime.memory import available_cores

_FORMATS = ("jsonl", "jsonl.zst", "parquet", "npy", "fbin")
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class _Found:
    """One repetition of one format of one law. ``steady_rows_per_s``: to nowhere, once all workers run."""

    law: str
    name: str
    steady_rows_per_s: float | None
    file_rows_per_s: float
    file_bytes: int
    disk_bytes_per_s: float
    vectors_rows_per_s: float
    zstd_rows_per_s: float
    zstd_bytes_a_row: float


def run(settings: Settings) -> Result:
    """Measure and return the tables."""
    n_rows = settings.rows_of(quick=30_000, normal=100_000, full=950_000)
    workers = max(settings.workers or [available_cores()])
    with settings.scratch() as folder:
        laws = {
            "isotropic": ("--centroids", str(save_centroids(folder)), "--std-dev", "0.1"),
            "fitted": (),
        }
        found = [
            one
            for repetition in range(settings.n_repetitions)
            for law, flags in laws.items()
            for one in _measure(folder, (law, flags), n_rows, workers, repetition)
        ]
    configuration = {**settings.to_document(), "rows": n_rows, "workers": workers, "formats": _FORMATS}
    tables = [_make_table(found, law, n_rows, workers) for law in laws]
    return Result("formats", configuration, tables, [vars(one) for one in found])


def _measure(
    folder: Path, law: tuple[str, tuple[str, ...]], n_rows: int, workers: int, repetition: int
) -> list[_Found]:
    name, flags = law
    model, parameters = (folder / "centroids.npy", {"std_dev": 0.1}) if flags else (builtin_model(), {})
    dataset = make_dataset(model, folder, count=n_rows, **parameters)
    vectors, zstd = draw_alone(dataset, workers), compress_alone(dataset, workers)
    order = _FORMATS if repetition % 2 == 0 else _FORMATS[::-1]
    return [_measure_format(folder, (name, flags, kind), n_rows, workers, (vectors, zstd)) for kind in order]


def _measure_format(
    folder: Path,
    case: tuple[str, tuple[str, ...], str],
    n_rows: int,
    workers: int,
    beside: tuple[Rate, Rate],
) -> _Found:
    law, flags, kind = case
    common = (*flags, "--format", kind, "--workers", str(workers))
    few, many = (
        run_synthgen("generate", *common, "--count", str(count), "--output", os.devnull).report["elapsed_s"]
        for count in (n_rows // 10, n_rows)
    )
    output = folder / f"rows.{kind}"
    report = run_synthgen("generate", *common, "--count", str(n_rows), "--output", output).report
    n_bytes = output.stat().st_size
    remove(output, *folder.glob("rows*.manifest.json"))
    disk_s = write_durably(folder / "probe", n_bytes, os.urandom(_BLOCK_BYTES))
    vectors, zstd = beside
    return _Found(
        law=law,
        name=kind,
        steady_rows_per_s=(n_rows - n_rows // 10) / (many - few) if many > few else None,
        file_rows_per_s=report["rows_per_s"],
        file_bytes=n_bytes,
        disk_bytes_per_s=n_bytes / disk_s,
        vectors_rows_per_s=vectors.rows_per_s,
        zstd_rows_per_s=zstd.rows_per_s,
        zstd_bytes_a_row=zstd.bytes_a_row,
    )


def _make_table(found: list[_Found], law: str, n_rows: int, workers: int) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for kind in _FORMATS:
        mine = [one for one in found if (one.law, one.name) == (law, kind)]
        rows.append((kind, *_cells(mine, n_rows)))
    one = next(one for one in found if one.law == law)
    notes = (
        f"{n_rows:,} rows, {workers} workers; to nowhere: /dev/null, the difference to a tenth of the rows",
        f"vectors alone: {one.vectors_rows_per_s:,.0f} rows/s, made by as many workers and thrown away",
        f"zstd level 1 alone, on the same lines: {one.zstd_rows_per_s:,.0f} rows/s, "
        f"{one.zstd_bytes_a_row:,.0f} bytes a row",
        "to a file: start of the workers, sync and manifest included; disk: as many bytes, synced",
    )
    columns = (
        "format",
        "bytes a row",
        "to nowhere, rows/s",
        "/ vectors alone",
        "/ zstd level 1",
        "to a file, rows/s",
        "file / disk",
    )
    return Table(f"output formats, {law} law", columns, rows, notes)


def _cells(mine: list[_Found], n_rows: int) -> tuple[Any, ...]:
    def ratio(one: _Found, rate: float) -> float | None:
        return one.steady_rows_per_s / rate if one.steady_rows_per_s else None

    return (
        mine[0].file_bytes / n_rows,
        Spread.of(one.steady_rows_per_s for one in mine),
        Spread.of(ratio(one, one.vectors_rows_per_s) for one in mine),
        Spread.of(ratio(one, one.zstd_rows_per_s) for one in mine),
        Spread.of(one.file_rows_per_s for one in mine),
        Spread.of(one.file_rows_per_s * one.file_bytes / n_rows / one.disk_bytes_per_s for one in mine),
    )
