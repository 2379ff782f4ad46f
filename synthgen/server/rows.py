"""Rows of one group commit: new memories appended to their spaces, known ones replaced in place."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain

from synthgen.server.answers import now_us
from synthgen.server.requests import Memory
from synthgen.server.store import Space
from synthgen.server.texts import TextIndex
from synthgen.server.vectors import size_for

#: Rows of one INSERT. One statement for many rows costs a third less than one each, and gives the
#: interpreter lock back once instead of once a row; each length is prepared once and kept.
MAX_STATEMENT_ROWS = 64

_UPDATE = (
    "UPDATE memory SET confidence = ?, observed_at_us = ?, stored_at_us = ?, memory_type = ?, details = ?,"
    " content = ?, embedding = ? WHERE row = ?"
)


@cache
def _insert_statement(n_rows: int) -> str:
    columns = (
        "row, space, id, confidence, observed_at_us, stored_at_us, memory_type, details, content, embedding"
    )
    one = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    return f"INSERT INTO memory ({columns}) VALUES {', '.join([one] * n_rows)}"


@cache
def _probe_statement(n_ids: int) -> str:
    return f"SELECT id, row FROM memory WHERE space = ? AND id IN ({', '.join('?' * n_ids)})"


def insert_space(connection: sqlite3.Connection, name: str) -> Space:
    """Add a space to the database (durable with the transaction that it is in) and return it."""
    (number,) = connection.execute("SELECT ifnull(max(number), 0) + 1 FROM space").fetchone()
    space = Space(number, name, now_us())
    connection.execute(
        "INSERT INTO space (number, name, created_at_us) VALUES (?, ?, ?)",
        (space.number, space.name, space.created_at_us),
    )
    return space


class RowWriter:
    """Writes batches of memories, each as one durable transaction."""

    def __init__(self, connection: sqlite3.Connection, texts: TextIndex) -> None:
        self._connection = connection
        self._texts = texts
        (self._change,) = connection.execute("SELECT ifnull(max(change), 0) FROM replaced").fetchone()

    def commit(self, memories: Sequence[Memory], spaces: dict[str, Space]) -> dict[int, int]:
        """Make ``memories`` durable, then bring ``spaces`` up to date.

        Returns the rows of known memories that were replaced, each with the number of that change: numbers
        ascend, also over restarts. Of two with the same space and id the later one counts. Raises
        sqlite3.Error, perhaps with the transaction still open; ``spaces`` is then unchanged.
        """
        groups: dict[str, dict[str, Memory]] = {}
        for memory in memories:
            groups.setdefault(memory.space, {})[memory.id] = memory
        if len(groups) == 1 and len(memories) <= MAX_STATEMENT_ROWS:
            ((name, group),) = groups.items()
            if name in spaces and self._append_at_once(spaces[name], list(group.values())):
                return {}
        return self._commit_groups(groups, spaces)

    def _append_at_once(self, space: Space, memories: list[Memory]) -> bool:
        """Commit new memories by one statement; return False, nothing done, if any is known.

        The usual case. One statement is a transaction of its own, so that the thread gives the
        interpreter lock back once for all of it, where a transaction in parts cost ten futex calls a
        memory under load.
        """
        try:
            self._append(space, memories)
        except sqlite3.IntegrityError:
            return False
        space.n_memories += len(memories)
        return True

    def _commit_groups(
        self, groups: dict[str, dict[str, Memory]], spaces: dict[str, Space]
    ) -> dict[int, int]:
        self._connection.execute("BEGIN IMMEDIATE")
        grown, replaced = [], dict[int, int]()
        for name, group in groups.items():
            space = spaces.get(name) or insert_space(self._connection, name)
            grown.append((space, self._write(space, list(group.values()), replaced)))
        self._connection.execute("COMMIT")
        for space, n_new in grown:
            space.n_memories += n_new
            spaces[space.name] = space
        return replaced

    def _write(self, space: Space, memories: list[Memory], replaced: dict[int, int]) -> int:
        """Write memories of distinct ids into one space; return how many were new, add the others' rows."""
        known: dict[str, int] = {}
        for part in _parts(memories):
            ids = [memory.id for memory in part]
            known.update(
                self._connection.execute(_probe_statement(len(ids)), (space.number, *ids)).fetchall()
            )
        if known:
            found = [(known[memory.id], memory) for memory in memories if memory.id in known]
            replaced.update(self._replace(space, found))
            memories = [memory for memory in memories if memory.id not in known]
        self._append(space, memories)
        return len(memories)

    def _append(self, space: Space, memories: list[Memory]) -> None:
        row = space.first_row + space.n_memories
        for part in _parts(memories):
            values = (
                (
                    row + index,
                    space.number,
                    memory.id,
                    memory.confidence,
                    *memory[4:8],
                    memory.content,
                    memory.embedding,
                )
                for index, memory in enumerate(part)
            )
            self._connection.execute(_insert_statement(len(part)), tuple(chain.from_iterable(values)))
            row += len(part)

    def _replace(self, space: Space, found: list[tuple[int, Memory]]) -> Iterator[tuple[int, int]]:
        """Replace memories; yield the row and the number of each change."""
        for row, memory in found:
            self._change += 1
            if size_for(space.n_memories) is not None:  # there is an index, or one under way
                self._connection.execute(
                    "INSERT OR REPLACE INTO replaced (row, change) VALUES (?, ?)", (row, self._change)
                )
            self._texts.replace(space, row, memory.content)
            self._connection.execute(
                _UPDATE, (memory.confidence, *memory[4:8], memory.content, memory.embedding, row)
            )
            yield row, self._change


def _parts(memories: Sequence[Memory]) -> Iterable[Sequence[Memory]]:
    for start in range(0, len(memories), MAX_STATEMENT_ROWS):
        yield memories[start : start + MAX_STATEMENT_ROWS]
