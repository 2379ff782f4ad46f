"""Reading memories: pages of the listing in bounded pieces, single memories, and rows by key."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.server.answers import encode, time_of
from synthgen.server.store import Space, connect_reader
from synthgen.specs import EMBEDDING_DIMENSION

MAX_PAGE = 1_000
#: Memories encoded at a time: about 1 MB of JSON with embeddings, one millisecond of work.
PIECE_MEMORIES = 100

_BASIC = "row, id, content, confidence, observed_at_us"
#: Rows of a JSON array: one statement, so one look at the log, for all of them.
_AMONG = "row IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the listing that was asked for; ``n_memories`` is the count of the space by then."""

    space: Space | None
    n_memories: int
    offset: int
    limit: int
    include_embeddings: bool
    tier: str
    #: By how much tier_counts are too high; never without quirks.
    n_overstated: int = 0

    @property
    def n_returned(self) -> int:
        """How many memories the page has; all are in the hot tier."""
        if self.tier not in ("hot", "all"):
            return 0
        return max(0, min(self.limit, self.n_memories - self.offset))

    @property
    def columns(self) -> str:
        """What is read of each memory."""
        return f"{_BASIC}, embedding" if self.include_embeddings else _BASIC


class Readers:
    """Connections that read, one a thread, opened when first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    def connection(self) -> sqlite3.Connection:
        """Return this thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect_reader(self._path)
            with self._lock:
                self._all.append(connection)
        return connection

    def close(self) -> None:
        """Close all of them; no thread may be reading."""
        for connection in self._all:
            connection.close()


def page_pieces(page: Page) -> Iterator[tuple[int, int]]:
    """Return the ordinals [start, stop) of the pieces in which a page is read; at least one piece."""
    stop = page.offset + page.n_returned
    yield page.offset, min(page.offset + PIECE_MEMORIES, stop)
    for start in range(page.offset + PIECE_MEMORIES, stop, PIECE_MEMORIES):
        yield start, min(start + PIECE_MEMORIES, stop)


def read_piece(readers: Readers, page: Page, start: int, stop: int) -> bytes:
    """Return the memories of ordinals [start, stop) as JSON objects with commas between them."""
    if page.space is None or start >= stop:
        return b""
    first_row = page.space.first_row
    rows = readers.connection().execute(
        f"SELECT {page.columns} FROM memory WHERE row >= ? AND row < ? ORDER BY row",
        (first_row + start, first_row + stop),
    )
    return encode_listed(rows.fetchall())


def page_head() -> bytes:
    """Return what comes before the first memory of a page."""
    return b'{"memories":['


def page_tail(page: Page) -> bytes:
    """Return what comes after the last memory of a page."""
    n_memories = page.n_memories + page.n_overstated
    tail = {
        "count": page.n_returned,
        "pagination": {"offset": page.offset, "limit": page.limit, "returned": page.n_returned},
        "tier_counts": {"hot": n_memories, "warm": 0, "cold": 0, "total": n_memories},
    }
    return b"]," + encode(tail)[1:]


def encode_listed(rows: Sequence[Sequence[Any]]) -> bytes:
    """Return ``rows``, each of ``Page.columns``, as JSON objects with commas between them."""
    return encode([_listed(row) for row in rows])[1:-1]


def _listed(row: Sequence[Any]) -> dict[str, Any]:
    memory = {"id": row[1], "content": row[2]}
    if len(row) > 5 and row[5] is not None:
        memory["embedding"] = np.frombuffer(row[5], np.float32)
    memory["confidence"] = row[3]
    memory["timestamp"] = time_of(row[4])
    return memory


def find_memory(readers: Readers, space: Space, memory_id: str) -> dict[str, Any] | None:
    """Return one memory as GET /memories/{id} shows it, or None."""
    row = (
        readers.connection()
        .execute(
            f"SELECT {_BASIC}, memory_type FROM memory WHERE space = ? AND id = ?", (space.number, memory_id)
        )
        .fetchone()
    )
    if row is None:
        return None
    return {
        "id": row[1],
        "content": row[2],
        "confidence": row[3],
        "timestamp": time_of(row[4]),
        "memory_type": row[5],
    }


def rows_by_key(readers: Readers, keys: Sequence[int]) -> dict[int, tuple[Any, ...]]:
    """Return (row, id, content, confidence, observed_at_us, memory_type, details) by row."""
    rows = readers.connection().execute(
        f"SELECT {_BASIC}, memory_type, details FROM memory WHERE {_AMONG}", (json.dumps(list(keys)),)
    )
    return {row[0]: row for row in rows.fetchall()}


def read_vectors(
    readers: Readers, space: Space, start: int, stop: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return rows (n,) and embeddings (n, 768) of the ordinals [start, stop) that have one, in order."""
    found = readers.connection().execute(
        "SELECT row, embedding FROM memory WHERE row >= ? AND row < ? AND embedding IS NOT NULL ORDER BY row",
        (space.first_row + start, space.first_row + stop),
    )
    return _as_arrays(found.fetchall())


def read_vectors_of(readers: Readers, rows: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return those of ``rows`` that have an embedding, (n,) ascending, and the embeddings (n, 768)."""
    found = readers.connection().execute(
        f"SELECT row, embedding FROM memory WHERE {_AMONG} AND embedding IS NOT NULL ORDER BY row",
        (json.dumps(list(rows)),),
    )
    return _as_arrays(found.fetchall())


def _as_arrays(found: list[tuple[int, bytes]]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    packed = b"".join([embedding for _, embedding in found])
    vectors = np.frombuffer(packed, np.float32).reshape(-1, EMBEDDING_DIMENSION)
    return np.array([row for row, _ in found], np.int64), vectors
