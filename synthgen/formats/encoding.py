"""What an output format is: how the rows of one dataset become the bytes of a file, in three parts.

    head | chunk 0 | chunk 1 | ... | tail

Of a *fixed* format (JSON lines, .npy, .fbin) row i lies at byte ``head + i x row_bytes``, known before any
row is made. Of a *packed* one (.jsonl.zst, .parquet) the size of a chunk is known when it is encoded; chunks
lie one behind the other, in order. Head and tail are small, functions of the dataset and of where chunks lie.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from synthgen.errors import UsageError
from synthgen.formats.jsonl import LineLayout
from synthgen.specs import MAX_ROWS, DatasetSpec, RowMaker


class ChunkEncoder(Protocol):
    """An opened encoding: tables and scratch of one process, for one chunk at a time."""

    def encode(self, maker: RowMaker, start: int, stop: int) -> Iterator[memoryview]:
        """Yield the bytes of the chunk of rows [start, stop) of ``maker``, piece by piece.

        Each piece is valid until the next one is asked for. At most ``CHUNK_ROWS`` rows.
        """
        ...


class ChunkPacker(ChunkEncoder, Protocol):
    """The encoder of a packed format, which can keep several chunks: each in a buffer of the caller's."""

    @property
    def capacity_bytes(self) -> int:
        """Bytes of a buffer that holds any chunk."""
        ...

    def pack(self, maker: RowMaker, rows: range, buffer: memoryview) -> memoryview:
        """Encode the chunk ``rows`` of ``maker`` into ``buffer``; return the part of it that holds it."""
        ...


@dataclass(frozen=True)
class Encoding(ABC):
    """How rows ``rows`` of the dataset ``spec`` become a file of this format. Picklable, and small.

    ``layout``: the widths of the rows' parts. Bytes depend on the four of them (spec, rows, layout, format)
    alone. Raises UsageError where the format cannot hold the rows.
    """

    layout: LineLayout
    spec: DatasetSpec
    rows: range

    #: Name of the format, as ``--format`` has it.
    name: ClassVar[str]
    #: Rows that a file can hold.
    most_rows: ClassVar[int] = MAX_ROWS

    def __post_init__(self) -> None:
        if len(self.rows) > self.most_rows:
            raise UsageError(
                f"a .{self.name} file holds at most {self.most_rows:,} rows, not {len(self.rows):,}",
                next_step="lower --count, or choose another --format",
            )

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in the file; 0 where the format is packed."""
        return 0

    @property
    def line_bytes(self) -> int:
        """Bytes of a row as a line of JSON, where rows are such, compressed or not; else 0."""
        return 0

    @property
    @abstractmethod
    def expected_bytes(self) -> int:
        """Bytes of the file: of a fixed format exactly; of a packed one an upper estimate."""

    @property
    def worker_bytes(self) -> int:
        """Memory that a worker needs for this format beside what JSON lines take."""
        return 0

    def head(self) -> bytes:
        """Return what lies before the first chunk."""
        return b""

    def tail(self, starts: Sequence[int]) -> Iterator[bytes]:
        """Yield what lies behind the last chunk, in pieces; ``starts[i]`` is the byte at which chunk i
        begins, with one more entry, where the last one ends. Empty for fixed formats.
        """
        return iter(())

    @abstractmethod
    def open(self) -> ChunkEncoder:
        """Make tables and scratch in this process; of a packed format the result is a ChunkPacker."""
