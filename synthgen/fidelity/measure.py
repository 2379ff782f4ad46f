"""All statistics of one set, as independent tasks that threads share, and their results put together."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.fidelity import geometry, indexes
from synthgen.fidelity.extras import need
from synthgen.fidelity.sets import VectorSet, make_folds, n_exact_duplicates, pick_rows
from synthgen.fidelity.student import t_quantile
from synthgen.fidelity.vectors import Vectors
from synthgen.runtime.progress import Progress

PAIR_ROWS = 7_000
HUB_ROWS = 7_000
DUPLICATE_ROWS = 20_000
NEIGHBOURS = (1, 10, 100)

Floats = NDArray[np.float64]
Task = Callable[[], Any]


@dataclass(frozen=True)
class Measured:
    """Statistics of a set. ``values`` by key (see verdict.STATISTICS), ``n_used``: the rows that each rests
    on; ``spreads``: half-widths of the 95% interval over shuffles, where there are several; ``samples``:
    what the charts draw: nn1, nn10, nn100, lid (one a query), occurrences, lengths (one a row); ``pairs``;
    ``clump_rows``: the size of a group of near-duplicates.
    """

    values: dict[str, float]
    n_used: dict[str, int]
    spreads: dict[str, float]
    samples: dict[str, NDArray[Any]]
    pairs: geometry.PairCosines
    clump_rows: float = 2.0


@dataclass(frozen=True)
class Subject:
    """A set to measure: the rows ``rows`` of ``vectors`` (None: all), taken when a task begins.

    With ``n_shuffles`` 0 only what needs no index and no held-out queries is measured.
    """

    vectors: VectorSet
    rows: NDArray[np.int64] | None = None
    n_shuffles: int = 3
    seed: int = 42
    #: What lengths are divided by, the mean length of real rows; 0 where all are unit length: not judged.
    length_unit: float = 0.0
    #: What measures HNSW at each of EF_SEARCH: faiss, or another library in its place.
    hnsw: indexes.RecallCurve = indexes.hnsw_recalls

    def __len__(self) -> int:
        return len(self.vectors) if self.rows is None else len(self.rows)

    def directions(self, rows: NDArray[np.int64]) -> Vectors:
        """Return the directions of these rows of the subject, copied."""
        return self.vectors.directions[rows if self.rows is None else self.rows[rows]]

    def lengths(self) -> Floats:
        """Return the lengths of the subject's rows in units of ``length_unit``."""
        lengths = self.vectors.lengths if self.rows is None else self.vectors.lengths[self.rows]
        return lengths / self.length_unit

    def tasks(self) -> dict[str, Task]:
        """Return what to compute, the longest first; see :func:`assemble`."""
        folds = range(self.n_shuffles)
        named: dict[str, Task] = {f"fold {i}": partial(self._measure_fold, i) for i in folds}
        named["graph"] = self._measure_graph
        named["pairs"] = lambda: geometry.count_pairs(self._sample(PAIR_ROWS))
        named["exact duplicates"] = lambda: n_exact_duplicates(self.directions(np.arange(len(self))))
        return named

    def _sample(self, n_rows: int) -> Vectors:
        return self.directions(pick_rows(len(self), n_rows, self.seed))

    def _measure_graph(self) -> GraphResult:
        rows = self._sample(DUPLICATE_ROWS)
        products, neighbours = geometry.nearest(rows, rows, geometry.HUB_NEIGHBOURS + 1)
        hubs = neighbours
        if len(rows) > HUB_ROWS:
            hubs = geometry.nearest(rows[:HUB_ROWS], rows[:HUB_ROWS], geometry.HUB_NEIGHBOURS + 1)[1]
        return GraphResult(
            geometry.near_duplicate_share(products),
            geometry.clump_size(products, neighbours),
            geometry.count_occurrences(hubs),
        )

    def _measure_fold(self, number: int) -> FoldResult:
        fold = make_folds(len(self), self.n_shuffles, self.seed)[number]
        queries, base = self.directions(fold.queries), self.directions(fold.base)
        cosines, _ = geometry.nearest(queries, base, geometry.LID_NEIGHBOURS)
        tenth = cosines[:, indexes.K - 1]
        return FoldResult(
            cosines[:, [k - 1 for k in NEIGHBOURS]],
            geometry.local_dimension(cosines),
            self.hnsw(queries, base, tenth),
            indexes.ivf_recalls(queries, base, tenth),
            indexes.pq_recall(queries, base, tenth) if number == 0 else float("nan"),
        )


@dataclass(frozen=True)
class FoldResult:
    """One shuffle: cosines (q, 3) to the 1st, 10th, 100th neighbour, LID (q,), recalls at each setting."""

    cosines: Vectors
    dimensions: Floats
    hnsw: Floats
    ivf: Floats
    pq: float


@dataclass(frozen=True)
class GraphResult:
    """Rows among themselves: share of near-duplicates, rows in a group of such, and how often each row (fewer
    of them) is a neighbour.
    """

    near_duplicates: float
    clump_rows: float
    occurrences: NDArray[np.int64]


def assemble(subject: Subject, results: dict[str, Any]) -> Measured:
    """Put the results of :meth:`Subject.tasks` together."""
    n = len(subject)
    pairs: geometry.PairCosines = results["pairs"]
    graph: GraphResult = results["graph"]
    made = Measured({}, {}, {}, {"occurrences": graph.occurrences}, pairs, graph.clump_rows)
    made.values["pair_mean"], made.values["pair_sd"] = pairs.mean, pairs.sd
    made.values["pair_p99"] = pairs.quantile(0.99)
    made.n_used.update(dict.fromkeys(("pair_mean", "pair_sd", "pair_p99", "pair_w1"), min(n, PAIR_ROWS)))
    made.values["hubness"] = geometry.skewness(graph.occurrences)
    made.values["near_duplicates"] = graph.near_duplicates
    made.values["exact_duplicates"] = results["exact duplicates"] / n
    made.n_used.update(hubness=min(n, HUB_ROWS), near_duplicates=min(n, DUPLICATE_ROWS), exact_duplicates=n)
    if subject.length_unit:
        _add_lengths(made, subject.lengths())
    if subject.n_shuffles:
        _add_folds(made, [results[f"fold {i}"] for i in range(subject.n_shuffles)])
    return made


def _add_lengths(made: Measured, lengths: Floats) -> None:
    made.samples["lengths"] = lengths
    made.values.update(length_mean=float(lengths.mean()), length_sd=float(lengths.std()))
    made.n_used.update(dict.fromkeys(("length_mean", "length_sd", "length_w1"), len(lengths)))


def _add_folds(made: Measured, folds: list[FoldResult]) -> None:
    cosines = np.concatenate([fold.cosines for fold in folds])
    lids = np.concatenate([fold.dimensions for fold in folds])
    made.samples["lid"] = lids
    made.values["lid"] = float(np.nanmedian(lids)) if np.isfinite(lids).any() else float("nan")
    made.values["pq"] = folds[0].pq
    for i, k in enumerate(NEIGHBOURS):
        made.samples[f"nn{k}"] = cosines[:, i]
        made.values[f"nn{k}"] = float(cosines[:, i].mean(dtype=np.float64))
    recalls, spreads = _recalls(folds)
    made.values.update(recalls)
    made.spreads.update(spreads)
    made.n_used.update(dict.fromkeys([*recalls, "pq", "lid", *(f"nn{k}" for k in NEIGHBOURS)], len(lids)))


def _recalls(folds: list[FoldResult]) -> tuple[dict[str, float], dict[str, float]]:
    """Return mean recalls over shuffles, and the half-widths of their 95% intervals (Student's t)."""
    keys = [f"hnsw_{ef}" for ef in indexes.EF_SEARCH] + [f"ivf_{n}" for n in indexes.N_PROBES]
    table = np.array([[*fold.hnsw, *fold.ivf] for fold in folds])
    means = dict(zip(keys, table.mean(axis=0).tolist(), strict=True))
    if len(folds) < 2:
        return means, {}
    widths = t_quantile(len(folds) - 1, 0.95) * table.std(axis=0, ddof=1) / np.sqrt(len(folds))
    return means, dict(zip(keys, widths.tolist(), strict=True))


def run_tasks(tasks: list[Task], n_threads: int, progress: Progress) -> list[Any]:
    """Return the results of ``tasks`` in their order, computed by ``n_threads`` threads.

    faiss works outside the interpreter's lock; within a task it keeps to one thread, so that results do not
    depend on timing. The first exception ends the work.
    """
    faiss = need("faiss")
    with ThreadPoolExecutor(n_threads, "fidelity", lambda: faiss.omp_set_num_threads(1)) as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            pending: set[Future[Any]] = set(futures)
            while pending:
                done, pending = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                progress.update(len(tasks) - len(pending))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]
