"""What each step of generating costs a number, in CPU time of one process."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from bench.commands import DIMENSION
from synthgen.formats.jsonl import LineEncoder
from synthgen.generate.dataset import Dataset
from synthgen.phases.datasets import source_of
from synthgen.runtime.placed import PlacedWriter
from synthgen.specs import CHUNK_ROWS

DRAW, ENCODE, HASH, WRITE = "draw, sum, normalise", "encode", "hash (XXH3-128)", "write"
STEPS = (DRAW, ENCODE, HASH, WRITE)


@dataclass
class _Clock:
    """Adds the CPU nanoseconds since the last call to a step."""

    spent_ns: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STEPS, 0))
    last_ns: int = field(default_factory=time.process_time_ns)

    def charge(self, step: str) -> None:
        now_ns = time.process_time_ns()
        self.spent_ns[step] += now_ns - self.last_ns
        self.last_ns = now_ns


def time_steps(dataset: Dataset, path: Path, n_rows: int) -> dict[str, float]:
    """Return CPU nanoseconds a number by step, over whole chunks of ``dataset`` written to a new ``path``.

    The loop is a worker's own, block by block, so that caches are as warm as they are there. The parent's
    part, and waiting for the disk, are not in it. Writing is what a worker and its thread spend on it.
    """
    encoder = LineEncoder(source_of(dataset).layout)
    path.touch()
    writer = PlacedWriter(path)
    try:
        _write_chunk(dataset, encoder, writer, 0)  # tables are made, pages are touched
        clock = _Clock()
        n_chunks = max(1, n_rows // CHUNK_ROWS)
        for chunk in range(1, n_chunks + 1):
            _write_chunk(dataset, encoder, writer, chunk, clock)
    finally:
        path.unlink()
    n_numbers = n_chunks * CHUNK_ROWS * DIMENSION
    return {step: spent_ns / n_numbers for step, spent_ns in clock.spent_ns.items()}


def _write_chunk(
    dataset: Dataset, encoder: LineEncoder, writer: PlacedWriter, chunk: int, clock: _Clock | None = None
) -> None:
    clock = clock or _Clock()
    hasher = xxhash.xxh3_128()
    writer.begin(chunk * CHUNK_ROWS * encoder.layout.line_bytes)
    for rows in dataset.blocks(chunk * CHUNK_ROWS, (chunk + 1) * CHUNK_ROWS):
        clock.charge(DRAW)
        data = encoder.encode(rows).data.cast("B")
        clock.charge(ENCODE)
        hasher.update(data)
        clock.charge(HASH)
        writer.add(data)
        clock.charge(WRITE)
    writer.wait(writer.end())
    clock.charge(WRITE)
