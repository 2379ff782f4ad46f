"""Rows to JSON lines of one length, each a request body that Engram takes as it is.

    {"id":"...","content":"..."    ,"embedding":[ 0.012345,-0.067890,...],"confidence":0.712345}

Numbers have a fixed width (JSON allows the blank before a positive one), contents are padded behind their
closing quote; so row i lies at byte i x line_bytes, known before any vector exists (RFC 8259, section 2:
blanks are insignificant between tokens).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from synthgen.specs import BLOCK_ROWS, RowMaker, Rows

_ID = b'{"id":"'
_CONTENT = b'","content":'
_EMBEDDING = b',"embedding":['
_CONFIDENCE = b'],"confidence":'
_END = b"}\n"
#: Digits behind the point that one 8-byte table entry holds: sign, unit, point, and these.
_LEAD_DIGITS = 5
_CONFIDENCE_DIGITS = 6


@dataclass(frozen=True)
class LineLayout:
    """Widths of a line's parts, in bytes (``dimension``: numbers; ``decimals``: digits behind the point)."""

    id_width: int
    content_width: int
    dimension: int
    decimals: int

    @classmethod
    def of(cls, maker: RowMaker, dimension: int, decimals: int) -> LineLayout:
        """Return the layout of the lines of what ``maker`` makes."""
        return cls(maker.id_width, maker.content_width, dimension, decimals)

    @property
    def cell_bytes(self) -> int:
        """Bytes of one number and its comma: sign, unit, point, digits, comma."""
        return self.decimals + 4

    @property
    def embedding_at(self) -> int:
        """Offset of the first number in a line."""
        return len(_ID) + self.id_width + len(_CONTENT) + self.content_width + len(_EMBEDDING)

    @property
    def confidence_at(self) -> int:
        """Offset of the confidence in a line (the last number has no comma)."""
        return self.embedding_at + self.dimension * self.cell_bytes - 1 + len(_CONFIDENCE)

    @property
    def line_bytes(self) -> int:
        """Bytes of a line, newline included."""
        return self.confidence_at + 2 + _CONFIDENCE_DIGITS + len(_END)


class LineEncoder:
    """Encodes blocks of at most ``block_rows`` rows; each result overwrites the last one.

    Costs four gathers and four strided stores a number, all within a core's cache.
    """

    def __init__(self, layout: LineLayout, block_rows: int = BLOCK_ROWS) -> None:
        self.layout = layout
        self._lines = np.empty((block_rows, layout.line_bytes), np.uint8)
        self._lines[:] = np.frombuffer(_template(layout), np.uint8)
        shape = (block_rows, layout.dimension)
        self._tail_digits = max(0, layout.decimals - _LEAD_DIGITS)
        self._lead_table = _lead_table(min(layout.decimals, _LEAD_DIGITS))
        self._absolute = np.empty(shape, np.int32)
        self._index = np.empty(shape, np.int32)
        self._rest = np.empty(shape, np.int32)
        self._positive = np.empty(shape, np.bool_)
        self._lead = np.empty(shape, "<u8")
        self._lead_cells = self._cells(0, "<u8")
        if self._tail_digits:
            self._tail_table = _tail_table(self._tail_digits)
            self._tail = np.empty(shape, self._tail_table.dtype)
            self._tail_cells = self._cells(8, self._tail_table.dtype.str)

    def encode(self, rows: Rows) -> NDArray[np.uint8]:
        """Return (n, line_bytes) bytes: the lines of ``rows``, n at most ``block_rows``."""
        n, layout = len(rows), self.layout
        lines = self._lines[:n]
        lines[:, len(_ID) : len(_ID) + layout.id_width] = rows.ids
        content_at = len(_ID) + layout.id_width + len(_CONTENT)
        lines[:, content_at : content_at + layout.content_width] = rows.contents
        self._write_numbers(rows.embeddings, n)
        # With 4 decimals a table entry holds the comma too, and the last one has overwritten this.
        lines[:, layout.confidence_at - len(_CONFIDENCE)] = _CONFIDENCE[0]
        high, low = _confidence_tables()
        thousandths, rest = np.divmod(rows.confidences, 1000)
        lines[:, layout.confidence_at : layout.confidence_at + 5] = high[thousandths]
        lines[:, layout.confidence_at + 5 : layout.confidence_at + 8] = low[rest]
        return lines

    def _write_numbers(self, grid: NDArray[np.int32], n: int) -> None:
        absolute, index, rest = self._absolute[:n], self._index[:n], self._rest[:n]
        np.abs(grid, out=absolute)
        power = 10**self._tail_digits
        np.floor_divide(absolute, power, out=index)
        if self._tail_digits:
            np.multiply(index, power, out=rest)
            np.subtract(absolute, rest, out=rest)
            np.take(self._tail_table, rest, out=self._tail[:n], mode="clip")
            self._tail_cells[:n] = self._tail[:n]
        np.greater_equal(grid, 0, out=self._positive[:n])
        np.multiply(self._positive[:n], len(self._lead_table) // 2, out=rest)
        np.add(index, rest, out=index)
        np.take(self._lead_table, index, out=self._lead[:n], mode="clip")
        self._lead_cells[:n] = self._lead[:n]

    def _cells(self, offset: int, dtype: str) -> NDArray[np.generic]:
        """Return a view of the numbers' bytes from ``offset`` within each cell."""
        return np.ndarray(
            (len(self._lines), self.layout.dimension),
            dtype,
            self._lines.data,
            self.layout.embedding_at + offset,
            (self.layout.line_bytes, self.layout.cell_bytes),
        )


@cache
def _lead_table(digits: int) -> NDArray[np.uint64]:
    """Eight bytes for each number of ``digits`` decimals in [-1, 1]: negative ones first, from -0 on."""
    values = np.arange(10**digits + 1)
    cells = np.full((2, len(values), 8), ord(","), np.uint8)  # 4 digits leave room for the comma
    cells[0, :, 0], cells[1, :, 0] = ord("-"), ord(" ")
    cells[:, :, 1] = values // 10**digits + ord("0")
    cells[:, :, 2] = ord(".")
    for i in range(digits):
        cells[:, :, 3 + i] = values // 10 ** (digits - 1 - i) % 10 + ord("0")
    return cells.reshape(-1, 8).view("<u8").ravel()


@cache
def _tail_table(digits: int) -> NDArray[np.generic]:
    """The last ``digits`` (1 or 2) digits of a number as bytes."""
    texts = b"".join(b"%0*d" % (digits, value) for value in range(10**digits))
    return np.frombuffer(texts, "<u1" if digits == 1 else "<u2")


def _template(layout: LineLayout) -> bytes:
    cell = b"0".rjust(layout.cell_bytes - 1) + b","
    numbers = (cell * layout.dimension)[:-1]
    head = _ID + bytes(layout.id_width) + _CONTENT + bytes(layout.content_width) + _EMBEDDING
    return head + numbers + _CONFIDENCE + b"0.000000" + _END


@cache
def _confidence_tables() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """``0.712`` for each thousandth up to 1, and the three digits that follow."""
    high = b"".join(b"%d.%03d" % divmod(value, 1000) for value in range(1001))
    low = b"".join(b"%03d" % value for value in range(1000))
    return np.frombuffer(high, np.uint8).reshape(-1, 5), np.frombuffer(low, np.uint8).reshape(-1, 3)
