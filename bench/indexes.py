"""Which vector index should the embedded server use: how fast, how right, and how large is each?"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.candidates import CANDIDATES, n_lists
from bench.commands import run_command
from bench.index_trial import EXACT
from bench.settings import Settings
from bench.table import Cell, Result, Spread, Table
from bench.vectorset import BLOCK_ROWS, DIMENSION, KINDS, N_QUERIES, SHIFT, VectorSet, make_set
from synthgen.errors import SynthgenError, UsageError
from synthgen.fidelity.extras import INSTALL
from synthgen.runtime.progress import Progress, format_duration

#: Fewer rows have no lists worth the name, and 1,000 queries among them say little.
FEWEST_ROWS = 1_000
#: How a package that is missing gets here.
_INSTALL = {"faiss": INSTALL, "usearch": "pip install usearch"}
#: One thread, however a library makes them.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

Trial = dict[str, Any]


def run(settings: Settings) -> Result:
    """Try all indexes that can be had, or those asked for; raise UsageError (options)."""
    n_rows = settings.rows_of(quick=5_000, normal=100_000, full=1_000_000)
    if n_rows < FEWEST_ROWS:
        raise UsageError(f"--rows must be at least {FEWEST_ROWS:,} for indexes")
    names, missing = choose(settings.candidates)
    n_repetitions = settings.repetitions or 1
    with settings.scratch() as folder:
        vectors = make_set(folder, n_rows)
        trials = _try_all(vectors, names, n_repetitions)
    configuration = {
        **settings.to_document(),
        "rows": n_rows,
        "repetitions": n_repetitions,
        "queries": N_QUERIES,
        "dimension": DIMENSION,
        "lists": n_lists(n_rows),
        "missing": missing,
    }
    tables = [search_table(trials, n_rows), build_table(trials, n_rows, missing)]
    return Result("indexes", configuration, tables, trials)


def choose(wanted: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the names of what can be tried, the exact scan first, and a line for each that cannot.

    ``wanted`` are parts of names, of which one must be in a name (nothing: all). Raises UsageError where a
    part is in none.
    """
    parts = tuple(wanted) or ("",)
    for part in parts:
        if not any(part in candidate.name for candidate in CANDIDATES):
            known = ", ".join(candidate.name for candidate in CANDIDATES)
            raise UsageError(f"--candidates: no index is called {part!r}; there are {known}")
    names, missing = [EXACT], []
    for candidate in CANDIDATES:
        if not any(part in candidate.name for part in parts):
            continue
        if importlib.util.find_spec(candidate.package) is None:
            hint = f"{Path(sys.executable).name} -m {_INSTALL[candidate.package]}"
            missing.append(f"{candidate.name}: left out, {candidate.package} is not installed ({hint})")
        else:
            names.append(candidate.name)
    return names, missing


def _try_all(vectors: VectorSet, names: list[str], n_repetitions: int) -> list[Trial]:
    progress = Progress("indexes", len(names) * n_repetitions, "indexes")
    trials: list[Trial] = []
    for repetition in range(n_repetitions):
        for name in names:
            progress.update(len(trials), name)
            trials.append({"repetition": repetition, **try_index(vectors, name)})
        for path in vectors.folder.glob("blobs.db*"):
            path.unlink()
    progress.finish(f"{len(trials)} indexes in {format_duration(progress.elapsed_s)}")
    return trials


def try_index(vectors: VectorSet, name: str) -> Trial:
    """Return what an index came to in processes of its own: one that builds and saves it, one that loads it.

    The exact scan makes the table for all. Raises SynthgenError when the loaded one answers otherwise.
    """
    built = _run(vectors, name)
    if name == EXACT:
        return built
    loaded = _run(vectors, name, "loaded")
    if loaded.pop("answers") != built.pop("answers"):
        raise SynthgenError("the index answers otherwise once it is saved and loaded", where=name)
    return built | loaded


def _run(vectors: VectorSet, *arguments: str) -> Trial:
    command = [sys.executable, "-m", "bench.index_trial", str(vectors.folder.resolve()), str(vectors.n_rows)]
    return run_command(
        [*command, *arguments], folder=Path(__file__).parent.parent, environment=os.environ | _ONE_THREAD
    ).report


def search_table(trials: list[Trial], n_rows: int) -> Table:
    """Return a line for each index and effort."""
    rows: list[tuple[Cell, ...]] = []
    for mine in by_index(trials):
        for at, search in enumerate(mine[0]["searches"]):
            same = [trial["searches"][at] for trial in mine]
            times = (Spread.of(one[key] for one in same) for key in ("p50_ms", "p99_ms"))
            recalls = (_share(search[key]) for key in ("recall", *(f"recall_{kind}" for kind in KINDS)))
            rows.append((mine[0]["index"], search["effort"], *times, *recalls, search["n_queries"]))
    columns = ("index", "effort", "p50 ms", "p99 ms", "recall@10", *KINDS, "queries")
    notes = (
        f"{n_rows:,} vectors of {DIMENSION} components and unit length: articles of the foundation, and rows "
        f"of the fitted law; one query at a time, one thread",
        f"queries in turn: real (articles that are not stored), law (held out), shifted (the law's, moved by "
        f"{SHIFT:g}); asked for 30 s at most (the scan: 10 s)",
        "re-rank: so many candidates are read from the SQLite table and ordered by their float32 vectors, "
        "which the times include; recall@10 against comparing with all rows",
    )
    return Table("searching", columns, rows, notes)


def build_table(trials: list[Trial], n_rows: int, missing: list[str]) -> Table:
    """Return a line for each index: what it costs to have."""
    rows: list[tuple[Cell, ...]] = []
    for mine in by_index(trials):
        figures = (
            ("memory_bytes", n_rows),
            ("loaded_bytes", n_rows),
            ("disk_bytes", n_rows),
            ("train_s", 1),
            ("add_rows_per_s", 1),
            ("save_s", 1),
            ("load_s", 1),
        )
        spreads = (Spread.of(trial[key] / unit for trial in mine) for key, unit in figures)
        rows.append((mine[0]["index"], *spreads))
    columns = (
        "index",
        "memory B/vector",
        "loaded",
        "on disk",
        "training s",
        "adding, rows/s",
        "save s",
        "load s",
    )
    notes = (
        "each in a process of its own; memory: what the process has grown by once all rows are added "
        "(training leaves up to 30 MB of buffers behind), loaded: the same of one that loads the file",
        "on disk: bytes of the file a vector; of the exact scan, the table with the float32 vectors",
        f"adding: {BLOCK_ROWS:,} rows at a time, reading them not counted; the exact scan's: durable commits",
        "save: until it is on the disk; load: from the disk, where the system forgets what it has read",
        *missing,
    )
    return Table(f"building and keeping, {n_lists(n_rows):,} lists in an IVF", columns, rows, notes)


def by_index(trials: list[Trial]) -> list[list[Trial]]:
    """Return the trials of each index together, in their order."""
    names = dict.fromkeys(trial["index"] for trial in trials)
    return [[trial for trial in trials if trial["index"] == name] for name in names]


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"
