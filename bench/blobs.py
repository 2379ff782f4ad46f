"""Vectors as blobs of an SQLite table: what is compared exactly, and what candidates are ranked again by."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np

from bench.nearest import Integers, Vectors, best_first

#: As the embedded server's: two vectors a page, little cache, since each page is read once.
_PAGE_BYTES = 8_192
_CACHE_KIB = 8_192
_BLOCK_ROWS = 2_048


class BlobStore:
    """Table ``memory (row INTEGER PRIMARY KEY, embedding BLOB)`` in ``path``, in WAL mode, durable."""

    def __init__(self, path: Path, dimension: int) -> None:
        self._dimension = dimension
        self._connection = sqlite3.connect(path, isolation_level=None)
        for setting in (
            f"page_size = {_PAGE_BYTES}",
            "journal_mode = WAL",
            "synchronous = FULL",
            f"cache_size = -{_CACHE_KIB}",
        ):
            self._connection.execute(f"PRAGMA {setting}")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS memory (row INTEGER PRIMARY KEY, embedding BLOB)"
        )

    def add(self, start: int, block: Vectors) -> None:
        """Store rows from ``start`` on, (n, d), as one transaction."""
        rows = ((start + place, vector.tobytes()) for place, vector in enumerate(block))
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT INTO memory VALUES (?, ?)", rows)
        self._connection.execute("COMMIT")

    def scan(self, query: Vectors) -> Integers:
        """Return the 10 rows nearest to ``query`` (d,), of all, by reading all of them."""
        rows, products = np.empty(0, np.int64), np.empty(0, np.float32)
        start = 0
        while True:
            read, block = self._read("row >= ? AND row < ?", (start, start + _BLOCK_ROWS))
            if not len(read):
                return rows
            together = np.concatenate((rows, read)), np.concatenate((products, block @ query))
            rows, products = _keep_best(*together)
            start += _BLOCK_ROWS

    def rank(self, query: Vectors, candidates: Integers) -> Integers:
        """Return the 10 of ``candidates`` (row numbers) that are nearest to ``query`` (d,), nearest first."""
        marks = ", ".join("?" * len(candidates))
        rows, vectors = self._read(f"row IN ({marks})", tuple(candidates.tolist()))
        return _keep_best(rows, vectors @ query)[0]

    def checkpoint(self) -> None:
        """Copy the log into the database, so that its file is all there is."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _read(self, condition: str, values: tuple[int, ...]) -> tuple[Integers, Vectors]:
        found = self._connection.execute(
            f"SELECT row, embedding FROM memory WHERE {condition} ORDER BY row", values
        ).fetchall()
        vectors = np.frombuffer(b"".join([blob for _, blob in found]), np.float32)
        return np.array([row for row, _ in found], np.int64), vectors.reshape(-1, self._dimension)


def _keep_best(rows: Integers, products: Vectors) -> tuple[Integers, Vectors]:
    best = best_first(products[None])[0]
    return rows[best], products[best]
