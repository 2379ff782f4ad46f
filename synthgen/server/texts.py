"""Search by text: an FTS5 index that follows the store, and the queries against it.

Indexing a memory with its commit would cost several times what it costs in pieces of some hundred,
so the writer does it afterwards; a search first waits until all that was stored before it is indexed.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Any

from synthgen.server.store import ORDINAL_BITS, Space

#: Memories indexed at a time: a few milliseconds, the longest that a commit has to wait for it.
PIECE_ROWS = 500
#: Words of a query that are looked for; the rest is left out.
MAX_QUERY_WORDS = 64

_WORD = re.compile(r"\w+")


class TextIndex:
    """Keeps ``memory_text`` in step with ``memory``; used by the writer's thread alone."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def advance(self, space: Space) -> None:
        """Index the next piece of ``space`` in a transaction of its own."""
        start = space.n_indexed
        stop = min(start + PIECE_ROWS, space.n_memories)
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(
            "INSERT INTO memory_text (rowid, content)"
            " SELECT row, content FROM memory WHERE row >= ? AND row < ?",
            (space.first_row + start, space.first_row + stop),
        )
        self._connection.execute("UPDATE space SET n_indexed = ? WHERE number = ?", (stop, space.number))
        self._connection.execute("COMMIT")
        space.n_indexed = stop

    def replace(self, space: Space, row: int, content: str) -> None:
        """Prepare the index for ``row`` to be given ``content``, within the caller's transaction."""
        if row - space.first_row >= space.n_indexed:
            return
        (old,) = self._connection.execute("SELECT content FROM memory WHERE row = ?", (row,)).fetchone()
        if old == content:
            return
        # An index without a copy of the text must be told the old text (FTS5, section 4.4.3).
        self._connection.execute(
            "INSERT INTO memory_text (memory_text, rowid, content) VALUES ('delete', ?, ?)", (row, old)
        )
        self._connection.execute("INSERT INTO memory_text (rowid, content) VALUES (?, ?)", (row, content))


def match_expression(query: str) -> str:
    """Return ``query`` as an FTS5 expression: any of its words, each quoted; empty without words."""
    words = _WORD.findall(query)[:MAX_QUERY_WORDS]
    return " OR ".join(f'"{word}"' for word in words)


def search_texts(
    connection: sqlite3.Connection, space: Space, query: str, limit: int
) -> list[tuple[Any, ...]]:
    """Return the best ``limit`` memories of ``space`` for the words of ``query``, best first.

    Each is (row, rank), the rank being BM25 as FTS5 computes it: negative, lower is better. Equal
    ranks come in the order of the listing.
    """
    expression = match_expression(query)
    if not expression or limit <= 0:
        return []
    return connection.execute(
        "SELECT rowid, bm25(memory_text) AS rank FROM memory_text"
        " WHERE memory_text MATCH ? AND rowid >= ? AND rowid < ? ORDER BY rank, rowid LIMIT ?",
        (expression, space.first_row, space.first_row + 2**ORDINAL_BITS, limit),
    ).fetchall()
