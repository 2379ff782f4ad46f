"""Rows to JSON lines of one length, each a request body that Engram takes as it is.

    {"id":"...","content":"..."    ,"embedding":[ 0.012345,-0.067890,...],"confidence":0.712345}
    {"id":"...","content":"..."    ,"embedding":[ 109.2345,  -6.7890,...],"confidence":0.712345}

Numbers have a fixed width (JSON allows blanks before one, but no zeros), contents are padded behind their
closing quote; so row i lies at byte i x line_bytes, known before any vector exists (RFC 8259, section 2:
blanks are insignificant between tokens).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from synthgen.formats._lines import write_lines
from synthgen.specs import BLOCK_ROWS, Grid, RowMaker, Rows

_ID = b'{"id":"'
_CONTENT = b'","content":'
_EMBEDDING = b',"embedding":['
_CONFIDENCE = b'],"confidence":'
_END = b"}\n"
#: A number is put together from an entry of a table that holds its begin, in so many bytes, ...
_LEAD_BYTES = 8
#: ... and one that holds its last digits, in so many bytes by their number, commas behind them.
_TAIL_BYTES = {0: 0, 1: 1, 2: 2, 3: 4, 4: 4}
#: Numbers in the first table, of each sign: both tables are to fit a core's first cache, unless vectors are
#: so long that the first has to be larger.
_LEAD_NUMBERS = 2_000
_CONFIDENCE_DIGITS = 6


@dataclass(frozen=True)
class LineLayout:
    """Widths of a line's parts in bytes, the ``dimension`` of embeddings, and the ``grid`` of their numbers.

    At least 5 digits a number (an entry of the first table does not reach into the next number then), and at
    most 6 before the point.
    """

    id_width: int
    content_width: int
    dimension: int
    grid: Grid

    @classmethod
    def of(cls, maker: RowMaker, dimension: int, grid: Grid) -> LineLayout:
        """Return the layout of the lines of what ``maker`` makes."""
        return cls(maker.id_width, maker.content_width, dimension, grid)

    @property
    def cell_bytes(self) -> int:
        """Bytes of one number and its comma: blanks and sign, digits, point, digits, comma."""
        return self.grid.integer_digits + self.grid.decimals + 3

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
    """Encodes blocks of at most ``block_rows`` rows; each result overwrites the last one."""

    def __init__(self, layout: LineLayout, block_rows: int = BLOCK_ROWS) -> None:
        self.layout = layout
        self._lines = np.empty((block_rows, layout.line_bytes), np.uint8)
        self._lines[:] = np.frombuffer(_template(layout), np.uint8)
        lead_digits = _lead_digits(layout.grid)
        self._tail_digits = layout.grid.decimals - lead_digits
        largest = layout.grid.largest // 10**self._tail_digits
        lead_table = _lead_table(layout.grid.integer_digits, lead_digits, largest)
        self._tables = (lead_table, _tail_table(self._tail_digits))
        tail_at = layout.grid.integer_digits + 2 + lead_digits
        content_at = len(_ID) + layout.id_width + len(_CONTENT)
        parts = (len(_ID), layout.id_width, content_at, layout.content_width, layout.embedding_at)
        numbers = (layout.dimension, layout.cell_bytes, tail_at)
        self._places = (layout.line_bytes, *parts, *numbers, layout.confidence_at)

    def encode(self, rows: Rows) -> NDArray[np.uint8]:
        """Return (n, line_bytes) bytes: the lines of ``rows``, n at most ``block_rows``."""
        lines = self._lines[: len(rows)]
        parts = (rows.ids, rows.contents, rows.embeddings, rows.confidences)
        write_lines(parts, self._tables, self._tail_digits, self._places, lines)
        return lines


def _lead_digits(grid: Grid) -> int:
    """Return how many digits behind the point the first table holds."""
    digits = min(grid.decimals, _LEAD_BYTES - 2 - grid.integer_digits)
    fewest = max(0, grid.decimals - max(_TAIL_BYTES))
    while digits > fewest and grid.largest // 10 ** (grid.decimals - digits) > _LEAD_NUMBERS:
        digits -= 1
    return digits


@cache
def _lead_table(integer_digits: int, decimals: int, largest: int) -> NDArray[np.uint64]:
    """Eight bytes for each number in [-largest, largest] / 10**decimals: negative ones first, from -0 on."""
    values = np.arange(largest + 1, dtype=np.int32)
    whole = values // 10**decimals
    cells = np.full((2, len(values), _LEAD_BYTES), ord(","), np.uint8)  # where there is room for the comma
    for place in range(integer_digits + 1):
        power = 10 ** (integer_digits - place)
        is_blank = (whole < power) & (power > 1)  # one digit there is always
        is_sign = is_blank & ((whole >= power // 10) | (power == 10))  # right before the first digit
        cells[1, :, place] = np.where(is_blank, ord(" "), whole // power % 10 + ord("0"))
        cells[0, :, place] = np.where(is_sign, ord("-"), cells[1, :, place])
    cells[:, :, integer_digits + 1] = ord(".")
    for place in range(decimals):
        digits = values // 10 ** (decimals - 1 - place) % 10
        cells[:, :, integer_digits + 2 + place] = digits + ord("0")
    return cells.reshape(-1, _LEAD_BYTES).view("<u8").ravel()


@cache
def _tail_table(digits: int) -> NDArray[np.uint8]:
    """The last ``digits`` (0 to 4) digits of a number as bytes, with commas to the next power of two."""
    width = _TAIL_BYTES[digits]
    texts = (b"%0*d" % (digits, value) + b"," * (width - digits) for value in range(10**digits))
    return np.frombuffer(b"".join(texts) if digits else b"", np.uint8)


def _template(layout: LineLayout) -> bytes:
    cell = b"0".rjust(layout.cell_bytes - 1) + b","
    numbers = (cell * layout.dimension)[:-1]
    head = _ID + bytes(layout.id_width) + _CONTENT + bytes(layout.content_width) + _EMBEDDING
    return head + numbers + _CONFIDENCE + b"0.000000" + _END
