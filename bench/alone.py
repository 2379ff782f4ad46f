"""The rates that formats are held against: vectors alone, and a general compressor alone on the lines."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import zstandard

from synthgen.formats.jsonl import LineEncoder
from synthgen.generate.dataset import Dataset
from synthgen.phases.datasets import source_of
from synthgen.runtime.pool import Channel, Done, Pool
from synthgen.specs import CHUNK_ROWS, chunk_bounds, n_chunks


@dataclass(frozen=True)
class Rate:
    """Rows a second once all workers are at work, and the bytes that a row became."""

    rows_per_s: float
    bytes_a_row: float


def draw_alone(dataset: Dataset, workers: int) -> Rate:
    """Return the rate of making the rows' arrays, by as many workers, thrown away unencoded."""
    return _measure(_draw_chunks, dataset, workers)


def compress_alone(dataset: Dataset, workers: int) -> Rate:
    """Return the rate of zstd level 1 alone: each worker compresses the lines of one chunk, over and over."""
    return _measure(_compress_chunks, dataset, workers)


def _measure(target: Callable[..., None], dataset: Dataset, workers: int) -> Rate:
    total = n_chunks(dataset.spec.count)
    begun_s, n_bytes, done = 0.0, 0, 0
    with Pool(target, (dataset,), workers) as pool:
        for event in pool.run(range(total)):
            if not isinstance(event, Done):
                continue
            done += 1
            n_bytes += event.value
            if done == 2 * workers:  # all have started
                begun_s, n_bytes = time.perf_counter(), 0
        elapsed_s = time.perf_counter() - begun_s
    rows = (done - 2 * workers) * CHUNK_ROWS
    return Rate(rows / elapsed_s, n_bytes / rows)


def _draw_chunks(channel: Channel, dataset: Dataset) -> None:
    while (assignment := channel.get()) is not None:
        n_bytes = 0
        for rows in dataset.blocks(*chunk_bounds(assignment.task, dataset.spec.count)):
            n_bytes += rows.embeddings.nbytes
        channel.done(assignment.number, n_bytes)


def _compress_chunks(channel: Channel, dataset: Dataset) -> None:
    encoder = LineEncoder(source_of(dataset).layout)
    lines = b"".join(encoder.encode(rows).tobytes() for rows in dataset.blocks(0, CHUNK_ROWS))
    compressor = zstandard.ZstdCompressor(level=1)
    while (assignment := channel.get()) is not None:
        channel.done(assignment.number, len(compressor.compress(lines)))
