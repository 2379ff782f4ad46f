"""How fast do memories reach a database, what does that cost each side, and how fast is the proof?"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.commands import Finished, generate, run_synthgen, save_centroids
from bench.settings import Settings
from bench.sink import running_sink
from bench.table import Cell, Result, Spread, Table
from synthgen.errors import EXIT_UNPROVEN
from synthgen.ingest import check_health
from synthgen.phases.embedded import EmbeddedServer
from synthgen.runtime.memory import tree_cpu_s

_CONNECTIONS = 20
#: How long the server may take to index what it has stored before the measurement goes on.
_SETTLE_S = 300.0


@dataclass(frozen=True)
class Way:
    """How the client is asked to send: groups (0: its own choice) and connections in all."""

    processes: int
    connections: int


@dataclass(frozen=True)
class Delivery:
    """One ingest into ``target`` (embedded, or sink); what only a database has is None for the sink."""

    target: str
    processes: int
    connections: int
    n_groups: int
    rows: int
    rows_per_s: float
    p50_ms: float
    p99_ms: float
    client_cpu_us: float
    command_s: float
    command_cpu_us: float
    server_cpu_us: float | None = None
    settle_s: float | None = None
    settled_server_cpu_us: float | None = None
    verified_rows_per_s: float | None = None
    verify_cpu_us: float | None = None


@dataclass(frozen=True)
class _Bench:
    """What all ingests share: a folder, the rows' file, and how many rows that is."""

    folder: Path
    rows_file: Path
    n_rows: int


def run(settings: Settings) -> Result:
    """Measure and return all tables."""
    n_rows = settings.rows_of(quick=10_000, normal=100_000, full=950_000)
    ways = [
        Way(processes, connections)
        for processes in settings.processes or (0,)
        for connections in settings.connections or (_CONNECTIONS,)
    ]
    with settings.scratch() as folder:
        rows_file = folder / "rows.jsonl"
        generate(save_centroids(folder), n_rows, rows_file)
        bench = _Bench(folder, rows_file, n_rows)
        found = [
            deliver
            for repetition in range(settings.n_repetitions)
            for way in ways
            for deliver in _both(bench, way, sink_first=repetition % 2 == 1)
        ]
    configuration = {**settings.to_document(), "rows": n_rows, "ways": [vars(way) for way in ways]}
    tables = [_sending_table(found, n_rows), _server_table(found)]
    return Result("delivery", configuration, tables, [vars(deliver) for deliver in found])


def _both(bench: _Bench, way: Way, *, sink_first: bool) -> list[Delivery]:
    """Measure both targets next to each other."""
    targets = [_into_sink, _into_embedded] if sink_first else [_into_embedded, _into_sink]
    return [measure(bench, way) for measure in targets]


def _into_sink(bench: _Bench, way: Way) -> Delivery:
    with running_sink() as endpoint:
        return Delivery("sink", **_sent(bench, way, _ingest(bench, way, endpoint)))


def _into_embedded(bench: _Bench, way: Way) -> Delivery:
    data_dir = bench.folder / "server"
    try:
        with EmbeddedServer(data_dir, bench.folder / "server.log") as server:
            before_s = tree_cpu_s(server.pid)
            done = _ingest(bench, way, server.endpoint)
            stored_s = tree_cpu_s(server.pid) - before_s
            settle_s = _settle(server.endpoint)
            settled_s = tree_cpu_s(server.pid) - before_s
            proof = run_synthgen("verify", "--input", bench.rows_file, "--endpoint", server.endpoint)
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
    a_row_us = 1e6 / bench.n_rows
    return Delivery(
        "embedded",
        **_sent(bench, way, done),
        server_cpu_us=stored_s * a_row_us,
        settle_s=settle_s,
        settled_server_cpu_us=settled_s * a_row_us,
        verified_rows_per_s=proof.report["n_expected"] / proof.report["elapsed_s"],
        verify_cpu_us=proof.cpu_s * a_row_us,
    )


def _ingest(bench: _Bench, way: Way, endpoint: str) -> Finished:
    """Send all rows, unproven; the ledger is a new one."""
    ledger = bench.folder / "ledger.jsonl"
    flags: list[str | Path] = [
        "--input",
        bench.rows_file,
        "--endpoint",
        endpoint,
        "--ledger",
        ledger,
        "--no-verify",
    ]
    flags += ["--processes", str(way.processes), "--concurrent", str(way.connections)]
    try:
        return run_synthgen("ingest", *flags, allowed=(EXIT_UNPROVEN,))
    finally:
        for path in bench.folder.glob(f"*{ledger.name}*"):
            path.unlink()


def _sent(bench: _Bench, way: Way, done: Finished) -> dict[str, Any]:
    report = done.report
    return {
        "processes": way.processes,
        "connections": way.connections,
        "n_groups": report["n_groups"],
        "rows": report["n_acked"],
        "rows_per_s": report["rate_per_s"],
        "p50_ms": report["p50_ms"],
        "p99_ms": report["p99_ms"],
        "client_cpu_us": report["client_cpu_us_per_memory"],
        "command_s": done.wall_s,
        "command_cpu_us": done.cpu_s * 1e6 / bench.n_rows,
    }


def _settle(endpoint: str) -> float:
    """Return after how many seconds nothing that is stored waits for an index any more."""
    started_s = time.perf_counter()
    while time.perf_counter() - started_s < _SETTLE_S:
        document = check_health(endpoint).document
        if not any(value for name, value in document.items() if name.endswith("_lag")):
            break
        time.sleep(0.05)
    return time.perf_counter() - started_s


def _sending_table(found: list[Delivery], n_rows: int) -> Table:
    names = ("rows_per_s", "p50_ms", "p99_ms", "client_cpu_us", "command_cpu_us")
    rows: list[tuple[Cell, ...]] = []
    for target, processes, connections in dict.fromkeys(map(_case, found)):
        mine = [one for one in found if _case(one) == (target, processes, connections)]
        spreads = (Spread.of(getattr(one, name) for one in mine) for name in names)
        rows.append((target, mine[0].n_groups, connections, *spreads))
    notes = (
        f"{n_rows:,} rows from a generated file, one POST each, no proof; embedded: durable before its 201",
        "sink: a socket that answers 201 and keeps nothing, on the same cores: the client's own limit",
        "client CPU: while sending, parent and groups; the whole command adds start-up and first checks",
    )
    columns = (
        "target",
        "groups",
        "connections",
        "memories/s",
        "p50 ms",
        "p99 ms",
        "client CPU us",
        "whole command CPU us",
    )
    return Table("delivery", columns, rows, notes)


def _case(one: Delivery) -> tuple[str, int, int]:
    return one.target, one.processes, one.connections


def _server_table(found: list[Delivery]) -> Table:
    stored = [one for one in found if one.target == "embedded"]
    rows: list[tuple[Cell, ...]] = [
        (what, Spread.of(getattr(one, name) for one in stored))
        for what, name in (
            ("server CPU us a memory, until the last 201", "server_cpu_us"),
            ("server CPU us a memory, until nothing waits for an index", "settled_server_cpu_us"),
            ("seconds from the last 201 until nothing waits for an index", "settle_s"),
            ("proof: memories verified a second", "verified_rows_per_s"),
            ("proof: client CPU us a memory, whole command", "verify_cpu_us"),
        )
    ]
    notes = ("all ways of sending together",) if len({_case(one) for one in stored}) > 1 else ()
    return Table("the embedded server, and the proof", ("what", "measured"), rows, notes)
