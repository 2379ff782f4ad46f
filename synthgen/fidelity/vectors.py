"""Vectors of a file (formats/vectors.py) as a float32 array: sampled, bounded, and checked row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import InputError
from synthgen.formats.vectors import open_vectors

Vectors = NDArray[np.float32]

#: Fewest rows that say anything: halves of them still have a 100th neighbour and 256 codes to train.
MIN_ROWS = 1_000
#: Most rows that are judged; beyond it no figure gets clearer, and exact neighbours cost its square.
MAX_ROWS = 50_000
#: Most bytes of one set as float32; fewer rows are taken of long vectors (15,625 rows at 4,096 dimensions).
MAX_SET_BYTES = 256_000_000
MIN_DIMENSION, MAX_DIMENSION = 16, 4_096
_BLOCK_ROWS = 4_096
_HINT = "give a .npy, .fbin, .parquet or .jsonl file of embeddings"


def load_vectors(path: Path | str, *, max_rows: int = MAX_ROWS, seed: int = 42) -> Vectors:
    """Return vectors of the file ``path`` as a C-contiguous (n, d) float32 array, in the file's order.

    ``n`` is the file's number of rows, or ``max_rows`` (and at most what 256 MB hold) of them, chosen at
    random by ``seed``: the same file and seed give the same rows. Lengths are left as they are. d in 16 to
    4,096. Raises InputError, on one line with file and row, when the file cannot be read, has fewer than
    1,000 rows or rows of other lengths, or when a chosen row is not finite or all zero.
    """
    path = Path(path)
    source = open_vectors(path)
    rows = _choose(path, len(source), source.dimension, max_rows, seed)
    vectors = source.gather(rows)
    check_vectors(vectors, str(path), rows)
    return vectors


def row_limit(dimension: int) -> int:
    """Return how many rows of ``dimension`` components are judged at most."""
    return min(MAX_ROWS, MAX_SET_BYTES // (4 * dimension))


def check_vectors(vectors: NDArray[Any], where: str, rows: NDArray[np.int64] | None = None) -> None:
    """Raise InputError unless ``vectors`` is (n, d), long enough, finite, and without rows of zeros.

    ``rows`` (n,): the numbers to call the rows by, where they are not 0, 1, 2, ...
    """
    if vectors.ndim != 2 or not np.issubdtype(vectors.dtype, np.floating):
        raise InputError(f"not rows of floats: {vectors.dtype} {vectors.shape}", where=where, next_step=_HINT)
    _check_shape(len(vectors), vectors.shape[1], where)
    for at in range(0, len(vectors), _BLOCK_ROWS):
        block = vectors[at : at + _BLOCK_ROWS]
        for bad, what in (
            (~np.isfinite(block).all(axis=1), "is not finite"),
            (~block.any(axis=1), "is all zero"),
        ):
            if bad.any():
                place = at + int(bad.argmax())
                number = place if rows is None else int(rows[place])
                raise InputError(
                    f"row {number:,} {what}",
                    where=where,
                    next_step="leave such rows out: they have no direction",
                )


def _check_shape(n_rows: int, dimension: int, where: str) -> None:
    if n_rows and not MIN_DIMENSION <= dimension <= MAX_DIMENSION:
        raise InputError(
            f"vectors have {dimension:,} components, {MIN_DIMENSION} to {MAX_DIMENSION:,} are understood",
            where=where,
            next_step=_HINT,
        )
    if n_rows < MIN_ROWS:
        raise InputError(
            f"{n_rows:,} rows are too few to judge by",
            where=where,
            next_step=f"give at least {MIN_ROWS:,}, better 20,000",
        )


def _choose(path: Path, n_rows: int, dimension: int, max_rows: int, seed: int) -> NDArray[np.int64]:
    """Return which rows to read, ascending."""
    _check_shape(n_rows, dimension, str(path))
    n = min(n_rows, max_rows, row_limit(dimension))
    if n == n_rows:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(seed).choice(n_rows, n, replace=False))
