"""Formats in which all rows have one size, so that their places are known: JSON lines, .npy, .fbin."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from synthgen.formats.encoding import Encoding
from synthgen.formats.floats import write_nearest
from synthgen.formats.jsonl import LineEncoder
from synthgen.specs import BLOCK_ROWS, Grid, RowMaker

#: Of numpy/lib/_format_impl.py: magic, version 1.0, and the multiple of bytes at which data begin.
_NPY_MAGIC = b"\x93NUMPY\x01\x00"
_NPY_ALIGN_BYTES = 64
#: Digits by which numpy's header may grow in place when rows are appended.
_NPY_GROWTH_DIGITS = 21


class JsonLines(Encoding):
    """A memory a line (jsonl.py)."""

    name: ClassVar[str] = "jsonl"

    @property
    def row_bytes(self) -> int:
        """Bytes of a line."""
        return self.layout.line_bytes

    @property
    def line_bytes(self) -> int:
        """Bytes of a line."""
        return self.layout.line_bytes

    @property
    def expected_bytes(self) -> int:
        """Bytes of all lines."""
        return len(self.rows) * self.row_bytes

    def open(self) -> JsonLinesEncoder:
        """Make tables and scratch."""
        return JsonLinesEncoder(LineEncoder(self.layout))


class JsonLinesEncoder:
    """Lines, block by block."""

    def __init__(self, lines: LineEncoder) -> None:
        self._lines = lines

    def encode(self, maker: RowMaker, start: int, stop: int) -> Iterator[memoryview]:
        """Yield the lines of rows [start, stop)."""
        for rows in maker.blocks(start, stop):
            yield self._lines.encode(rows).data.cast("B")


class _Vectors(Encoding):
    """Embeddings alone: (n, d) little-endian float32 behind a head that says how many."""

    @property
    def row_bytes(self) -> int:
        """Bytes of an embedding."""
        return 4 * self.layout.dimension

    @property
    def expected_bytes(self) -> int:
        """Bytes of the head and all embeddings."""
        return len(self.head()) + len(self.rows) * self.row_bytes

    def open(self) -> VectorEncoder:
        """Make scratch."""
        return VectorEncoder(self.layout.dimension, self.layout.grid)


class VectorEncoder:
    """Embeddings as float32, block by block; those of one call overwrite those of the last."""

    def __init__(self, dimension: int, grid: Grid, block_rows: int = BLOCK_ROWS) -> None:
        self._grid = grid
        self._block: NDArray[np.float32] = np.empty((block_rows, dimension), "<f4")

    def encode(self, maker: RowMaker, start: int, stop: int) -> Iterator[memoryview]:
        """Yield the embeddings of rows [start, stop)."""
        for rows in maker.blocks(start, stop):
            block = self._block[: len(rows)]
            write_nearest(rows.embeddings, self._grid, block)
            yield block.data.cast("B")


class Npy(_Vectors):
    """What ``numpy.save`` makes of the matrix of embeddings."""

    name: ClassVar[str] = "npy"

    def head(self) -> bytes:
        """Return the header of an (n, d) float32 matrix: version 1.0, padded as numpy does."""
        n_rows = len(self.rows)
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({n_rows}, {self.layout.dimension}), }}"
        text += " " * (_NPY_GROWTH_DIGITS - len(str(n_rows)))
        n_bytes = len(_NPY_MAGIC) + 2 + len(text) + 1
        text += " " * (-n_bytes % _NPY_ALIGN_BYTES) + "\n"
        return _NPY_MAGIC + struct.pack("<H", len(text)) + text.encode()


class Fbin(_Vectors):
    """Rows and dimension as uint32, then the embeddings, as the big-ann benchmarks have them."""

    name: ClassVar[str] = "fbin"
    most_rows: ClassVar[int] = 2**32 - 1

    def head(self) -> bytes:
        """Return rows and dimension."""
        return struct.pack("<II", len(self.rows), self.layout.dimension)
