"""Row sources: memories as request bodies, from a function or from a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import orjson
import xxhash

from synthgen.errors import InputError
from synthgen.formats.jsonl import LineEncoder, LineLayout
from synthgen.formats.manifest import Manifest
from synthgen.formats.zstd import ZstdLines, decompress_frame
from synthgen.specs import CHUNK_ROWS, RowMaker, RowReader, RowSource, chunk_bounds

#: Rows between two offsets that a scan of a foreign file keeps.
INDEX_ROWS = 1_000
_SCAN_BYTES = 1 << 23
#: Largest line accepted from a foreign file; Engram takes bodies of 2 MB.
_LARGEST_LINE_BYTES = 1 << 24


@dataclass(frozen=True)
class EncodedSource:
    """The rows of a maker (a dataset, the built-in foundation), encoded where they are read: no file."""

    maker: RowMaker
    layout: LineLayout
    n_rows: int
    digest: str
    name: str

    def open(self) -> EncodedReader:
        """Open it in this process."""
        return EncodedReader(self.maker, LineEncoder(self.layout))


class EncodedReader:
    """Makes and encodes what is read; the same range gives the same bytes."""

    def __init__(self, maker: RowMaker, encoder: LineEncoder) -> None:
        self._maker = maker
        self._encoder = encoder

    def read(self, start: int, stop: int) -> Sequence[bytes]:
        """Return the bodies of rows [start, stop)."""
        width = self._encoder.layout.line_bytes
        bodies: list[bytes] = []
        for rows in self._maker.blocks(start, stop):
            data = self._encoder.encode(rows).tobytes()
            bodies += [data[at : at + width - 1] for at in range(0, len(data), width)]
        return bodies

    def close(self) -> None:
        """Hold nothing."""


@dataclass(frozen=True)
class DatasetFileSource:
    """A generated file of lines, compressed or not, with its manifest: rows by offset, each chunk checked
    against its digest.
    """

    path: Path
    manifest: Manifest

    @property
    def n_rows(self) -> int:
        """Rows of the dataset."""
        return self.manifest.spec.count

    @property
    def digest(self) -> str:
        """The spec's fingerprint: rows are a function of it."""
        return self.manifest.spec.fingerprint

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self.path)

    def open(self) -> DatasetFileReader:
        """Open it in this process."""
        return DatasetFileReader(self.path, self.manifest)


class DatasetFileReader:
    """Reads whole chunks, checks them, and keeps the last one."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self._path = path
        self._manifest = manifest
        self._descriptor = _open_file(path)
        self._chunk = -1
        self._data = b""

    def read(self, start: int, stop: int) -> Sequence[bytes]:
        """Return the bodies of rows [start, stop); raise InputError naming damaged rows and bytes."""
        width = self._manifest.line_bytes
        bodies: list[bytes] = []
        while start < stop:
            chunk = start // CHUNK_ROWS
            data = self._load(chunk)
            first, last = chunk * CHUNK_ROWS, min(stop, (chunk + 1) * CHUNK_ROWS)
            bodies += [data[i * width : (i + 1) * width - 1] for i in range(start - first, last - first)]
            start = last
        return bodies

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _load(self, chunk: int) -> bytes:
        if chunk != self._chunk:
            begin, end = self._manifest.byte_range(chunk)
            data = os.pread(self._descriptor, end - begin, begin)
            if xxhash.xxh3_128_hexdigest(data) != self._manifest.chunks[chunk]:
                first, last = chunk_bounds(chunk, self._manifest.spec.count)
                what = "end too early" if len(data) < end - begin else "are damaged"
                raise InputError(
                    f"rows {first:,} to {last - 1:,} (bytes {begin:,} to {end - 1:,}) {what}",
                    where=str(self._path),
                    next_step="make it again with the command that made it: only what is damaged is remade",
                )
            self._chunk, self._data = chunk, self._unpacked(chunk, data)
        return self._data

    def _unpacked(self, chunk: int, data: bytes) -> bytes:
        if self._manifest.format != ZstdLines.name:
            return data
        first, last = chunk_bounds(chunk, self._manifest.spec.count)
        return decompress_frame(data, (last - first) * self._manifest.line_bytes)


@dataclass(frozen=True)
class LinesSource:
    """A JSONL file of another tool's making: one pass finds its lines and its digest.

    ``offsets[i]`` is the byte at which row i x 1,000 begins. A line without an id gets one that depends on
    the file's digest and the row alone, since ids that a server makes up cannot be checked.
    """

    path: Path
    n_rows: int
    digest: str
    offsets: tuple[int, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self.path)

    def open(self) -> LinesReader:
        """Open it in this process."""
        return LinesReader(self)


class LinesReader:
    """Reads lines by number."""

    def __init__(self, source: LinesSource) -> None:
        self._source = source
        self._descriptor = _open_file(source.path)

    def read(self, start: int, stop: int) -> Sequence[bytes]:
        """Return the bodies of rows [start, stop)."""
        first = start // INDEX_ROWS
        last = -(-stop // INDEX_ROWS)
        begin, end = self._source.offsets[first], self._source.offsets[last]
        data = os.pread(self._descriptor, end - begin, begin)
        lines = [line for line in data.split(b"\n") if line.strip()]
        if len(data) < end - begin or len(lines) != min(last * INDEX_ROWS, self._source.n_rows) - (
            first * INDEX_ROWS
        ):
            raise InputError(
                f"changed while it was read, at rows {start:,} to {stop - 1:,} (bytes {begin:,} to {end:,})",
                where=str(self._source.path),
                next_step="run the command again when the file is at rest",
            )
        at = first * INDEX_ROWS
        return [self._with_id(lines[row - at], row) for row in range(start, stop)]

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _with_id(self, line: bytes, row: int) -> bytes:
        line = line.strip()
        if line.startswith(b'{"id":"') and not line.startswith(b'{"id":""'):
            return line  # the common case, without parsing
        try:
            memory = orjson.loads(line)
        except orjson.JSONDecodeError:
            return line  # the server says what is wrong with it
        if not isinstance(memory, dict) or memory.get("id"):
            return line
        rest = orjson.dumps({key: value for key, value in memory.items() if key != "id"})
        body = line[1:] if "id" not in memory else rest[1:]
        return b'{"id":"row-%s-%013d",' % (self._source.digest[:8].encode(), row) + body.lstrip()


def scan_lines(path: Path) -> LinesSource:
    """Find the lines of a JSONL file and its XXH3-128 digest in one pass; blank lines are no rows."""
    descriptor = _open_file(path)
    hasher = xxhash.xxh3_128()
    offsets, n_rows, at, begun = [0], 0, 0, b""
    with os.fdopen(descriptor, "rb") as file:
        while data := file.read(_SCAN_BYTES):
            hasher.update(data)
            data = begun + data
            ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
            starts = np.concatenate([[0], ends + 1])
            for start, end in zip(starts[:-1].tolist(), ends.tolist(), strict=True):
                if data[start:end].strip():
                    n_rows += 1
                    if n_rows % INDEX_ROWS == 0:
                        offsets.append(at + end + 1)
            begun = data[starts[-1] :]
            at += int(starts[-1])
            if len(begun) > _LARGEST_LINE_BYTES:
                raise InputError(
                    f"row {n_rows:,} (byte {at:,}) is longer than 16 MB",
                    where=str(path),
                    next_step="give a file with one JSON object a line",
                )
    n_rows += bool(begun.strip())
    if n_rows == 0:
        raise InputError("holds no memories", where=str(path), next_step="give a file of JSON lines")
    if len(offsets) * INDEX_ROWS - INDEX_ROWS < n_rows:
        offsets.append(at + len(begun))
    return LinesSource(path, n_rows, hasher.hexdigest(), tuple(offsets))


def _open_file(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(error.strerror or str(error), where=str(path), next_step="check --input") from error


@dataclass(frozen=True)
class HeadSource:
    """The first ``n_rows`` rows of another source."""

    whole: RowSource
    n_rows: int

    @property
    def digest(self) -> str:
        """The whole source's: the rows are the same."""
        return self.whole.digest

    @property
    def name(self) -> str:
        """The whole source's name."""
        return self.whole.name

    def open(self) -> RowReader:
        """Open the whole source in this process."""
        return self.whole.open()
