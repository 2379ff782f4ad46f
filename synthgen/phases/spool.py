"""The memories of phase 1 on their way: lines that only grow, and a journal of how far the source was read.

    memories.jsonl   request bodies, in the order of the source
    journal.jsonl    {"rows": r, "bytes": b, "xxh3_128": d, "unit": u, "taken": k, ...}, a line a window

A line of the journal is written after the memories that it counts, so that a killed run goes on behind its
last line: whatever lies beyond is cut off, and made again (its embeddings are in the cache). What is damaged
is made again, from the last line on whose memories are whole by their digest.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import xxhash

from synthgen.errors import ResourceError
from synthgen.formats.real_memories import MemoryBlock, decode_memories, encode_memories
from synthgen.formats.source import INDEX_ROWS, LinesSource
from synthgen.runtime.files import FileLock, explain_os_errors
from synthgen.wiki.records import memory_id

MEMORIES_NAME = "memories.jsonl"
JOURNAL_NAME = "journal.jsonl"
LOCK_NAME = ".lock"
_FORMAT_VERSION = 1
#: Numbers up to this one are noted as bits (16 MB at most); page ids of the largest wiki are below it.
_MAX_BIT = 1 << 27
_BLOCK_ROWS = 1_000
_PIECE_BYTES = 1 << 22
_ID = re.compile(rb'\{"id":"' + memory_id("").encode() + rb'((?:[^"\\]|\\.)*)"')


class Place(NamedTuple):
    """How far a source was read: all outcomes of the units before ``unit``, and ``taken`` of that one."""

    unit: int = 0
    taken: int = 0


@dataclass(frozen=True)
class Progressed:
    """A line of the journal: memories, their bytes and the XXH3-128 of these, the place, pages left out by
    reason, and whether the source has ended there.
    """

    rows: int = 0
    n_bytes: int = 0
    digest: str = ""
    place: Place = field(default_factory=Place)
    skipped: Mapping[str, int] = field(default_factory=dict)
    ended: bool = False

    def encode(self) -> bytes:
        """Return the line."""
        document = {
            "rows": self.rows,
            "bytes": self.n_bytes,
            "xxh3_128": self.digest,
            "unit": self.place.unit,
            "taken": self.place.taken,
            "skipped": dict(self.skipped),
            "ended": self.ended,
        }
        return orjson.dumps(document) + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Progressed:
        """Read a line; raise ValueError, KeyError or TypeError where it is none."""
        at = orjson.loads(line)
        skipped = {str(reason): int(n) for reason, n in at["skipped"].items()}
        place = Place(int(at["unit"]), int(at["taken"]))
        return cls(int(at["rows"]), int(at["bytes"]), str(at["xxh3_128"]), place, skipped, bool(at["ended"]))


class SeenKeys:
    """The keys of articles so far: page ids as bits, other keys as 64 bits of hash."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self._hashes: set[int] = set()

    def add(self, key: str) -> bool:
        """Note ``key``; return whether it was not there."""
        if key.isascii() and key.isdigit() and len(key) < 10 and (number := int(key)) < _MAX_BIT:
            return self._add_number(number) if str(number) == key else self._add_hash(key)
        return self._add_hash(key)

    def _add_number(self, number: int) -> bool:
        byte, bit = number >> 3, 1 << (number & 7)
        if byte >= len(self._bits):
            self._bits.extend(bytes(max(byte + 1, 2 * len(self._bits)) - len(self._bits)))
        is_new = not self._bits[byte] & bit
        self._bits[byte] |= bit
        return is_new

    def _add_hash(self, key: str) -> bool:
        n_before = len(self._hashes)
        self._hashes.add(xxhash.xxh3_64_intdigest(key.encode("utf-8", "surrogatepass")))
        return len(self._hashes) > n_before


class Spool:
    """The memories of one source, made by one model, in ``folder``; a context, for one process at a time.

    ``identity`` (a JSON document) says what the memories depend on; a folder of another one is emptied.
    Raises ResourceError where another process works there, or the disk fails.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self.path = folder / MEMORIES_NAME
        self.at = Progressed()
        self.seen = SeenKeys()
        self.digest = xxhash.xxh3_128_hexdigest(json.dumps(identity, sort_keys=True).encode())
        self._head = orjson.dumps({"synthgen_spool": _FORMAT_VERSION, "digest": self.digest}) + b"\n"
        self._offsets = [0]
        self._hasher = xxhash.xxh3_128()
        self._lock = FileLock(folder / LOCK_NAME)

    def __enter__(self) -> Spool:
        with explain_os_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._lock.acquire():
                raise ResourceError(
                    f"another run (process {self._lock.holder()}) reads the same source",
                    where=str(self.folder),
                    next_step="wait for it, or stop it",
                )
            self._memories = self.path.open("ab")
            self._journal = (self.folder / JOURNAL_NAME).open("ab")
            self._recover()
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._memories, self._journal):
            with contextlib.suppress(OSError):  # of a disk that took nothing more: told of where it was met
                file.close()
        self._lock.remove()

    def append(self, block: MemoryBlock, place: Place, skipped: Mapping[str, int]) -> None:
        """Append the memories of ``block``, read up to ``place``; they are on the disk when it returns."""
        lines = encode_memories(block)
        with explain_os_errors(self.path):
            self._memories.writelines(line + b"\n" for line in lines)
            self._memories.flush()
            os.fsync(self._memories.fileno())
        rows, n_bytes = self._count(lines)
        self._note(Progressed(rows, n_bytes, self._hasher.hexdigest(), place, dict(skipped)))

    def end(self, place: Place, skipped: Mapping[str, int]) -> None:
        """Say that the source ends at ``place``."""
        self._note(replace(self.at, place=place, skipped=dict(skipped), ended=True))

    def source(self) -> LinesSource:
        """Return the memories that are there now, as rows to send; from any thread."""
        at = self.at  # once: another thread may append meanwhile
        offsets = self._offsets[: at.rows // INDEX_ROWS + 1]
        if at.rows % INDEX_ROWS:
            offsets.append(at.n_bytes)
        return LinesSource(self.path, at.rows, self.digest, tuple(offsets))

    def blocks(self, n_rows: int) -> Iterator[MemoryBlock]:
        """Yield the first ``n_rows`` memories by column; their title is their content's first line."""
        reader = self.source().open()
        try:
            for start in range(0, n_rows, _BLOCK_ROWS):
                yield decode_memories(reader.read(start, min(n_rows, start + _BLOCK_ROWS)))
        finally:
            reader.close()

    def _count(self, lines: Sequence[bytes]) -> tuple[int, int]:
        rows, n_bytes = self.at.rows, self.at.n_bytes
        for line in lines:
            self._hasher.update(line + b"\n")
            rows, n_bytes = rows + 1, n_bytes + len(line) + 1
            if rows % INDEX_ROWS == 0:
                self._offsets.append(n_bytes)
        return rows, n_bytes

    def _note(self, at: Progressed) -> None:
        """Write a line of the journal; only then may anybody send what it counts."""
        with explain_os_errors(self.folder / JOURNAL_NAME):
            self._journal.write(at.encode())
            self._journal.flush()
            os.fsync(self._journal.fileno())
        self.at = at

    def _recover(self) -> None:
        """Go on behind the last line of the journal whose memories are there, to the bit; else anew."""
        lines = (self.folder / JOURNAL_NAME).read_bytes().splitlines(keepends=True)
        found = _decode_whole(lines[1:]) if lines[:1] == [self._head] else []
        n_good = self._count_good(found)
        if n_good:
            self.at = found[n_good - 1]
            self._cut(self.at.n_bytes, sum(map(len, lines[: n_good + 1])))
            self._index()
            return
        self._empty()
        self._journal.write(self._head)
        self._journal.flush()

    def _count_good(self, found: Sequence[Progressed]) -> int:
        """Return how many lines of the journal, from the first on, tell of memories that are whole.

        The hasher is then that of these memories.
        """
        hasher, n_bytes = xxhash.xxh3_128(), 0
        with self.path.open("rb") as file:
            for number, at in enumerate(found):
                self._hasher = hasher.copy()  # of what was good so far
                while n_bytes < at.n_bytes and (data := file.read(min(_PIECE_BYTES, at.n_bytes - n_bytes))):
                    hasher.update(data)
                    n_bytes += len(data)
                if (n_bytes, hasher.hexdigest()) != (at.n_bytes, at.digest):
                    return number
        self._hasher = hasher
        return len(found)

    def _empty(self) -> None:
        # Ledgers of what was stored go, too: they must not speak for memories that are made anew.
        kept = {MEMORIES_NAME, JOURNAL_NAME, LOCK_NAME}
        for path in [path for path in self.folder.iterdir() if path.is_file() and path.name not in kept]:
            path.unlink()
        self._offsets, self.seen, self._hasher = [0], SeenKeys(), xxhash.xxh3_128()
        self._cut(0, 0)

    def _cut(self, memories_bytes: int, journal_bytes: int) -> None:
        self._memories.truncate(memories_bytes)
        self._journal.truncate(journal_bytes)

    def _index(self) -> None:
        """Find offsets and keys of the memories that are there, which are whole."""
        n_bytes = 0
        with self.path.open("rb") as file:
            for rows, line in enumerate(file, 1):
                n_bytes += len(line)
                named = _ID.match(line)
                assert named is not None, "encode_memories begins each so"
                self.seen.add(orjson.loads(b'"' + named[1] + b'"'))
                if rows % INDEX_ROWS == 0:
                    self._offsets.append(n_bytes)


def _decode_whole(lines: Sequence[bytes]) -> list[Progressed]:
    found = []
    for line in lines:
        try:
            found.append(Progressed.decode(line if line.endswith(b"\n") else b""))
        except (ValueError, KeyError, TypeError, AttributeError):
            break
    return found
