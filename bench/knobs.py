"""What does each knob of the fitted law do to neighbours, and to the recall of an index?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.comparison import N_SHUFFLES
from bench.laws import embed
from bench.recalls import Hnsw, choose_hnsw
from bench.settings import Settings
from bench.table import Cell, Result, Table
from synthgen.errors import UsageError
from synthgen.fidelity import geometry
from synthgen.fidelity.indexes import EF_SEARCH, HNSW_EF_CONSTRUCTION, HNSW_LINKS, K
from synthgen.fidelity.measure import Task, run_tasks
from synthgen.fidelity.sets import Fold, make_folds
from synthgen.fidelity.vectors import MIN_ROWS, Vectors
from synthgen.phases.datasets import builtin_model, make_dataset
from synthgen.runtime.memory import available_cores
from synthgen.runtime.progress import Progress, format_duration
from synthgen.specs import DEFAULT_SEED, DatasetSpec

#: Values of each knob; those that a spec has by default are one dataset, the first.
KNOBS = {
    "tightness": (0.5, 1.0, 2.0),
    "zipf": (0.0, 0.5, 1.0),
    "near_duplicate_rate": (0.0, 0.01, 0.1),
    "outlier_rate": (0.0, 0.02, 0.2),
}
AS_FITTED = "as fitted"
SHOWN_EF = (10, 20, 80)


@dataclass(frozen=True)
class Effect:
    """What a dataset of ``flags`` is like; ``recalls`` are recall@10 at each of SHOWN_EF."""

    flags: str
    nn1: float
    lid: float
    near_duplicates: float
    recalls: tuple[float, ...]


def run(settings: Settings) -> Result:
    """Generate and measure all variants; raise UsageError (options, missing extra)."""
    n_rows = settings.rows_of(quick=4_000, normal=20_000, full=20_000)
    if n_rows < MIN_ROWS:
        raise UsageError(f"--rows must be at least {MIN_ROWS:,} for knobs")
    hnsw = choose_hnsw()
    wanted = list(variants())
    progress = Progress("knobs", len(wanted), "datasets")
    effects: list[Effect] = []
    for flags, parameters in wanted:
        progress.update(len(effects), flags)
        dataset = make_dataset(builtin_model(), Path(), count=n_rows, seed=DEFAULT_SEED, **parameters)
        effects.append(measure(flags, embed(dataset, n_rows), hnsw))
    progress.finish(f"{len(effects)} datasets in {format_duration(progress.elapsed_s)}")
    configuration = {
        **settings.to_document(),
        "rows": n_rows,
        "seed": DEFAULT_SEED,
        "shuffles": N_SHUFFLES,
        "hnsw": hnsw.library,
        "model": "built-in",
    }
    measurements: list[dict[str, Any]] = [{**asdict(effect), "ef": SHOWN_EF} for effect in effects]
    return Result("knobs", configuration, [make_table(effects, n_rows, hnsw.library)], measurements)


def variants() -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the flags and parameters of each dataset, that without flags first."""
    yield AS_FITTED, {}
    for name, values in KNOBS.items():
        for value in values:
            if value != getattr(DatasetSpec, name):
                yield f"--{name.replace('_', '-')} {value:g}", {name: value}


def measure(flags: str, rows: Vectors, hnsw: Hnsw) -> Effect:
    """Return neighbours, local dimension, near-duplicates and recall of ``rows`` (n, d), of unit length."""
    folds = make_folds(len(rows), N_SHUFFLES, DEFAULT_SEED)
    tasks: list[Task] = [partial(_measure_fold, rows, fold, hnsw) for fold in folds]
    tasks.append(lambda: geometry.near_duplicate_share(geometry.nearest(rows, rows, 2)[0]))
    quiet = Progress("knobs", len(tasks), "tasks", quiet=True)
    *found, near_duplicates = run_tasks(tasks, available_cores(), quiet)
    nn1, lid, *recalls = np.mean(found, axis=0).tolist()
    shown = tuple(recalls[EF_SEARCH.index(ef)] for ef in SHOWN_EF)
    return Effect(flags, nn1, lid, near_duplicates, shown)


def _measure_fold(rows: Vectors, fold: Fold, hnsw: Hnsw) -> list[float]:
    """Return the cosine to the nearest row, the median local dimension, and the recalls."""
    queries, base = rows[fold.queries], rows[fold.base]
    cosines, _ = geometry.nearest(queries, base, geometry.LID_NEIGHBOURS)
    lid = float(np.nanmedian(geometry.local_dimension(cosines)))
    return [float(cosines[:, 0].mean(dtype=np.float64)), lid, *hnsw.recalls(queries, base, cosines[:, K - 1])]


def make_table(effects: list[Effect], n_rows: int, hnsw: str) -> Table:
    """Return a line for each effect."""
    rows: list[tuple[Cell, ...]] = [
        (
            effect.flags,
            f"{effect.nn1:.3f}",
            f"{effect.lid:.1f}",
            f"{effect.near_duplicates:.2%}",
            *(f"{recall:.3f}" for recall in effect.recalls),
        )
        for effect in effects
    ]
    columns = ("flag", "nn1", "LID", "near-duplicates", *(f"recall, ef {ef}" for ef in SHOWN_EF))
    fold = make_folds(n_rows, N_SHUFFLES, DEFAULT_SEED)[0]
    defaults = ", ".join(
        f"--{name.replace('_', '-')} {getattr(DatasetSpec, name):g}"
        for name in KNOBS
        if getattr(DatasetSpec, name) is not None
    )
    notes = (
        f"{n_rows:,} rows of the built-in model, seed {DEFAULT_SEED}; as fitted: {defaults}",
        f"recall@10 of {hnsw}, M={HNSW_LINKS}, ef_construction={HNSW_EF_CONSTRUCTION}; mean of {N_SHUFFLES} "
        f"shuffles of queries and insertion order, {len(fold.queries):,} held-out queries each",
        "nn1: mean cosine to the nearest row; LID: median local intrinsic dimension (100 neighbours); "
        "near-duplicates: rows with another one at a cosine of 0.95 or more",
    )
    return Table("what the knobs of the fitted law do", columns, rows, notes)
