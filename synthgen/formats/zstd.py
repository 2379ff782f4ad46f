"""JSON lines compressed with Zstandard: a frame a chunk, and a table of where frames begin.

``zstd -d`` gives the lines back. Frames are independent, so that workers compress and readers decompress any
of them alone; each has its content's size and checksum. The last frame is one that decoders skip (RFC 8878,
section 3.1.2): the seek table of zstd's contrib/seekable_format/zstd_seekable_compression_format.md.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from synthgen.errors import InputError, UsageError
from synthgen.formats.encoding import Encoding
from synthgen.formats.jsonl import LineEncoder, LineLayout
from synthgen.formats.zstd_frame import FrameWriter, most_frame_bytes
from synthgen.specs import CHUNK_ROWS, RowMaker

_SKIPPABLE_MAGIC, _SEEKABLE_MAGIC = 0x184D2A5E, 0x8F92EAB1
#: Frames that a seek table may name (ZSTD_SEEKABLE_MAXFRAMES); a file of more has none.
_MOST_FRAMES = 0x8000000
_ENTRY_BYTES = 8
_TABLE_PIECE_FRAMES = 10_000
#: What is left of a number, in bytes: for each decimal, and for the rest; and which share of all its bytes,
#: where it has more digits before the point. Some percent above what was measured. Text may be left as it is.
_DECIMAL_BYTES, _NUMBER_BYTES, _BYTE_SHARE = 0.46, 0.45, 0.5
#: Lines whose numbers and texts the codes of a dataset's frames are made of: its first ones.
_SAMPLE_ROWS = 10


class ZstdLines(Encoding):
    """JSON lines, a frame a chunk."""

    name: ClassVar[str] = "jsonl.zst"

    @property
    def line_bytes(self) -> int:
        """Bytes of a line before it is compressed."""
        return self.layout.line_bytes

    @property
    def expected_bytes(self) -> int:
        """Bytes of the file, somewhat more than measured for any law."""
        layout, grid = self.layout, self.layout.grid
        number_bytes = _DECIMAL_BYTES * grid.decimals + _NUMBER_BYTES
        if grid.integer_digits > 1:
            number_bytes = _BYTE_SHARE * layout.cell_bytes
        text_bytes = layout.line_bytes - layout.dimension * layout.cell_bytes
        row_bytes = number_bytes * layout.dimension + text_bytes
        return int(len(self.rows) * row_bytes) + 1_000

    @property
    def worker_bytes(self) -> int:
        """Memory of the buffers that chunks wait in, and of the compressor."""
        return 3 * self.layout.line_bytes * CHUNK_ROWS // 2

    def tail(self, starts: Sequence[int]) -> Iterator[bytes]:
        """Yield the seek table in pieces: a skippable frame of 8 bytes a frame and 9 bytes more."""
        n_frames = len(starts) - 1
        if n_frames > _MOST_FRAMES:
            return
        yield struct.pack("<II", _SKIPPABLE_MAGIC, n_frames * _ENTRY_BYTES + 9)
        for first in range(0, n_frames, _TABLE_PIECE_FRAMES):
            last = min(first + _TABLE_PIECE_FRAMES, n_frames)
            table = np.empty((last - first, 2), "<u4")
            table[:, 0] = np.diff(np.array(starts[first : last + 1], np.int64))
            table[:, 1] = [self._frame_rows(frame) * self.line_bytes for frame in range(first, last)]
            yield table.tobytes()
        yield struct.pack("<IBI", n_frames, 0, _SEEKABLE_MAGIC)

    def open(self) -> ZstdEncoder:
        """Make tables and scratch."""
        return ZstdEncoder(self.layout)

    def _frame_rows(self, frame: int) -> int:
        return min(CHUNK_ROWS, len(self.rows) - frame * CHUNK_ROWS)


class ZstdEncoder:
    """Makes chunks of lines, and compresses them, one frame each."""

    def __init__(self, layout: LineLayout) -> None:
        self._lines = LineEncoder(layout)
        self._writer: FrameWriter | None = None
        self.capacity_bytes = most_frame_bytes(CHUNK_ROWS * layout.line_bytes)

    @cached_property
    def _buffer(self) -> memoryview:
        return np.empty(self.capacity_bytes, np.uint8).data

    def encode(self, maker: RowMaker, start: int, stop: int) -> Iterator[memoryview]:
        """Yield the frame of rows [start, stop)."""
        yield self.pack(maker, range(start, stop), self._buffer)

    def pack(self, maker: RowMaker, rows: range, buffer: memoryview) -> memoryview:
        """Compress the lines of ``rows`` into ``buffer``; return the part of it that holds the frame."""
        if self._writer is None:
            sample = [self._lines.encode(block).copy() for block in maker.blocks(0, _SAMPLE_ROWS)]
            self._writer = FrameWriter(self._lines.layout, np.concatenate(sample))
        self._writer.begin(len(rows), buffer)
        for block in maker.blocks(rows.start, rows.stop):
            self._writer.add(self._lines.encode(block))
        return self._writer.end()


def decompress_frame(data: bytes, n_bytes: int) -> bytes:
    """Return the content of a frame, ``n_bytes`` long; raise InputError where ``data`` is none such."""
    zstandard = import_zstandard()
    try:
        content: bytes = zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise InputError(f"not a frame of Zstandard ({error})") from error
    if len(content) != n_bytes:
        raise InputError(f"a frame of {len(content):,} bytes, not {n_bytes:,}")
    return content


def import_zstandard() -> Any:
    """Return the package zstandard; raise UsageError where it is not installed."""
    try:
        return importlib.import_module("zstandard")
    except ImportError as error:
        raise UsageError(
            f"reading .jsonl.zst needs the package zstandard ({error})",
            next_step="run pip install 'synthgen-memories[zstd]', or unpack the file with zstd -d first",
        ) from error
