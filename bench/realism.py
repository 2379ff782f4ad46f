"""Which law of geometry makes what an index cannot tell from real vectors, at many times the size of its fit?

    real set ──split──┬── a tenth ──> each law ──> 9n rows ──┐
                      └── 9n rows that no law saw ───────────┴──> the same statistics, generated minus real

Statistics, folds and indexes are those of ``synthgen fidelity`` (synthgen/fidelity), for every law alike.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.comparison import FIT_QUANTILES, N_SHUFFLES, REAL_HALVES, Comparison, fit_key
from bench.laws import LAWS, Law
from bench.realism_table import make_table
from bench.recalls import Hnsw, choose_hnsw, int8_recall
from bench.settings import Settings
from bench.table import Result
from synthgen.errors import UsageError
from synthgen.fidelity import geometry, indexes
from synthgen.fidelity.measure import Measured, Subject, assemble, run_tasks
from synthgen.fidelity.sets import make_folds, make_set
from synthgen.fidelity.vectors import MIN_ROWS, Vectors, load_vectors
from synthgen.fidelity.verdict import compare
from synthgen.runtime.memory import available_cores
from synthgen.runtime.progress import Progress, format_duration
from synthgen.specs import DEFAULT_SEED
from synthgen.wiki.foundation import load_foundation

#: Rows generated, and compared, for each row of the fit.
RATIO = 9
FOUNDATION = "built-in foundation"


@dataclass(frozen=True)
class RealSet:
    """A real set under its name: ``directions`` (n, d) float32 of unit length."""

    name: str
    directions: Vectors


def run(settings: Settings) -> Result:
    """Compare all laws on each real set; raise UsageError (options, missing extra), InputError (files)."""
    max_rows = settings.rows_of(quick=2_000, normal=15_000, full=50_000)
    if max_rows < MIN_ROWS:
        raise UsageError(f"--rows must be at least {MIN_ROWS:,} for realism: a tenth of them is fitted")
    hnsw = choose_hnsw()
    sets = [load_foundation_set(max_rows)] if not settings.real else []
    sets += [load_set(path, max_rows) for path in settings.real]
    n_splits = settings.n_repetitions
    progress = Progress("realism", len(sets) * n_splits * (3 + len(LAWS)), "sets of rows measured")
    tables, measurements = [], []
    for real in sets:
        splits = [compare_laws(real, split, LAWS, hnsw, progress) for split in range(n_splits)]
        found = [comparison for split in splits for comparison in split]
        tables.append(make_table(found, real.directions.shape[1], hnsw.library))
        measurements += [comparison.to_document() for comparison in found]
    progress.finish(f"{progress.done} sets of rows measured in {format_duration(progress.elapsed_s)}")
    configuration = {**settings.to_document(), **describe(sets, hnsw, n_splits)}
    return Result("realism", configuration, tables, measurements)


def describe(sets: list[RealSet], hnsw: Hnsw, n_splits: int) -> dict[str, Any]:
    """Return what the figures rest on, as JSON."""
    return {
        "sets": [
            {"name": s.name, "rows": len(s.directions), "dimension": s.directions.shape[1]} for s in sets
        ],
        "ratio": RATIO,
        "seeds": [DEFAULT_SEED + split for split in range(n_splits)],
        "shuffles": N_SHUFFLES,
        "laws": {name: (law.__doc__ or "").partition("\n")[0] for name, law in LAWS.items()},
        "hnsw": {
            "library": hnsw.library,
            "M": indexes.HNSW_LINKS,
            "ef_construction": indexes.HNSW_EF_CONSTRUCTION,
            "ef": list(indexes.EF_SEARCH),
        },
    }


def load_foundation_set(max_rows: int) -> RealSet:
    """Return the built-in foundation, or ``max_rows`` of it at random."""
    steps = load_foundation()[1]
    rows = np.random.default_rng(DEFAULT_SEED).permutation(len(steps))[:max_rows]
    return RealSet(FOUNDATION, make_set(steps[np.sort(rows)].astype(np.float32)).directions)


def load_set(path: Path, max_rows: int) -> RealSet:
    """Return the vectors of a file, or ``max_rows`` of them at random, scaled to unit length."""
    return RealSet(path.name, make_set(load_vectors(path, max_rows=max_rows, seed=DEFAULT_SEED)).directions)


def compare_laws(
    real: RealSet, split: int, laws: Mapping[str, Law], hnsw: Hnsw, progress: Progress
) -> list[Comparison]:
    """Return each law against the rows that it never saw, and halves of these against each other.

    All that is random in ``split`` comes from the seed 42 + split.
    """
    seed = DEFAULT_SEED + split
    order = np.random.default_rng([seed, 8]).permutation(len(real.directions))
    n = len(order) // (RATIO + 1)
    fit, unseen = real.directions[order[:n]], real.directions[order[n : (RATIO + 1) * n]]

    def measure(name: str, rows: Vectors) -> Measured:
        progress.update(progress.done, f"{real.name}, split {split + 1}, {name}")
        measured = measure_rows(rows, fit, seed, hnsw)
        progress.update(progress.done + 1)
        return measured

    def record(name: str, a: Measured, b: Measured, n_rows: int, law_s: float) -> Comparison:
        values = (a.values, b.values, compare(a, b))
        return Comparison(real.name, split, seed, name, n, n_rows, *values, law_s)

    reference = measure("real", unseen)
    found = []
    for name, law in laws.items():
        started_s = time.perf_counter()
        rows = law(fit, len(unseen), seed)
        law_s = time.perf_counter() - started_s
        found.append(record(name, reference, measure(name, rows), len(rows), law_s))
    half = len(unseen) // 2
    a, b = (measure(REAL_HALVES, rows) for rows in (unseen[:half], unseen[half : 2 * half]))
    return [*found, record(REAL_HALVES, a, b, half, 0.0)]


def measure_rows(rows: Vectors, fit: Vectors, seed: int, hnsw: Hnsw) -> Measured:
    """Return all statistics of ``rows`` (m, d): those of the verdict, int8, and the cosines to the nearest
    row of ``fit`` (n, d) at each of FIT_QUANTILES.
    """
    subject = Subject(make_set(rows), None, N_SHUFFLES, seed, hnsw=hnsw.recalls)
    directions = subject.vectors.directions
    tasks = subject.tasks()
    tasks["int8"] = lambda: _measure_int8(directions, seed)
    tasks["fit"] = lambda: nearest_fit_quantiles(directions, fit)
    quiet = Progress("realism", len(tasks), "tasks", quiet=True)
    results = dict(zip(tasks, run_tasks(list(tasks.values()), available_cores(), quiet), strict=True))
    measured = assemble(subject, results)
    measured.values["int8"] = results["int8"]
    measured.values.update(zip(map(fit_key, FIT_QUANTILES), results["fit"].tolist(), strict=True))
    return measured


def _measure_int8(directions: Vectors, seed: int) -> float:
    fold = make_folds(len(directions), N_SHUFFLES, seed)[0]
    queries, base = directions[fold.queries], directions[fold.base]
    queries = queries[: indexes.MAX_QUANTISER_QUERIES]
    return int8_recall(queries, base, geometry.nearest(queries, base, indexes.K)[0][:, -1])


def nearest_fit_quantiles(rows: Vectors, fit: Vectors) -> NDArray[np.float64]:
    """Return the quantiles FIT_QUANTILES (4,) of the cosines of ``rows`` (m, d) to the nearest of ``fit``."""
    cosines = geometry.nearest(rows, fit, 1)[0][:, 0].astype(np.float64)
    return np.quantile(cosines, FIT_QUANTILES)
