"""Databases as older versions of the schema had them."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

_STEPS = {
    2: """
        DROP TABLE memory_word;
        DROP TABLE memory_text;
        CREATE VIRTUAL TABLE memory_text USING fts5 (content, content='memory', content_rowid='row');
        INSERT INTO memory_text (memory_text) VALUES ('rebuild');
        ALTER TABLE vector_index DROP COLUMN wear;
    """,
    1: "DROP TABLE vector_index; DROP TABLE replaced;",
}


def take_back(database: Path, version: int) -> None:
    """Make ``database``, which no server has open, what it would be in an older version of the schema."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        for older in range(2, version - 1, -1):
            connection.executescript(f"BEGIN; {_STEPS[older]} PRAGMA user_version = {older}; COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
