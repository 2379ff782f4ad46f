"""How the server is: health and metrics, all from memory, so that they answer when the disk does not."""

from __future__ import annotations

from typing import Any

from synthgen import __version__
from synthgen.server.answers import TEXT_HEADERS, Answer, json_answer, now_us, time_of
from synthgen.server.requests import check_space
from synthgen.server.state import State

_MICROSECONDS = 1_000_000


def _status(state: State) -> str:
    return "degraded" if state.writer.counts.last_error or state.indexer.last_error else "healthy"


def health(state: State) -> Answer:
    """Return the answer to GET /health; ``degraded``: the last commit, or work on an index, failed."""
    return json_answer(
        {
            "status": _status(state),
            "service": "engram",
            "version": __version__,
            "timestamp": time_of(now_us()),
            "server": f"synthgen/{__version__}",
            "database_id": state.database_id,
            "quirks": state.quirks.names,
            "index_lag": state.indexer.lag,
            "text_index_lag": state.writer.text_index_lag,
        }
    )


def system_health(state: State, space: str | None) -> Answer:
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
    store = {
        "name": "store",
        "type": "memory",
        "status": _status(state),
        "message": state.writer.counts.last_error or state.indexer.last_error,
    }
    return json_answer(
        {
            "status": _status(state),
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


def prometheus(state: State) -> Answer:
    """Return the answer to GET /metrics/prometheus."""
    lines = [f"synthgen_{name} {value:.15g}" for name, value in _figures(state).items()]
    lines += [
        f'synthgen_space_memories{{space="{space.name}"}} {space.n_memories}'
        for space in list(state.writer.spaces.values())
    ]
    return Answer(200, TEXT_HEADERS, ("\n".join(lines) + "\n").encode())
