"""Search by text: an FTS5 index that follows the store, and the queries against it.

Indexing a memory with its commit would cost several times what it costs in pieces of some hundred,
so the writer does it afterwards; a search first waits until all that was stored before it is indexed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import unicodedata
from typing import Any

from synthgen.server.store import ORDINAL_BITS, TOKENIZER, Space

#: Memories indexed at a time: a few milliseconds, the longest that a commit has to wait for it.
PIECE_ROWS = 500
#: Words of a query that are looked for: each costs as much as the memories that it is in.
MAX_QUERY_WORDS = 64
#: Where there are more, the rarest of so many distinct ones: asking how rare a word is costs a tenth of
#: looking for it.
MAX_WEIGHED_WORDS = 1_024

#: FTS5 itself cuts a query into words, so that they are those of the index whatever the script.
_CUTTER = f"""
CREATE VIRTUAL TABLE cut USING fts5 (query, content='', tokenize='{TOKENIZER}');
CREATE VIRTUAL TABLE word USING fts5vocab (cut, instance);
"""


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


def words_of(query: str) -> list[str]:
    """Return the distinct words of ``query``, folded as the index folds them, in their order.

    Where marks are letters of their own in one form of a text and not in the other (NFC and NFD: が, ᾶ, 한),
    the words of both follow: memories are indexed as they were sent.
    """
    forms = dict.fromkeys((query, *(unicodedata.normalize(form, query) for form in ("NFC", "NFD"))))
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(_CUTTER)
        connection.execute("INSERT INTO cut (rowid, query) VALUES (1, ?)", ("\n".join(forms),))
        found = connection.execute("SELECT term FROM word GROUP BY term ORDER BY min(offset)")
        return [word for (word,) in found if word]  # an accent on its own is folded to nothing


def _choose_words(connection: sqlite3.Connection, query: str) -> list[str]:
    """Return the words of ``query`` to look for: all, or those that the fewest memories have."""
    words = words_of(query)
    if len(words) <= MAX_QUERY_WORDS:
        return words
    weighed = []
    for word in words[:MAX_WEIGHED_WORDS]:
        found = connection.execute("SELECT doc FROM memory_word WHERE term = ?", (word,)).fetchone()
        if found is not None:
            weighed.append((found[0], word))
    return [word for _, word in sorted(weighed)[:MAX_QUERY_WORDS]]


def search_texts(
    connection: sqlite3.Connection, space: Space, query: str, limit: int
) -> list[tuple[Any, ...]]:
    """Return the best ``limit`` memories of ``space`` for any of the words of ``query``, best first.

    Of a query of more than MAX_QUERY_WORDS words the rarest are looked for. Each memory is (row, rank), the
    rank being BM25 as FTS5 computes it: negative, lower is better. Equal ranks come in the order of the
    listing.
    """
    words = _choose_words(connection, query) if limit > 0 else []
    if not words:
        return []
    expression = " OR ".join(f'"{word}"' for word in words)
    return connection.execute(
        "SELECT rowid, bm25(memory_text) AS rank FROM memory_text"
        " WHERE memory_text MATCH ? AND rowid >= ? AND rowid < ? ORDER BY rank, rowid LIMIT ?",
        (expression, space.first_row, space.first_row + 2**ORDINAL_BITS, limit),
    ).fetchall()
