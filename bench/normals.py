"""Is the table of 16-bit normals harmless: beside exact normals, draw by draw and as neighbours see rows?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.commands import DIMENSION, N_CENTROIDS
from bench.comparison import N_SHUFFLES
from bench.draws import (
    N_MOMENTS,
    TAILS,
    Draws,
    draw_bytes,
    draw_exact,
    draw_table,
    expected_largest,
    measure_draws,
    measure_table,
    moment_errors,
    normal_moments,
    normal_tails,
    tail_errors,
)
from bench.laws import Vectors, embed
from bench.settings import Settings
from bench.table import Cell, Result, Table
from synthgen.errors import UsageError
from synthgen.fidelity.indexes import EF_SEARCH, N_PROBES
from synthgen.fidelity.measure import Subject, assemble, run_tasks
from synthgen.fidelity.sets import make_set
from synthgen.fidelity.vectors import MIN_ROWS
from synthgen.generate.dataset import Dataset
from synthgen.model.centroids import CentroidModel
from synthgen.runtime.memory import available_cores
from synthgen.runtime.progress import Progress, format_duration
from synthgen.specs import DEFAULT_SEED, DatasetSpec

#: Of the streams of draws; sets of rows have as many as there are repetitions, from the first one on.
SEEDS = (DEFAULT_SEED, DEFAULT_SEED + 1)
#: The default, whose noise is nearly all of a row, and one that leaves clusters apart.
STD_DEVS = (0.1, 0.03)
TABLE, EXACT = "table", "exact"
KEYS = (
    ("nn1", "cosine to the nearest row"),
    ("nn10", "to the 10th"),
    ("lid", "local intrinsic dimension"),
    ("hubness", "hubness (skewness)"),
    *((f"hnsw_{ef}", f"HNSW recall@10, ef {ef}") for ef in EF_SEARCH),
    *((f"ivf_{n}", f"IVF recall@10, {n} probes") for n in N_PROBES),
)
#: Draws of a projection are sums over 768 components: so many times fewer are made.
_FEWER = 200


@dataclass(frozen=True)
class Neighbours:
    """What neighbours and indexes see of rows of one law: ``values`` by statistic."""

    normals: str
    std_dev: float
    seed: int
    values: dict[str, float]


def run(settings: Settings) -> Result:
    """Measure draws and rows; raise UsageError (options, missing extra)."""
    n_draws = 10**6 if settings.scale == "quick" else 10**8
    n_rows = settings.rows_of(quick=2_000, normal=20_000, full=20_000)
    if n_rows < MIN_ROWS:
        raise UsageError(f"--rows must be at least {MIN_ROWS:,} for normals")
    seeds = range(DEFAULT_SEED, DEFAULT_SEED + max(2, settings.n_repetitions))
    draws = measure_all_draws(n_draws)
    found = measure_all_rows(n_rows, seeds)
    configuration = {
        **settings.to_document(),
        "draws": n_draws,
        "rows": n_rows,
        "seeds": list(seeds),
        "std_devs": list(STD_DEVS),
        "centroids": N_CENTROIDS,
        "dimension": DIMENSION,
        "shuffles": N_SHUFFLES,
    }
    tables = [draws_table(draws), *(rows_table(found, std_dev, n_rows) for std_dev in STD_DEVS)]
    measurements: list[dict[str, Any]] = [*map(asdict, draws), *map(asdict, found)]
    return Result("normals", configuration, tables, measurements)


def measure_all_draws(n: int) -> list[Draws]:
    """Return all values of the table, then ``n`` draws of it and of numpy by two seeds each, then sums of
    the bytes that are the fitted law's isotropic noise.
    """
    sources = [
        (TABLE, draw_table, n),
        (EXACT, draw_exact, n),
        ("bytes", draw_bytes, max(1, n // _FEWER)),
    ]
    progress = Progress("normals", 2 * len(sources), "streams of draws")
    found = [measure_table("table, each value")]
    for name, source, n_draws in sources:
        for seed in SEEDS:
            found.append(measure_draws(f"{name}, seed {seed}", source, seed, n_draws))
            progress.update(progress.done + 1)
    progress.finish(f"{n:,} draws each in {format_duration(progress.elapsed_s)}")
    return found


def measure_all_rows(n_rows: int, seeds: Sequence[int]) -> list[Neighbours]:
    """Return what neighbours see of rows by the table and by exact normals, of each std-dev and seed."""
    wanted = [(kind, std_dev, seed) for std_dev in STD_DEVS for kind in (TABLE, EXACT) for seed in seeds]
    progress = Progress("normals", len(wanted), "sets of rows")
    found = []
    for kind, std_dev, seed in wanted:
        make = rows_by_table if kind == TABLE else rows_by_exact_normals
        found.append(Neighbours(kind, std_dev, seed, measure_rows(make(std_dev, seed, n_rows))))
        progress.update(len(found))
    progress.finish(f"{len(found)} sets of rows in {format_duration(progress.elapsed_s)}")
    return found


def rows_by_table(std_dev: float, seed: int, n_rows: int) -> Vectors:
    """Return rows of the isotropic law as the product makes them, (n, d) float32."""
    return embed(_dataset(std_dev, seed, n_rows), n_rows)


def rows_by_exact_normals(std_dev: float, seed: int, n_rows: int) -> Vectors:
    """Return rows of the same law by numpy's own normals, in float64: no table, and no grid, (n, d).

    Each around the centroid that the product chooses for it, so that clusters are equally large.
    """
    generator = np.random.default_rng([seed, 3])
    clusters = np.concatenate([b.clusters for b in _dataset(std_dev, seed, n_rows).blocks(0, n_rows)])
    rows = _centroids()[clusters] + std_dev * generator.standard_normal((n_rows, DIMENSION))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    exact: Vectors = rows.astype(np.float32)
    return exact


def _dataset(std_dev: float, seed: int, n_rows: int) -> Dataset:
    model = CentroidModel(_centroids())
    return Dataset(DatasetSpec(model.reference("bench"), n_rows, seed, std_dev=std_dev), model)


def _centroids() -> Vectors:
    """Return random directions: (100, 768) float32 of unit length."""
    centroids = np.random.default_rng(7).standard_normal((N_CENTROIDS, DIMENSION))
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    directions: Vectors = centroids.astype(np.float32)
    return directions


def measure_rows(rows: Vectors) -> dict[str, float]:
    """Return the statistics of KEYS; the same folds for all sets."""
    subject = Subject(make_set(rows), n_shuffles=N_SHUFFLES, seed=DEFAULT_SEED)
    tasks = subject.tasks()
    quiet = Progress("normals", len(tasks), "tasks", quiet=True)
    results = run_tasks(list(tasks.values()), available_cores(), quiet)
    values = assemble(subject, dict(zip(tasks, results, strict=True))).values
    return {key: values[key] for key, _ in KEYS}


def draws_table(draws: Sequence[Draws]) -> Table:
    """Return a line for each statistic, a column for each source."""
    n = max(each.n for each in draws)
    normal = (*normal_moments(), *normal_tails())
    errors = (*moment_errors(n), *tail_errors(n))
    names = [f"mean of x^{k}" for k in range(1, N_MOMENTS + 1)] + [f"share beyond {tail:g}" for tail in TAILS]
    rows: list[tuple[Cell, ...]] = [
        ("KS distance", "0", f"{0.828 / np.sqrt(n):.2e}", *(f"{each.ks:.2e}" for each in draws)),
        ("  larger by chance", "", "0.50", *(f"{each.ks_p:.2f}" if each.n else "-" for each in draws)),
    ]
    for place, name in enumerate(names):
        cells = (f"{(*each.moments, *each.tails)[place]:.6g}" for each in draws)
        rows.append((name, f"{normal[place]:.6g}", f"{errors[place]:.1e}", *cells))
    sizes = (f"{each.largest:.2f}" for each in draws)
    rows.append(("largest in size", f"{expected_largest(n):.2f}", "", *sizes))
    for name, part in (("moments", slice(N_MOMENTS)), ("shares", slice(N_MOMENTS, None))):
        worst = (f"{max(map(abs, each.errors()[part])):.1f}" if each.n else "-" for each in draws)
        rows.append((f"{name}: furthest, in errors", "", "", *worst))
    notes = (
        f"{n:,} draws by the package's words and table, and of numpy.random; KS at the edges of 2^20 bins",
        "normal: what exact normals tend to; error: the standard error at so many draws, of KS and of the "
        "largest the median",
        "table, each value: all 65,536 once, so without noise: what any number of draws tends to. Its shares "
        f"are whole numbers of values, so up to {2 / 2**16:.1e} off",
        f"bytes: the fitted law's isotropic noise, {draws[-1].n:,} projections on random directions; their "
        f"errors are {np.sqrt(n / draws[-1].n):.0f} times as large. Its five normals a row are of the table",
    )
    columns = ("statistic", "normal", "error", *(each.source for each in draws))
    return Table("16-bit normals, draw by draw", columns, rows, notes)


def rows_table(found: Sequence[Neighbours], std_dev: float, n_rows: int) -> Table:
    """Return a line for each statistic of rows with ``std_dev``: both kinds, and what they differ by."""
    sets = [each for each in found if each.std_dev == std_dev]
    rows: list[tuple[Cell, ...]] = []
    for key, name in KEYS:
        table, exact = (
            [each.values[key] for each in sets if each.normals == kind] for kind in (TABLE, EXACT)
        )
        difference, error = difference_of_means(table, exact)
        ratio = f"{difference / error:+.1f}" if error else "-"
        means = (f"{np.mean(values):.4f}" for values in (table, exact))
        rows.append((name, *means, f"{difference:+.4f}", f"{error:.4f}", ratio))
    columns = (f"std-dev {std_dev:g}", TABLE, EXACT, "difference", "error", "in errors")
    notes = (
        f"{n_rows:,} rows of {DIMENSION} components around {N_CENTROIDS} random directions; means of "
        f"{len(sets) // 2} seeds each. Rows of one seed lie around the same centroids, whatever the normals",
        "error: standard error of the difference, from what sets of one kind differ by among themselves; of "
        f"{len(KEYS)} lines without any difference, one is beyond 2 by chance, more often with few seeds",
        f"recalls: mean of {N_SHUFFLES} shuffles of queries and insertion order, by faiss",
    )
    return Table("16-bit normals, as neighbours see rows", columns, rows, notes)


def difference_of_means(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Return the mean of ``a`` less that of ``b``, and its standard error, by the spread within each."""
    variances = (np.var(values, ddof=1) / len(values) for values in (a, b))
    return float(np.mean(a) - np.mean(b)), float(np.sqrt(sum(variances)))
