"""How is the embedded server to use at so many memories: storing, recalling, listing, starting again?"""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench.commands import run_synthgen
from bench.disk import remove
from bench.probes import KINDS, Probes, complete, first_right_s, make_probes, recall_by_kind, recall_rows
from bench.process import folder_bytes, status_bytes
from bench.served import Served
from bench.settings import Settings
from bench.table import Cell, Result, Spread, Table
from bench.vectorset import SHIFT
from synthgen.errors import EXIT_UNPROVEN, SynthgenError, UsageError
from synthgen.runtime.progress import Progress, format_duration

FEWEST_ROWS = 100
_LIST = "/api/v1/memories"
_CONNECTIONS = 20
_QUERIES, _EXACT_QUERIES, _COMPLETED, _WORDS, _PAGES = 200, 20, 20, 50, 11
_PAGE_ROWS = 1_000
#: Recalls are asked until all have been or so much time is over, but so many at least.
_ASK_S, _FEWEST_QUERIES = 120.0, 6
#: How long the index may take to catch up.
_SETTLE_S = 3_600.0

Figures = dict[str, float | None]


@dataclass(frozen=True)
class Stay:
    """One life of a database of ``rows`` memories: ``figures`` by name, None for what cannot be known."""

    rows: int
    figures: Figures


#: Names of figures, and what a reader is told.
FIGURES = {
    "start_s": "s from start to first answer, empty",
    "ingest_rows_per_s": f"memories/s stored, {_CONNECTIONS} connections",
    "ingest_p50_ms": "a store, ms p50",
    "ingest_p99_ms": "a store, ms p99",
    "lag": "index_lag after ingest",
    "zero_s": "s until index_lag is 0",
    "recall_p50_ms": "recall, ms p50",
    "recall_p99_ms": "recall, ms p99",
    "recall_law": "recall@10, queries of the law",
    "recall_shifted": "recall@10, shifted queries",
    "exact_p50_ms": "recall mode=exact, ms p50",
    "exact_p99_ms": "recall mode=exact, ms p99",
    "exact_law": "recall@10 mode=exact, law",
    "exact_shifted": "recall@10 mode=exact, shifted",
    "complete_p50_ms": "completion, half of a vector known, ms p50",
    "complete_max_ms": "completion, ms at most",
    "page_first_ms": "page of 1,000 at offset 0, ms",
    "page_last_ms": "page of 1,000 at the end, ms",
    "text_first_ms": "first text search, ms",
    "text_p50_ms": "text search, ms p50",
    "resident_bytes": "resident, MB",
    "resident_peak_bytes": "resident at the peak, MB",
    "killed_answer_s": "s to first answer after kill -9",
    "killed_right_s": "s to first right recall after kill -9",
    "stop_s": "s to stop",
    "disk_bytes_a_row": "bytes on disk a memory",
    "stopped_answer_s": "s to first answer after a stop",
    "stopped_right_s": "s to first right recall after a stop",
    "restarted_bytes": "resident after that, MB",
}


def run(settings: Settings) -> Result:
    """Measure all sizes and return the table; raise UsageError (options)."""
    sizes = sizes_of(settings)
    if min(sizes) < FEWEST_ROWS:
        raise UsageError(f"--rows must be at least {FEWEST_ROWS:,} for server")
    n_repetitions = settings.repetitions or 1
    progress = Progress("server", len(sizes) * n_repetitions, "databases")
    stays: list[Stay] = []
    with settings.scratch() as folder:
        for n_rows in sizes:
            probes = make_probes(n_rows, _QUERIES, _WORDS)
            for _ in range(n_repetitions):
                progress.update(len(stays), f"{n_rows:,} memories")
                stays.append(Stay(n_rows, live(folder, n_rows, probes)))
    progress.finish(f"{len(stays)} databases in {format_duration(progress.elapsed_s)}")
    configuration = {
        **settings.to_document(),
        "rows": sizes,
        "repetitions": n_repetitions,
        "connections": _CONNECTIONS,
    }
    return Result("server", configuration, [make_table(stays)], [asdict(stay) for stay in stays])


def sizes_of(settings: Settings) -> list[int]:
    """Return the numbers of memories to try, smallest first."""
    by_scale = {"quick": [2_000], "normal": [10_000, 100_000], "full": [10_000, 100_000, 1_000_000]}
    asked = settings.sizes or ((settings.rows,) if settings.rows else ())
    return sorted(set(asked)) or by_scale[settings.scale]


def live(folder: Path, n_rows: int, probes: Probes) -> Figures:
    """Fill a server, ask it, kill it, stop it; return all figures. Raises SynthgenError when it lost any."""
    data_dir = folder / "data"
    try:
        with Served(data_dir, folder / "server.log") as server:
            figures: Figures = {"start_s": server.start()}
            figures |= _ingest(server, folder, n_rows)
            figures |= _settle(server)
            figures |= _recall(server, probes, "recall", _QUERIES)
            figures |= _recall(server, probes, "exact", _EXACT_QUERIES, mode="exact")
            figures |= _complete(server, probes)
            figures |= _read(server, probes, n_rows)
            figures |= _resident(server)
            server.kill()
            figures |= _restart(server, probes, n_rows, "killed")
            figures["stop_s"] = server.stop()
            figures["disk_bytes_a_row"] = folder_bytes(data_dir) / n_rows
            figures |= _restart(server, probes, n_rows, "stopped")
            figures["restarted_bytes"] = status_bytes("VmRSS", server.pid)
            server.stop()
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
    return figures


def _ingest(server: Served, folder: Path, n_rows: int) -> Figures:
    """Generate a file as a user does, send it unproven, delete it."""
    rows_file, ledger = folder / "rows.jsonl", folder / "ledger.jsonl"
    run_synthgen("generate", "--count", str(n_rows), "--output", rows_file)
    flags = ("--endpoint", server.endpoint, "--ledger", ledger, "--concurrent", str(_CONNECTIONS))
    try:
        done = run_synthgen(
            "ingest", "--input", rows_file, *flags, "--no-verify", allowed=(EXIT_UNPROVEN,)
        ).report
    finally:
        remove(rows_file, folder / "rows.manifest.json", *folder.glob(f"*{ledger.name}*"))
    return {f"ingest_{name}": done[field] for name, field in _OF_INGEST.items()}


_OF_INGEST = {"rows_per_s": "rate_per_s", "p50_ms": "p50_ms", "p99_ms": "p99_ms"}


def _settle(server: Served) -> Figures:
    """Return how many memories wait for the vector index now, and how long they do; None where none says."""
    began_s = time.perf_counter()
    first = lag = server.get("/health")[1].get("index_lag")
    while lag and time.perf_counter() - began_s < _SETTLE_S:
        time.sleep(0.05)
        lag = server.get("/health")[1].get("index_lag")
    return {"lag": first, "zero_s": time.perf_counter() - began_s if lag == 0 else None}


def _recall(server: Served, probes: Probes, name: str, n_queries: int, **query: str) -> Figures:
    """Ask one query after the other; return latencies, and recalls by kind of query."""
    took_s: list[float] = []
    found: list[list[int]] = []
    for vector in probes.queries[:n_queries]:
        if len(found) >= _FEWEST_QUERIES and sum(took_s) > _ASK_S:
            break
        one_s, rows = recall_rows(server, vector, **query)
        took_s.append(one_s)
        found.append(rows)
    recalls = recall_by_kind(found, probes)
    return {
        f"{name}_queries": len(found),
        f"{name}_p50_ms": _percentile_ms(took_s, 50),
        f"{name}_p99_ms": _percentile_ms(took_s, 99),
        **{f"{name}_{kind}": recalls[kind] for kind in KINDS},
    }


def _complete(server: Served, probes: Probes) -> Figures:
    took_s = [complete(server, vector) for vector in probes.queries[:_COMPLETED]]
    return {"complete_p50_ms": _percentile_ms(took_s, 50), "complete_max_ms": _percentile_ms(took_s, 100)}


def _read(server: Served, probes: Probes, n_rows: int) -> Figures:
    """Page through both ends of the listing in turn, and search for words."""
    offsets = {"page_first_ms": 0, "page_last_ms": max(0, n_rows - _PAGE_ROWS)}
    pages_s: dict[str, list[float]] = {name: [] for name in offsets}
    for _ in range(_PAGES):
        for name, offset in offsets.items():
            page = {"offset": offset, "limit": _PAGE_ROWS, "include_embeddings": "true"}
            pages_s[name].append(server.get(_LIST, **page)[0])
    texts_s = [server.get(f"{_LIST}/search", query=word, limit=10)[0] for word in probes.words]
    return {
        **{name: _percentile_ms(took_s, 50) for name, took_s in pages_s.items()},
        "text_first_ms": texts_s[0] * 1e3,
        "text_p50_ms": _percentile_ms(texts_s[1:], 50),
    }


def _resident(server: Served) -> Figures:
    return {
        "resident_bytes": status_bytes("VmRSS", server.pid),
        "resident_peak_bytes": status_bytes("VmHWM", server.pid),
    }


def _restart(server: Served, probes: Probes, n_rows: int, after: str) -> Figures:
    """Start the server again; raise SynthgenError unless it has all memories."""
    answer_s = server.start()
    right_s = first_right_s(server, probes, _SETTLE_S)
    n_found = server.get(_LIST, limit=0)[1]["tier_counts"]["total"]
    if n_found != n_rows:
        raise SynthgenError(
            f"{after} and started again, it has {n_found:,} of {n_rows:,} acknowledged memories",
            where=server.endpoint,
        )
    return {f"{after}_answer_s": answer_s, f"{after}_right_s": right_s}


def _percentile_ms(took_s: list[float], percent: int) -> float:
    return float(np.percentile(took_s, percent)) * 1e3


def make_table(stays: list[Stay]) -> Table:
    """Return a line for each figure, a column for each size."""
    sizes = list(dict.fromkeys(stay.rows for stay in stays))
    rows: list[tuple[Cell, ...]] = [
        (
            what,
            *(_cell(name, [stay.figures[name] for stay in stays if stay.rows == n_rows]) for n_rows in sizes),
        )
        for name, what in FIGURES.items()
    ]
    asked = ", ".join(f"{_asked(stays, n_rows)} at {n_rows:,}" for n_rows in sizes)
    notes = (
        "rows of the fitted law from a generated file, one POST each, no proof; each durable before its 201",
        f"recalls by embedding, 10 memories, one persistent connection, once index_lag is 0; queries "
        f"({asked}) held out, every other one moved out of the law by {SHIFT:g}; recall@10 against comparing "
        "with all rows",
        "index_lag: asked for once the ingest command has ended; pages with embeddings; the first text "
        "search waits for all texts to be indexed",
        "killed once all this is done, then started, stopped, started; right: the first, the middle and the "
        "last row are each what their own vector recalls first; no memory is missing; the page cache is warm",
        "-: not known (the server tells no index_lag, or the system no resident size)",
    )
    return Table("the embedded server", ("what", *(f"{n_rows:,}" for n_rows in sizes)), rows, notes)


def _asked(stays: list[Stay], n_rows: int) -> str:
    figures = next(stay.figures for stay in stays if stay.rows == n_rows)
    return f"{figures['recall_queries']} and {figures['exact_queries']} exact"


def _cell(name: str, values: list[float | None]) -> Cell:
    if name.endswith(KINDS):
        known = [value for value in values if value is not None]
        return f"{np.mean(known):.3f}" if known else None
    scale = 1e6 if name.endswith("_bytes") else 1
    return Spread.of(None if value is None else value / scale for value in values)
