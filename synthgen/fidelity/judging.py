"""Judge a synthetic set against a real one: cut, measure, resample, compare.

    real, synthetic ──cut to n──> sets ─┬─> statistics (threads) ─> differences ─┐
                      real ──halves─────┴─> statistics (threads) ─> noise ───────┴─> FidelityReport

Memory: the arrays given, a float32 copy of each (and of the seed's recipe), at most 256 MB each, and for
each thread one fold with its index, about twice a set.

Deterministic: the same vectors, seed and versions of numpy and faiss on the same machine give the same
report, but for ``elapsed_s``; the number of threads changes nothing. Another machine may sum in another
order (SIMD width, BLAS), which shifts figures by float noise, and recalls by single neighbours.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import InputError, UsageError
from synthgen.fidelity.extras import need
from synthgen.fidelity.measure import Measured, Subject, Task, assemble, run_tasks
from synthgen.fidelity.mixing import fit_plane, measure_mixing
from synthgen.fidelity.recipe import make_recipe
from synthgen.fidelity.report import About, Charts, FidelityReport
from synthgen.fidelity.sets import VectorSet, make_set
from synthgen.fidelity.vectors import Vectors, check_vectors, row_limit
from synthgen.fidelity.verdict import STATISTICS, NoiseModel, compare, judge_statistic
from synthgen.runtime.memory import available_cores
from synthgen.runtime.progress import Progress, format_duration

NULL_HALF_ROWS = 5_000
#: Splits for what needs no index: cheap, and hubs and duplicates have heavy tails.
_MORE_SPLITS = 12
_MAP_ROWS = 3_000
#: Each shuffle of 50,000 rows costs three graphs of them, most of the time there is.
_MANY_SHUFFLES, _FEW_SHUFFLES, _MANY_SHUFFLES_ROWS = 3, 2, 30_000


@dataclass(frozen=True)
class JudgeOptions:
    """How thoroughly to judge. ``n_splits``: of real into halves (3 to 30); ``n_threads`` 0: one for each
    core; ``max_rows``: of each set; the names are what the report calls the sets.
    """

    n_splits: int = 6
    n_threads: int = 0
    max_rows: int = 50_000
    real_name: str = "real"
    synthetic_name: str = "synthetic"

    def __post_init__(self) -> None:
        if not 3 <= self.n_splits <= 30:
            raise UsageError(f"splits must be 3 to 30, not {self.n_splits}")
        if not 0 <= self.n_threads <= 256:
            raise UsageError(f"threads must be 0 to 256, not {self.n_threads}")


def judge(
    real: Vectors,
    synthetic: Vectors,
    *,
    seed: int = 42,
    n_shuffles: int | None = None,
    seeds_recipe: Vectors | None = None,
    quiet: bool = False,
    options: JudgeOptions | None = None,
) -> FidelityReport:
    """Judge whether an index sees in ``synthetic`` (m, d) what it sees in ``real`` (n, d), both float32.

    Both are cut to one size (at least 1,000 rows, at most 50,000 and 256 MB), at random by ``seed``;
    lengths are compared apart where they are not 1. Recalls are means over ``n_shuffles`` (1 to 10) shuffles
    of queries and insertion order: if None, 3, or 2 of sets above 30,000 rows, whose noise is less.
    ``seeds_recipe`` (k, d) is shown as the seed's recipe, else made here.
    Raises InputError (bad vectors, other dimensions), UsageError (options; a missing extra). Needs faiss.
    """
    started_s = time.monotonic()
    options = options or JudgeOptions()
    if n_shuffles is not None and not 1 <= n_shuffles <= 10:
        raise UsageError(f"shuffles must be 1 to 10, not {n_shuffles}")
    need("faiss")
    names = {"real": options.real_name, "synthetic": options.synthetic_name}
    sets = _cut(real, synthetic, names, options.max_rows, seed)
    recipe = _recipe(sets["real"], seeds_recipe, seed)
    if n_shuffles is None:
        n_shuffles = _MANY_SHUFFLES if len(recipe) <= _MANY_SHUFFLES_ROWS else _FEW_SHUFFLES
    subjects = _subjects(sets | {"recipe": recipe}, n_shuffles, seed)
    halves = _halves(subjects["real"], options.n_splits)
    measured, noise_model, mixing = _measure(subjects, halves, _threads(options), quiet)
    judged = [s for s in STATISTICS if s.key in measured["real"].n_used]
    n = len(subjects["real"])
    about = About(
        **{f"{key}_name": name for key, name in names.items()},
        n_rows=n,
        n_real_given=len(real),
        n_synthetic_given=len(synthetic),
        dimension=real.shape[1],
        seed=seed,
        n_shuffles=n_shuffles,
        n_splits=options.n_splits,
        n_half_rows=len(halves[0][0]),
        is_unit_length=not subjects["real"].length_unit,
        libraries={"faiss": need("faiss").__version__, "numpy": np.__version__},
        elapsed_s=time.monotonic() - started_s,
    )
    lines = tuple(judge_statistic(statistic, measured, noise_model, n) for statistic in judged)
    return FidelityReport(about, lines, mixing, _charts(subjects, measured, seed))


def _cut(
    real: Vectors, synthetic: Vectors, names: dict[str, str], max_rows: int, seed: int
) -> dict[str, VectorSet]:
    """Return both sets at one size, their rows chosen and ordered at random."""
    for name, vectors in ((names["real"], real), (names["synthetic"], synthetic)):
        check_vectors(vectors, name)
    if real.shape[1] != synthetic.shape[1]:
        raise InputError(
            f"has vectors of {synthetic.shape[1]:,} components, {names['real']} of {real.shape[1]:,}",
            where=names["synthetic"],
            next_step="compare sets of one embedding model",
        )
    n = min(len(real), len(synthetic), max_rows, row_limit(real.shape[1]))
    rng = np.random.default_rng([seed, 6])
    return {
        "real": make_set(real[rng.permutation(len(real))[:n]]),
        "synthetic": make_set(synthetic[rng.permutation(len(synthetic))[:n]]),
    }


def _recipe(real: VectorSet, given: Vectors | None, seed: int) -> VectorSet:
    if given is None:
        return make_set(make_recipe(real.directions, len(real), seed))
    check_vectors(given, "the seed's recipe")
    if given.shape[1] != real.directions.shape[1] or len(given) < len(real):
        raise InputError(
            f"has {given.shape} rows and components, {real.directions.shape} are needed",
            where="the seed's recipe",
        )
    return make_set(given[: len(real)])


def _subjects(sets: dict[str, VectorSet], n_shuffles: int, seed: int) -> dict[str, Subject]:
    all_unit = sets["real"].is_unit and sets["synthetic"].is_unit
    unit = 0.0 if all_unit else float(sets["real"].lengths.mean())
    subjects = {name: Subject(s, None, n_shuffles, seed, unit) for name, s in sets.items()}
    subjects["recipe"] = replace(subjects["recipe"], n_shuffles=1)  # a reference far off: one run shows it
    return subjects


def _halves(real: Subject, n_splits: int) -> list[tuple[Subject, Subject]]:
    """Return pairs of disjoint random parts of the real set, each of n/2 rows, or 5,000; indexes in some."""
    h = min(len(real) // 2, NULL_HALF_ROWS)
    pairs = []
    for split in range(max(n_splits, _MORE_SPLITS)):
        order = np.random.default_rng([real.seed, 7, split]).permutation(len(real))
        n_shuffles = real.n_shuffles if split < n_splits else 0
        a, b = (replace(real, rows=rows, n_shuffles=n_shuffles) for rows in (order[:h], order[h : 2 * h]))
        pairs.append((a, b))
    return pairs


def _threads(options: JudgeOptions) -> int:
    return options.n_threads or available_cores()


def _measure(
    subjects: dict[str, Subject], halves: list[tuple[Subject, Subject]], n_threads: int, quiet: bool
) -> tuple[dict[str, Measured], NoiseModel, dict[str, Any]]:
    """Run all tasks of all subjects, those of the large ones first, and put their results together."""
    queue = [*subjects.values(), *(half for pair in halves for half in pair)]
    named = [(i, name, task) for i, subject in enumerate(queue) for name, task in subject.tasks().items()]
    mixes = {name: subjects[name].vectors.directions for name in ("synthetic", "recipe")}
    measure = partial(measure_mixing, subjects["real"].vectors.directions, seed=subjects["real"].seed)
    mixing_tasks: list[Task] = [partial(measure, other) for other in mixes.values()]
    progress = Progress("fidelity", len(named) + len(mixing_tasks), "measurements", quiet=quiet)
    results = run_tasks([task for _, _, task in named] + mixing_tasks, n_threads, progress)
    progress.finish(f"{len(results)} measurements in {format_duration(progress.elapsed_s)}")
    by_subject: list[dict[str, Any]] = [{} for _ in queue]
    for (i, name, _), result in zip(named, results, strict=False):
        by_subject[i][name] = result
    done = [assemble(subject, found) for subject, found in zip(queue, by_subject, strict=True)]
    measured = dict(zip(subjects, done, strict=False))
    return measured, _noise(done[len(subjects) :]), dict(zip(mixes, results[len(named) :], strict=True))


def _noise(halves: list[Measured]) -> NoiseModel:
    differences = [compare(a, b) for a, b in zip(halves[::2], halves[1::2], strict=True)]
    by_key = {key: [each[key] for each in differences if key in each] for key in differences[0]}
    return NoiseModel(by_key, halves[0].n_used)


def _charts(subjects: dict[str, Subject], measured: dict[str, Measured], seed: int) -> Charts:
    plane = fit_plane(subjects["real"].vectors.directions, seed)
    maps = {name: plane.project(s.vectors.directions[:_MAP_ROWS]) for name, s in subjects.items()}
    samples: dict[str, dict[str, NDArray[Any]]] = {
        name: {**result.samples, "pairs": result.pairs.counts} for name, result in measured.items()
    }
    return Charts(samples, maps)
