"""What does the shift of queries do: how far are they from the rows, and how hard to answer for an index?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.laws import Vectors, embed
from bench.recalls import Hnsw, choose_hnsw
from bench.settings import Settings
from bench.table import Cell, Result, Table
from synthgen.errors import UsageError
from synthgen.fidelity import geometry
from synthgen.fidelity.indexes import EF_SEARCH, HNSW_EF_CONSTRUCTION, HNSW_LINKS, K
from synthgen.phases.datasets import builtin_model, make_dataset
from synthgen.runtime.progress import Progress, format_duration
from synthgen.specs import DEFAULT_SEED

SHIFTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
SHOWN_EF = (10, 20, 80)
#: Fewer rows have no neighbourhoods worth a figure.
_FEWEST_ROWS = 1_000


@dataclass(frozen=True)
class Effect:
    """Queries of one ``shift``: mean cosines to the row's own place in the law (``kept``), to the nearest and
    the 10th nearest row, and of the 10 nearest rows among each other; recall@10 at each of SHOWN_EF.
    """

    shift: float
    kept: float
    nn1: float
    nn10: float
    among: float
    recalls: tuple[float, ...]


def run(settings: Settings) -> Result:
    """Measure queries of each shift against one dataset; raise UsageError (options, missing extra)."""
    n_rows = settings.rows_of(quick=4_000, normal=50_000, full=50_000)
    if n_rows < _FEWEST_ROWS:
        raise UsageError(f"--rows must be at least {_FEWEST_ROWS:,} for queries")
    n_queries = min(5_000, n_rows // 4)
    hnsw = choose_hnsw()
    progress = Progress("queries", len(SHIFTS), "shifts")
    base = _vectors(n_rows)
    unshifted = _vectors(n_queries, role="queries")
    effects = []
    for shift in SHIFTS:
        queries = _vectors(n_queries, role="queries", shift=shift)
        effects.append(measure(shift, queries, unshifted, base, hnsw))
        progress.update(len(effects))
    progress.finish(f"{len(effects)} shifts in {format_duration(progress.elapsed_s)}")
    configuration = {
        **settings.to_document(),
        "rows": n_rows,
        "queries": n_queries,
        "seed": DEFAULT_SEED,
        "hnsw": hnsw.library,
        "model": "built-in",
    }
    measurements: list[dict[str, Any]] = [{**asdict(effect), "ef": SHOWN_EF} for effect in effects]
    return Result(
        "queries", configuration, [make_table(effects, n_rows, n_queries, hnsw.library)], measurements
    )


def _vectors(n: int, **parameters: float | str) -> Vectors:
    """Return the first ``n`` rows or queries of the built-in model, of unit length, (n, d)."""
    dataset = make_dataset(builtin_model(), Path(), count=n, seed=DEFAULT_SEED, **parameters)
    rows = embed(dataset, n)
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def measure(shift: float, queries: Vectors, unshifted: Vectors, base: Vectors, hnsw: Hnsw) -> Effect:
    """Return what ``queries`` (q, d) are to the rows ``base`` (n, d), and to themselves without a shift."""
    cosines, rows = geometry.nearest(queries, base, K)
    recalls = hnsw.recalls(queries, base, cosines[:, -1])
    return Effect(
        shift=shift,
        kept=float(np.einsum("qd,qd->q", queries, unshifted).mean(dtype=np.float64)),
        nn1=float(cosines[:, 0].mean(dtype=np.float64)),
        nn10=float(cosines[:, -1].mean(dtype=np.float64)),
        among=float(np.mean([_mean_pair(base[found]) for found in rows])),
        recalls=tuple(float(recalls[EF_SEARCH.index(ef)]) for ef in SHOWN_EF),
    )


def _mean_pair(rows: Vectors) -> float:
    """Return the mean cosine of all pairs of ``rows`` (k, d): the square of their sum has each pair twice."""
    total = rows.sum(axis=0, dtype=np.float64)
    return (float(total @ total) - len(rows)) / (len(rows) * (len(rows) - 1))


def make_table(effects: list[Effect], n_rows: int, n_queries: int, hnsw: str) -> Table:
    """Return a line for each effect."""
    rows: list[tuple[Cell, ...]] = [
        (
            f"{effect.shift:g}",
            *(f"{cosine:.3f}" for cosine in (effect.kept, effect.nn1, effect.nn10, effect.among)),
            *(f"{recall:.3f}" for recall in effect.recalls),
        )
        for effect in effects
    ]
    columns = ("shift", "kept", "nn1", "nn10", "among 10", *(f"recall, ef {ef}" for ef in SHOWN_EF))
    notes = (
        f"{n_queries:,} queries of each shift, {n_rows:,} rows of the built-in model, seed {DEFAULT_SEED}",
        f"recall@10 of {hnsw}, M={HNSW_LINKS}, ef_construction={HNSW_EF_CONSTRUCTION}",
        "mean cosines: of a query to itself unshifted, to its nearest and 10th nearest row, and of its 10 "
        "nearest rows among each other",
    )
    return Table("what the shift of queries does", columns, rows, notes)
