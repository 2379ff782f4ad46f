"""Lines of one length to frames of Zstandard, by codes that fit the dataset (_frames.c does the work)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import xxhash
from numpy.typing import NDArray

from synthgen.formats._frames import SCRATCH_BYTES, write_blocks
from synthgen.formats.jsonl import LineLayout
from synthgen.formats.zstd_codes import (
    MOST_CODE_BITS,
    N_LITERALS,
    Table,
    make_literal_codes,
    make_symbol_table,
)

_MAGIC = 0xFD2FB528
#: Content size in 8 bytes, a checksum, no dictionary; a window of 2**18 bytes (RFC 8878, section 3.1.1.1).
_DESCRIPTOR, _WINDOW = 0xC4, (18 - 10) << 3
_HEAD_BYTES = 14
_ROOM_BYTES = 400_000  # more than a block asks for before it is written (_frames.c)
_LAST_BLOCK = b"\x01\x00\x00"  # raw, empty
_RUN_CODES, _OFFSET_CODES, _MATCH_CODES = 36, 19, 32
_LONG_RUN_CODE = 26  # 128 to 255 literals
#: How often an offset is the last one, one of the two before it, and how many bits a new one has: an earlier
#: number of the same sign is the last one but k with probability 2**-k.
_OFFSET_SHARES = {0: 0.5, 1: 0.375, 3: 0.015, 4: 0.015, 5: 0.07, 6: 0.02, 7: 0.002, 8: 0.001}


def most_frame_bytes(content_bytes: int) -> int:
    """Return the bytes of a buffer that is long enough for any frame of as much content."""
    return content_bytes * MOST_CODE_BITS // 8 + _ROOM_BYTES


class FrameWriter:
    """Writes frames of lines of ``layout``, with codes that fit ``sample`` (n, line_bytes) uint8, some lines.

    What a frame holds depends on the lines, the sample, and where :meth:`add` cuts them.
    """

    def __init__(self, layout: LineLayout, sample: NDArray[np.uint8]) -> None:
        numbers = _Numbers.of(layout, sample)
        self._line_bytes = layout.line_bytes
        widths = (layout.dimension, layout.cell_bytes, layout.grid.decimals, numbers.has_matches)
        self._layout = (layout.line_bytes, layout.embedding_at, *widths)
        codes = make_literal_codes(numbers.literal_counts)
        self._codes = (codes.single, codes.pairs, codes.tree)
        self._tables = _make_tables(layout, numbers.tiny_share)
        self._scratch = np.empty(SCRATCH_BYTES, np.uint8)
        self._out: memoryview = memoryview(b"")
        self._at = 0

    def begin(self, n_lines: int, out: memoryview) -> None:
        """Begin a frame of ``n_lines`` lines in ``out``."""
        n_bytes = n_lines * self._line_bytes
        self._state = np.array([0, -(2**40), -(2**40), 1, 1], np.int64)
        self._hasher = xxhash.xxh64()
        struct.pack_into("<IBBQ", out, 0, _MAGIC, _DESCRIPTOR, _WINDOW, n_bytes)
        self._out, self._at = out, _HEAD_BYTES

    def add(self, lines: NDArray[np.uint8]) -> None:
        """Add ``lines`` (n, line_bytes) uint8."""
        self._hasher.update(lines.data)
        rest = self._out[self._at :]
        self._at += write_blocks(
            lines, self._layout, self._codes, self._tables, self._state, self._scratch, rest
        )

    def end(self) -> memoryview:
        """End the frame; return the part of the buffer that holds it."""
        tail = _LAST_BLOCK + self._hasher.digest()[:-5:-1]  # the low four bytes, little end first
        self._out[self._at : self._at + len(tail)] = tail
        return self._out[: self._at + len(tail)]


@dataclass(frozen=True)
class _Numbers:
    """What a sample tells: whether numbers are matched, which share of them is below 0.1, and how often each
    byte is left as a literal: about a third of the text, and digits.
    """

    has_matches: bool
    tiny_share: float
    literal_counts: list[int]

    @classmethod
    def of(cls, layout: LineLayout, sample: NDArray[np.uint8]) -> _Numbers:
        end = layout.embedding_at + layout.dimension * layout.cell_bytes
        cells = sample[:, layout.embedding_at : end].reshape(-1, layout.cell_bytes)
        texts = np.concatenate([sample[:, : layout.embedding_at], sample[:, end:]], axis=1)[::3]
        if layout.grid.integer_digits > 1:
            return cls(False, 0.5, _count(texts, cells))
        is_tiny = cells[:, 3] == ord("0")
        return cls(True, float(is_tiny.mean()), _count(texts, cells[~is_tiny, 3], cells[:, 4:-1]))


def _count(*parts: NDArray[np.uint8]) -> list[int]:
    counts = np.zeros(N_LITERALS, np.int64)
    for part in parts:
        counts += np.bincount(part.ravel(), minlength=256)[:N_LITERALS]
    return counts.tolist()


def _make_tables(layout: LineLayout, tiny_share: float) -> tuple[Table, Table, Table]:
    """Return the tables of runs of literals, offsets and matches: those of numbers, once a line others."""
    decimals, once = layout.grid.decimals, 1 / layout.dimension
    runs = {decimals - 1: tiny_share, decimals: 1 - tiny_share, _LONG_RUN_CODE: once}
    line_code = (layout.line_bytes + 3).bit_length() - 1  # of matches with the line before
    offsets = {**_OFFSET_SHARES, line_code: _OFFSET_SHARES.get(line_code, 0.0) + 2 * once}
    matches = {1: 1 - tiny_share, 2: tiny_share}
    return (
        make_symbol_table([runs.get(code, 0.0) for code in range(_RUN_CODES)], 9).parts,
        make_symbol_table([offsets.get(code, 0.0) for code in range(_OFFSET_CODES)], 8).parts,
        make_symbol_table([matches.get(code, 0.0) for code in range(_MATCH_CODES)], 9).parts,
    )
