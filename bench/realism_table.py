"""What ``realism`` prints: a statistic a line, a law a column; cells are means over splits with spread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.comparison import (
    FIT_QUANTILES,
    MEMORISING_MARGIN,
    N_SHUFFLES,
    REAL_HALVES,
    Comparison,
    Splits,
    fit_key,
    gap_of_mean_curve,
    largest_gaps,
    memorises,
)
from bench.table import Cell, Table
from synthgen.fidelity.indexes import EF_SEARCH, HNSW_EF_CONSTRUCTION, HNSW_LINKS, N_PROBES
from synthgen.fidelity.measure import DUPLICATE_ROWS
from synthgen.fidelity.sets import make_folds

_HNSW = tuple(f"hnsw_{ef}" for ef in EF_SEARCH)
_IVF = tuple(f"ivf_{n}" for n in N_PROBES)


def mean_and_spread(values: Sequence[float], digits: int = 3, *, sign: bool = False) -> str:
    """Return ``+.012 ±.003``: mean and, of several, standard deviation; a dash where there is no number."""
    known = np.array([value for value in values if np.isfinite(value)])
    if not len(known):
        return "-"
    text = _number(float(known.mean()), digits, "+" if sign else "")
    return f"{text} ±{_number(float(known.std(ddof=1)), digits)}" if len(known) > 1 else text


def _number(value: float, digits: int, mark: str = "") -> str:
    text = f"{round(value, digits) + 0.0:{mark}.{digits}f}"  # + 0.0: no minus before zero
    return text.replace("0.", ".", 1) if digits and abs(round(value, digits)) < 1 else text


@dataclass(frozen=True)
class _Line:
    """A line: its cell for real rows, and for a law."""

    label: str
    real: Callable[[Splits], str]
    law: Callable[[Splits], str]


def _gap_lines(label: str, keys: Sequence[str]) -> tuple[_Line, _Line]:
    return (
        _Line(
            f"{label}, gap of the mean curve",
            lambda _: "",
            lambda splits: _number(gap_of_mean_curve(splits, keys), 3),
        ),
        _Line(
            f"{label}, mean of the splits' gaps",
            lambda _: "",
            lambda splits: mean_and_spread(largest_gaps(splits, keys)),
        ),
    )


def _difference_line(label: str, key: str) -> _Line:
    return _Line(
        label,
        lambda splits: mean_and_spread([split.real[key] for split in splits]),
        lambda splits: mean_and_spread([split.differences[key] for split in splits], sign=True),
    )


def _distance_line(label: str, key: str) -> _Line:
    return _Line(
        label,
        lambda _: "",
        lambda splits: mean_and_spread([split.differences[key] for split in splits]),
    )


def _percent_line(label: str, key: str, digits: int) -> _Line:
    def relative(split: Comparison) -> float:
        return 100 * split.differences[key] / abs(split.real[key]) if split.real[key] else float("nan")

    return _Line(
        label,
        lambda splits: mean_and_spread([split.real[key] for split in splits], digits),
        lambda splits: mean_and_spread([relative(split) for split in splits], 0, sign=True),
    )


def _share_line(label: str, key: str) -> _Line:
    return _Line(
        label,
        lambda splits: mean_and_spread([100 * split.real[key] for split in splits], 2),
        lambda splits: mean_and_spread([100 * split.generated[key] for split in splits], 2),
    )


_LINES = (
    *_gap_lines("HNSW", _HNSW),
    *(_difference_line(f"HNSW, ef {ef}", key) for ef, key in zip(EF_SEARCH, _HNSW, strict=True)),
    *_gap_lines("IVF", _IVF),
    _difference_line("PQ", "pq"),
    _difference_line("int8", "int8"),
    _difference_line("pair cosine, mean", "pair_mean"),
    _difference_line("pair cosine, sd", "pair_sd"),
    _distance_line("pair cosine, W1", "pair_w1"),
    *(_difference_line(f"cosine to neighbour {k} (nn{k})", f"nn{k}") for k in (1, 10, 100)),
    _percent_line("LID, %", "lid", 1),
    _percent_line("hubness, %", "hubness", 2),
    _share_line("near-duplicates, % of rows", "near_duplicates"),
    *(_difference_line(f"nearest fit row, {100 * share:g}%", fit_key(share)) for share in FIT_QUANTILES),
)


def make_table(comparisons: Splits, dimension: int, hnsw: str) -> Table:
    """Return the table of one real set of ``dimension`` components: all its laws on all its splits.

    ``hnsw`` names the library that made the graphs.
    """
    laws = dict.fromkeys(comparison.law for comparison in comparisons)
    by_law = {law: [each for each in comparisons if each.law == law] for law in laws}
    first, halves = next(iter(by_law.values())), by_law.get(REAL_HALVES, [])
    rows: list[tuple[Cell, ...]] = [
        (line.label, line.real(first), *(line.law(splits) for splits in by_law.values())) for line in _LINES
    ]
    flags = ("YES" if memorises(splits, halves) else "no" for splits in by_law.values())
    rows.append(("memorises", "", *flags))
    title = f"{first[0].real_set}: {first[0].n_rows:,} rows generated from {first[0].n_fit_rows:,}"
    columns = ("generated minus real", "real", *by_law)
    return Table(title, columns, rows, _notes(first, halves, dimension, hnsw))


def _notes(splits: Splits, halves: Splits, dimension: int, hnsw: str) -> tuple[str, ...]:
    n_rows, seeds = splits[0].n_rows, [split.seed for split in splits]
    fold = make_folds(n_rows, N_SHUFFLES, 0)[0]
    notes = [
        f"{dimension} dimensions; {_describe_seeds(seeds)}; real: rows that the fit never saw, as many as "
        "generated",
        f"recall@10: mean of {N_SHUFFLES} shuffles of queries and insertion order, {len(fold.queries):,} "
        f"other queries each, an index of the {len(fold.base):,} rows left",
        f"HNSW by {hnsw}, M={HNSW_LINKS}, ef_construction={HNSW_EF_CONSTRUCTION}; IVF, PQ, int8 by faiss",
        "gap: largest absolute difference over ef (HNSW) or nprobe (IVF); of recalls averaged over "
        "splits, or each split's own",
        f"near-duplicates: the shares themselves, no difference; rough below {DUPLICATE_ROWS:,} rows",
        "nearest fit row: quantiles of the cosine to it; above 0, rows are nearer to the fit than unseen "
        "real rows are",
        f"memorises: nearer at 95% or 99%, by more than {MEMORISING_MARGIN:g} and what real halves "
        "differ by at most",
    ]
    if halves:
        n_half = halves[0].n_rows
        notes.append(
            f"real halves: {n_half:,} unseen rows against {n_half:,} others: the noise, at half the size"
        )
    return tuple(notes)


def _describe_seeds(seeds: list[int]) -> str:
    if len(seeds) == 1:
        return f"one random split, seed {seeds[0]}"
    return f"mean and standard deviation over {len(seeds)} random splits, seeds {seeds[0]} to {seeds[-1]}"
