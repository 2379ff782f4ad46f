"""How the server is: health and metrics, all from memory, so that they answer when the disk does not."""

from __future__ import annotations

import sqlite3
from typing import Any

from synthgen import __version__
from synthgen.server.answers import TEXT_HEADERS, Answer, json_answer, now_us, time_of
from synthgen.server.requests import check_space
from synthgen.server.state import State

_MICROSECONDS = 1_000_000
#: What the figures are.
_HELP = {
    "uptime_seconds": "Since the server was started.",
    "memories": "Memories in all spaces.",
    "memories_stored_total": "Memories stored since the start, those that replaced others among them.",
    "memories_failed_total": "Memories not stored since the start because a commit failed.",
    "commits_total": "Commits since the start, each synced to the disk.",
    "largest_commit_memories": "Memories in the largest commit since the start.",
    "index_lag_memories": "Memories that the index of vectors does not cover yet.",
    "text_index_lag_memories": "Memories that the index of words does not cover yet.",
    "disk_bytes": "Database, log and indexes.",
    "space_memories": "Memories in a space.",
}


#: How SQLite says that a file is damaged, or is no database: by its name for the result, and as what threads
#: keep of an error: Python has the class itself for these two alone, and others below it for all else.
_DAMAGE_NAMES = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
_DAMAGE_TEXT = "DatabaseError: "


def tells_damage(error: BaseException | None) -> bool:
    """Return whether SQLite says by ``error`` that the database is damaged."""
    name = getattr(error, "sqlite_errorname", "") if isinstance(error, sqlite3.Error) else ""
    return bool(name.startswith(_DAMAGE_NAMES))


def ruin_of(state: State) -> str:
    """Return why the store can no longer be trusted or used, as far as its threads know; empty if it can."""
    if not state.writer.is_alive:
        return "the thread that writes has ended"
    if state.writer.counts.ruin:
        return state.writer.counts.ruin
    return next((error for error in _errors(state) if error.startswith(_DAMAGE_TEXT)), "")


def _errors(state: State) -> tuple[str, ...]:
    counts = state.writer.counts
    return counts.last_error, counts.text_error, state.indexer.last_error


def _status(state: State, ruin: str) -> tuple[str, str]:
    """Return the word for how the store is, and what is wrong with it."""
    if ruin := ruin or ruin_of(state):
        return "unhealthy", ruin
    trouble = next(filter(None, _errors(state)), "")
    return ("degraded" if trouble else "healthy"), trouble


def health(state: State, ruin: str = "") -> Answer:
    """Return the answer to GET /health.

    ``degraded``: the last commit, or work on an index, failed, which may pass. ``unhealthy``, with a 503: the
    store is damaged, or nothing writes any more, and only people can help. ``ruin``: why, if that is known.
    """
    status, _ = _status(state, ruin)
    return json_answer(
        {
            "status": status,
            "service": "engram",
            "version": __version__,
            "timestamp": time_of(now_us()),
            "server": f"synthgen/{__version__}",
            "database_id": state.database_id,
            "quirks": state.quirks.names,
            "index_lag": state.indexer.lag,
            "text_index_lag": state.writer.text_index_lag,
        },
        503 if status == "unhealthy" else 200,
    )


def system_health(state: State, space: str | None, ruin: str = "") -> Answer:
    """Return the answer to GET /api/v1/system/health, of all spaces or of the named one."""
    if space is not None:
        check_space(space)
    spaces = [
        {
            "space": found.name,
            "memories": found.n_memories,
            "pressure": 0.0,
            "wal_lag_ms": 0.0,  # nothing is answered before the log is on the disk
            "consolidation_rate": 0.0,
        }
        for found in list(state.writer.spaces.values())
        if space in (None, found.name)
    ]
    status, trouble = _status(state, ruin)
    store = {"name": "store", "type": "memory", "status": status, "message": trouble}
    return json_answer(
        {
            "status": status,
            "timestamp": time_of(now_us()),
            "checks": [store],
            "spaces": spaces,
            "cluster": None,
        }
    )


def _figures(state: State) -> dict[str, float]:
    counts = state.writer.counts
    return {
        "uptime_seconds": (now_us() - state.started_at_us) / _MICROSECONDS,
        "memories": sum(space.n_memories for space in list(state.writer.spaces.values())),
        "memories_stored_total": counts.n_stored,
        "memories_failed_total": counts.n_failed,
        "commits_total": counts.n_commits,
        "largest_commit_memories": counts.largest_batch,
        "index_lag_memories": state.indexer.lag,
        "text_index_lag_memories": state.writer.text_index_lag,
        "disk_bytes": state.disk_bytes(),
    }


def metrics(state: State) -> Answer:
    """Return the answer to GET /metrics."""
    spaces: dict[str, Any] = {space.name: space.n_memories for space in list(state.writer.spaces.values())}
    return json_answer({"snapshot": {**_figures(state), "memories_by_space": spaces}, "export": {}})


def _described(name: str) -> list[str]:
    kind = "counter" if name.endswith("_total") else "gauge"
    return [f"# HELP synthgen_{name} {_HELP[name]}", f"# TYPE synthgen_{name} {kind}"]


def prometheus(state: State) -> Answer:
    """Return the answer to GET /metrics/prometheus: Prometheus' text format, version 0.0.4."""
    lines: list[str] = []
    for name, value in _figures(state).items():
        lines += [*_described(name), f"synthgen_{name} {value:.15g}"]
    lines += _described("space_memories")
    lines += [
        f'synthgen_space_memories{{space="{space.name}"}} {space.n_memories}'
        for space in list(state.writer.spaces.values())
    ]
    return Answer(200, TEXT_HEADERS, ("\n".join(lines) + "\n").encode())
