"""The built-in articles on their way: as rows to send, and by column to be written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from synthgen.formats.jsonl import LineLayout
from synthgen.formats.real_memories import MemoryBlock, decode_memories
from synthgen.formats.source import EncodedSource
from synthgen.specs import Grid, RowSource
from synthgen.wiki.foundation import DECIMALS, Foundation
from synthgen.wiki.records import TAG

NAME = "built-in foundation"


def foundation_source(limit: int | None = None) -> RowSource:
    """Return the built-in articles, the first ``limit`` of them, as rows to send."""
    maker = Foundation(limit)
    layout = LineLayout.of(maker, maker.dimension, Grid.unit(DECIMALS))
    return EncodedSource(maker, layout, maker.n_rows, maker.digest, NAME)


def foundation_blocks(limit: int | None = None) -> Iterator[MemoryBlock]:
    """Yield the same memories by column, as readers of the rows get them."""
    source = foundation_source(limit)
    reader = source.open()
    for start in range(0, source.n_rows, 1_000):
        block = decode_memories(reader.read(start, min(source.n_rows, start + 1_000)))
        yield replace(block, tags=(TAG, "en"))
    reader.close()
