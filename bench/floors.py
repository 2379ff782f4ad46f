"""What others need for the same: the standard tools' own nanoseconds a number, in CPU time of one process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson

from bench.commands import DIMENSION
from bench.steps import DRAW, ENCODE, WRITE
from synthgen.generate.isotropic import normal_table
from synthgen.specs import BLOCK_ROWS

_REPETITIONS = 5
NAMES = {
    DRAW: "numpy: raw words, a table lookup a draw",
    ENCODE: "orjson, a float32 array a row",
    WRITE: "pwrite of one block again and again",
}


def time_floors(path: Path, line_bytes: int) -> dict[str, float]:
    """Return CPU nanoseconds a number by step, least of some repetitions; ``path`` is written and deleted.

    Drawing: what numpy takes for 16 random bits and the normal that they stand for, without centroid, sum of
    squares or grid. Encoding: orjson's text of such numbers as float32. Writing: blocks of a worker's size.
    """
    generator = np.random.PCG64DXSM(1)
    table, n_numbers = normal_table(), BLOCK_ROWS * DIMENSION
    drawn = np.empty(n_numbers, np.int32)
    rows = np.random.default_rng(1).normal(0, 0.036, (BLOCK_ROWS, DIMENSION)).astype(np.float32)
    block = os.urandom(BLOCK_ROWS * line_bytes)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)

    def draw() -> None:
        np.take(table, generator.random_raw(n_numbers // 4).view(np.uint16), out=drawn, mode="clip")

    def encode() -> None:
        for row in rows:
            orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)

    def write() -> None:
        os.write(descriptor, block)

    try:
        return {
            DRAW: _least_ns(draw, n_numbers),
            ENCODE: _least_ns(encode, n_numbers),
            WRITE: _least_ns(write, n_numbers),
        }
    finally:
        os.close(descriptor)
        path.unlink()


def _least_ns(work: Callable[[], None], n_numbers: int, calls: int = 20) -> float:
    spent = []
    for _ in range(_REPETITIONS):
        begun_ns = time.process_time_ns()
        for _ in range(calls):
            work()
        spent.append((time.process_time_ns() - begun_ns) / calls / n_numbers)
    return min(spent)
