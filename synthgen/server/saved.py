"""Files of indexes of vectors, and what the database says of them: ``vector_index`` of store.py."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import xxhash

from synthgen.runtime.files import publish
from synthgen.server.covering import SpaceIndex
from synthgen.server.store import ORDINAL_BITS
from synthgen.server.vectors import VectorIndex
from synthgen.server.wear import Wear


def save_index(folder: Path, entry: SpaceIndex) -> Callable[[sqlite3.Connection], None]:
    """Write the index of ``entry`` to a file of its own, durably; return what makes the database name it.

    Until that is done the file before it counts. Raises OSError, or RuntimeError where faiss cannot write.
    """
    assert entry.index is not None
    with entry.lock:
        change, stale, n_covered = entry.last_change, list(entry.stale), entry.n_covered
    folder.mkdir(exist_ok=True)
    generation = entry.generation + 1
    path = _path(folder, entry.space.number, generation)
    partial = path.with_name(f".{path.name}.partial")
    try:
        entry.index.save(partial)
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        digest, n_bytes = _digest_of(partial), partial.stat().st_size
        publish(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    number, loose = entry.space.number, json.dumps(sorted(entry.index.loose))
    wear = json.dumps(asdict(entry.index.wear))

    def note(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "INSERT OR REPLACE INTO vector_index VALUES (?, ?, ?, ?, ?, ?, ?)",
            (number, generation, n_covered, loose, wear, n_bytes, digest),
        )
        _forget(connection, entry.space.first_row, change, stale)
        connection.execute("COMMIT")
        entry.generation, entry.n_saved, entry.change_saved = generation, n_covered, change

    return note


def _forget(connection: sqlite3.Connection, first_row: int, change: int, stale: Sequence[int]) -> None:
    """Forget what was replaced up to ``change``, but for what the file still holds as it was."""
    kept = [
        connection.execute(
            "SELECT row, change FROM replaced WHERE row = ?", (first_row + ordinal,)
        ).fetchone()
        for ordinal in stale
    ]
    connection.execute(
        "DELETE FROM replaced WHERE row >= ? AND row < ? AND change <= ?",
        (first_row, first_row + 2**ORDINAL_BITS, change),
    )
    connection.executemany("INSERT OR REPLACE INTO replaced VALUES (?, ?)", [pair for pair in kept if pair])


def load_index(connection: sqlite3.Connection, folder: Path, entry: SpaceIndex) -> None:
    """Give ``entry`` the index that was saved, where its file is whole."""
    space = entry.space
    found = connection.execute(
        "SELECT generation, n_covered, loose, wear, bytes, xxh3_128 FROM vector_index WHERE space = ?",
        (space.number,),
    ).fetchone()
    if found is None:
        return
    entry.generation, n_covered, loose, wear, n_bytes, digest = found
    path = _path(folder, space.number, entry.generation)
    with contextlib.suppress(OSError, RuntimeError):  # lost or damaged: it is made anew
        if path.stat().st_size != n_bytes or _digest_of(path) != digest:
            return
        if n_covered > space.n_memories:
            return
        entry.index = VectorIndex.load(path, json.loads(loose), Wear(**json.loads(wear)))
        entry.n_covered = entry.n_saved = n_covered
        replaced = connection.execute(
            "SELECT row, change FROM replaced WHERE row >= ? AND row < ?",
            (space.first_row, space.first_row + n_covered),
        ).fetchall()
        entry.stale = {row - space.first_row: change for row, change in replaced}
        entry.last_change = max(entry.stale.values(), default=0)


def delete_others(folder: Path, entries: Sequence[SpaceIndex]) -> None:
    """Delete the files in ``folder`` that no entry counts on."""
    kept = {_path(folder, entry.space.number, entry.generation) for entry in entries if entry.n_saved}
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path not in kept:
                path.unlink()


def _path(folder: Path, number: int, generation: int) -> Path:
    return folder / f"space-{number}-{generation}.faiss"


def _digest_of(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
