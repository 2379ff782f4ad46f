"""The state of an unfinished file, append-only: a header line, then a line a chunk.

{"format_version": 1, "spec": {...}, "line_bytes": 7928}                          JSON lines
{"format_version": 1, "spec": {...}, "format": "parquet"}                          other formats
{"chunk": 12, "xxh3_128": "..."}                 its bytes are in the file
{"chunk": 12, "xxh3_128": "...", "bytes": [a, b]}     and there, where the format is packed
{"chunk": 12, "bytes": [a, b]}                   that is its place, but its bytes are not there
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen.formats.chunks import Digests, PackedPlaces, Places
from synthgen.formats.encoding import Encoding
from synthgen.specs import DatasetSpec, n_chunks

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Header:
    """What a file is made of: the ``spec``, the ``format``, and ``row_bytes`` (0: packed)."""

    spec: DatasetSpec
    format: str
    row_bytes: int

    @classmethod
    def of(cls, encoding: Encoding) -> Header:
        """Return the header of the journal of a file in ``encoding``."""
        return cls(encoding.spec, encoding.name, encoding.row_bytes)

    def to_document(self) -> dict[str, Any]:
        """Return the header as JSON; :meth:`from_document` reads it back."""
        document = {"format_version": FORMAT_VERSION, "spec": self.spec.to_document()}
        if self.format == "jsonl":
            return {**document, "line_bytes": self.row_bytes}
        return {**document, "format": self.format, "row_bytes": self.row_bytes}

    @classmethod
    def from_document(cls, document: Mapping[str, Any], where: str) -> Header:
        """Read what :meth:`to_document` wrote; raise InputError for a spec of another version."""
        spec = DatasetSpec.from_document(document["spec"], where=where)
        row_bytes = int(document.get("line_bytes") or document.get("row_bytes") or 0)
        return cls(spec, str(document.get("format", "jsonl")), row_bytes)


@dataclass(frozen=True)
class Entry:
    """What is known of a chunk: ``digest`` (empty: its bytes are not there) and, where told, ``place``."""

    chunk: int
    digest: str
    place: tuple[int, int] | None = None


class Journal:
    """An open journal."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab")

    @classmethod
    def restart(cls, path: Path, header: Header, digests: Digests, places: PackedPlaces | None) -> Journal:
        """Open a journal at ``path`` that holds a header and what is known, in place of what was there.

        ``places``: where chunks lie, if the header does not tell; those that it holds get a line each.
        """
        partial = path.with_name(f"{path.name}.new")
        partial.unlink(missing_ok=True)
        journal = cls(partial)
        journal._append(header.to_document())
        for chunk in range(n_chunks(header.spec.count) if places is None else len(places)):
            if digests[chunk] or places is not None:
                journal.add(Entry(chunk, digests[chunk], None if places is None else places[chunk]))
        partial.replace(path)
        return journal

    def add(self, entry: Entry) -> None:
        """Record what is known of a chunk."""
        document: dict[str, Any] = {"chunk": entry.chunk}
        if entry.digest:
            document["xxh3_128"] = entry.digest
        if entry.place is not None:
            document["bytes"] = list(entry.place)
        self._append(document)

    def close(self) -> None:
        """Close the journal's file."""
        self._file.close()

    def _append(self, document: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(document).encode() + b"\n")
        self._file.flush()


def read_header(path: Path) -> Header | None:
    """Return the header of the journal at ``path``; None when there is none."""
    try:
        with path.open("rb") as file:
            document = _parse(file.readline())
    except FileNotFoundError:
        return None
    return Header.from_document(document, str(path)) if "spec" in document else None


def read_entries(path: Path) -> Iterator[Entry]:
    """Yield the lines on chunks, in the order in which they were written; torn ones are left out."""
    with path.open("rb") as file:
        for line in file:
            document = _parse(line)
            if "chunk" in document:
                place = document.get("bytes")
                yield Entry(
                    int(document["chunk"]), str(document.get("xxh3_128", "")), tuple(place) if place else None
                )


def read_noted(journal: Path, n: int, places: Places) -> Digests:
    """Return the digests of the first ``n`` chunks that ``journal`` notes.

    Appends to ``places``, where they are packed, as long as each chunk begins where the one before ends.
    """
    digests = Digests(length=n)
    bounds = array("Q", bytes(16 * n)) if isinstance(places, PackedPlaces) else array("Q")
    for entry in read_entries(journal):
        if 0 <= entry.chunk < n:
            digests[entry.chunk] = entry.digest
            if bounds and entry.place is not None:
                bounds[2 * entry.chunk : 2 * entry.chunk + 2] = array("Q", entry.place)
    if isinstance(places, PackedPlaces):
        for start, stop in zip(bounds[::2], bounds[1::2], strict=True):
            if start != places.end or stop <= start:
                break
            places.append(stop - start)
    return digests


def _parse(line: bytes) -> dict[str, Any]:
    """Return the object of a line; an empty one for a torn line, as a kill leaves it."""
    try:
        document = json.loads(line) if line.endswith(b"\n") else {}
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
