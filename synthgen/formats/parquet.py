"""Rows to Parquet: a row group a chunk, four columns, each one uncompressed PLAIN page, nothing null.

    id: string    content: string    embedding: list<float>    confidence: double

Rules from apache/parquet-format: README.md (file, row groups, pages, levels), Encodings.md (PLAIN, RLE). Why
an own writer is short and fast: widths are known, so that but for contents the place of every byte is known
before a chunk is made, and levels, which say where lists begin, are the same in every chunk.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from synthgen.formats._strings import write_strings
from synthgen.formats.encoding import Encoding
from synthgen.formats.floats import write_nearest
from synthgen.formats.jsonl import LineLayout
from synthgen.formats.parquet_metadata import MAGIC, Group, file_metadata, footer, page_header, varint
from synthgen.specs import CHUNK_ROWS, RowMaker, Rows, canonical_json, n_chunks

#: Bytes of the length before each string (Encodings.md, PLAIN).
_LENGTH_BYTES = 4
#: Bytes of a row group's part of the footer, at most.
_GROUP_FOOTER_BYTES = 400
#: A footer's length is read as a number with a sign.
_MOST_FOOTER_BYTES = 2**31 - 1
_MOST_ROWS = _MOST_FOOTER_BYTES // _GROUP_FOOTER_BYTES * CHUNK_ROWS
_CONFIDENCE_STEPS = 1e6
_ALIGN_BYTES = 64


class Parquet(Encoding):
    """A row group a chunk; the range of ids in its statistics lets readers skip it."""

    name: ClassVar[str] = "parquet"
    most_rows: ClassVar[int] = _MOST_ROWS

    @property
    def expected_bytes(self) -> int:
        """Bytes of the file if every content were as long as the longest."""
        group_bytes = RowGroup(self.layout, CHUNK_ROWS).capacity_bytes
        n_groups = n_chunks(len(self.rows))
        return len(self.rows) * group_bytes // CHUNK_ROWS + n_groups * 2 * _GROUP_FOOTER_BYTES + 10_000

    @property
    def worker_bytes(self) -> int:
        """Memory of the buffers that chunks wait in."""
        return 3 * RowGroup(self.layout, CHUNK_ROWS).capacity_bytes

    def head(self) -> bytes:
        """Return the magic bytes."""
        return MAGIC

    def tail(self, starts: Sequence[int]) -> Iterator[bytes]:
        """Yield the footer, which holds the spec as ``synthgen``, without the place of the model's file."""
        note = canonical_json({**self.spec.identity(), "count": self.spec.count}).encode()
        groups = self._groups(starts)
        return footer(file_metadata(len(self.rows), groups, n_chunks(len(self.rows)), note))

    def open(self) -> ParquetEncoder:
        """Make the constant parts of pages."""
        return ParquetEncoder(self.layout)

    def _groups(self, starts: Sequence[int]) -> Iterator[Group]:
        """Yield the row groups, of which nothing but the size of their contents has to be known."""
        shape = RowGroup(self.layout, CHUNK_ROWS)
        for number in range(n_chunks(len(self.rows))):
            rows = self.rows[number * CHUNK_ROWS : (number + 1) * CHUNK_ROWS]
            if len(rows) != shape.n_rows:
                shape = RowGroup(self.layout, len(rows))
            contents = starts[number + 1] - starts[number] - shape.n_other_bytes
            ids = (self.spec.memory_id(rows[0]).encode(), self.spec.memory_id(rows[-1]).encode())
            yield Group(starts[number], len(rows), shape.sizes(contents), shape.n_values, ids)


class RowGroup:
    """What all row groups of ``n_rows`` rows have in common: headers, levels, sizes in bytes."""

    def __init__(self, layout: LineLayout, n_rows: int) -> None:
        self.n_rows, self._layout = n_rows, layout
        self.vector_bytes = 4 * n_rows * layout.dimension
        n_floats = n_rows * layout.dimension
        levels = _levels(n_rows, layout.dimension)
        id_bytes = n_rows * (_LENGTH_BYTES + layout.id_width)
        self.n_values = (n_rows, n_rows, n_floats, n_rows)
        self.id_head = page_header(n_rows, id_bytes)
        self.embedding_head = page_header(n_floats, len(levels) + self.vector_bytes) + levels
        self.confidence_head = page_header(n_rows, 8 * n_rows)
        self._id_bytes = len(self.id_head) + id_bytes
        self._embedding_bytes = len(self.embedding_head) + self.vector_bytes
        self._confidence_bytes = len(self.confidence_head) + 8 * n_rows
        self.n_other_bytes = self._id_bytes + self._embedding_bytes + self._confidence_bytes

    @property
    def embedding_at(self) -> int:
        """Where in a buffer the page of embeddings begins: contents may be as long as they can be, and
        numbers lie at multiples of 64 bytes, as vector code wants them.
        """
        contents = self.n_rows * (_LENGTH_BYTES + self._layout.content_width)
        strings = self._id_bytes + len(page_header(self.n_rows, contents)) + contents
        return strings + -(strings + len(self.embedding_head)) % _ALIGN_BYTES

    @property
    def capacity_bytes(self) -> int:
        """Bytes of the longest row group of so many rows."""
        return self.embedding_at + self._embedding_bytes + self._confidence_bytes

    def sizes(self, content_bytes: int) -> tuple[int, ...]:
        """Return the bytes of each page, header included, where that of contents has ``content_bytes``."""
        return self._id_bytes, content_bytes, self._embedding_bytes, self._confidence_bytes


class ParquetEncoder:
    """Encodes chunks; what row groups have in common is made once for each number of rows."""

    def __init__(self, layout: LineLayout) -> None:
        self._layout = layout
        self._group = RowGroup(layout, CHUNK_ROWS)
        self._strings = _Strings(layout)
        self._confidences: NDArray[np.float64] = np.empty(CHUNK_ROWS, "<f8")
        self.capacity_bytes = self._group.capacity_bytes

    @cached_property
    def _buffer(self) -> memoryview:
        return np.empty(self.capacity_bytes, np.uint8).data

    def encode(self, maker: RowMaker, start: int, stop: int) -> Iterator[memoryview]:
        """Yield the row group of rows [start, stop), whole."""
        yield self.pack(maker, range(start, stop), self._buffer)

    def pack(self, maker: RowMaker, rows: range, buffer: memoryview) -> memoryview:
        """Write the row group of ``rows`` into ``buffer``; return the part of it that holds it.

        Vectors are written where they stay. Strings, whose size shows last, go right before them.
        """
        if len(rows) != self._group.n_rows:
            self._group = RowGroup(self._layout, len(rows))
        group, middle = self._group, self._group.embedding_at
        end = _put(buffer, middle, group.embedding_head)
        vectors = np.frombuffer(buffer, "<f4", len(rows) * self._layout.dimension, end)
        self._write_columns(maker, rows, vectors.reshape(len(rows), -1))
        end = _put(buffer, end + vectors.nbytes, group.confidence_head)
        end = _put(buffer, end, self._confidences[: len(rows)].data.cast("B"))
        ids, contents = self._strings.ids(len(rows)), self._strings.contents()
        parts = (group.id_head, ids, page_header(len(rows), len(contents)), contents)
        at = start = middle - sum(map(len, parts))
        for part in parts:
            at = _put(buffer, at, part)
        return buffer[start:end]

    def _write_columns(self, maker: RowMaker, rows: range, vectors: NDArray[np.float32]) -> None:
        self._strings.clear()
        for block in maker.blocks(rows.start, rows.stop):
            part = slice(block.start - rows.start, block.start - rows.start + len(block))
            write_nearest(block.embeddings, self._layout.grid, vectors[part])
            np.divide(block.confidences, _CONFIDENCE_STEPS, out=self._confidences[part])
            self._strings.keep(block, part)


class _Strings:
    """Ids and contents of a chunk, each behind its length in four bytes."""

    def __init__(self, layout: LineLayout) -> None:
        self._width = layout.content_width
        self._ids = np.empty((CHUNK_ROWS, _LENGTH_BYTES + layout.id_width), np.uint8)
        self._ids[:, :_LENGTH_BYTES] = list(struct.pack("<I", layout.id_width))
        self._contents = np.empty(CHUNK_ROWS * (_LENGTH_BYTES + layout.content_width), np.uint8)
        self._n_content_bytes = 0

    def clear(self) -> None:
        """Begin with another chunk."""
        self._n_content_bytes = 0

    def keep(self, block: Rows, part: slice) -> None:
        """Take over the strings of ``block``, which is ``part`` of the chunk: what their JSON means."""
        self._ids[part, _LENGTH_BYTES:] = block.ids
        rest = self._contents[self._n_content_bytes :]
        self._n_content_bytes += write_strings(np.ascontiguousarray(block.contents), self._width, rest)

    def ids(self, n_rows: int) -> memoryview:
        """Return the ids."""
        return self._ids[:n_rows].data.cast("B")

    def contents(self) -> memoryview:
        """Return the contents."""
        return self._contents[: self._n_content_bytes].data


def _levels(n_rows: int, dimension: int) -> bytes:
    """Return the levels of lists of ``dimension`` numbers: repetition, 0 where a list begins and 1 within;
    definition, always 1. Runs of the RLE hybrid, each encoding behind its length (Encodings.md).
    """
    repetition = (_run(0, 1) + (_run(1, dimension - 1) if dimension > 1 else b"")) * n_rows
    definition = _run(1, n_rows * dimension)
    return b"".join(struct.pack("<I", len(runs)) + runs for runs in (repetition, definition))


def _run(level: int, n_values: int) -> bytes:
    return varint(n_values << 1) + bytes([level])


def _put(buffer: memoryview, at: int, data: bytes | memoryview) -> int:
    buffer[at : at + len(data)] = data
    return at + len(data)
