"""Vectors of a file as a float32 array: sampled, bounded, and checked row by row.

Formats by suffix: ``.npy`` (any float dtype), ``.fbin`` (uint32 rows, uint32 dimension, float32 values),
``.parquet`` (a list column ``embedding``, ``emb`` or ``vector``), ``.jsonl`` (the same names as keys).
A file is read twice at most and never held whole; what is held are the rows that were chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from synthgen.errors import InputError
from synthgen.fidelity.extras import need

Vectors = NDArray[np.float32]

#: Fewest rows that say anything: halves of them still have a 100th neighbour and 256 codes to train.
MIN_ROWS = 1_000
#: Most rows that are judged; beyond it no figure gets clearer, and exact neighbours cost its square.
MAX_ROWS = 50_000
#: Most bytes of one set as float32; fewer rows are taken of long vectors (15,625 rows at 4,096 dimensions).
MAX_SET_BYTES = 256_000_000
MIN_DIMENSION, MAX_DIMENSION = 16, 4_096
COLUMN_NAMES = ("embedding", "emb", "vector")
_MAX_LINE_BYTES = 1 << 20
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
    readers: dict[str, Callable[[Path], _Source]] = {
        ".npy": _open_npy,
        ".fbin": _open_fbin,
        ".parquet": _Parquet,
        ".jsonl": _JsonLines,
    }
    reader = readers.get(path.suffix)
    if reader is None:
        raise InputError(
            f"cannot read vectors from {path.suffix or 'no suffix'}", where=str(path), next_step=_HINT
        )
    try:
        source = reader(path)
        rows = _choose(path, source.n_rows, source.dimension, max_rows, seed)
        vectors = source.read(rows)
    except OSError as error:
        raise InputError(error.strerror or str(error), where=str(path), next_step=_HINT) from error
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


class _Source(Protocol):
    """What a file offers: its shape, and chosen rows (ascending)."""

    n_rows: int
    dimension: int

    def read(self, rows: NDArray[np.int64]) -> Vectors: ...


class _Matrix:
    """A memory-mapped matrix."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array
        self.n_rows, self.dimension = array.shape

    def read(self, rows: NDArray[np.int64]) -> Vectors:
        out = np.empty((len(rows), self.dimension), np.float32)
        with np.errstate(over="ignore"):  # what is too large for float32 is reported as not finite
            for at in range(0, len(rows), _BLOCK_ROWS):
                out[at : at + _BLOCK_ROWS] = self._array[rows[at : at + _BLOCK_ROWS]]
        return out


def _open_npy(path: Path) -> _Matrix:
    try:  # np.load would also open archives and pickles
        array = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError, SyntaxError) as error:
        raise InputError(f"not a .npy file ({error})", where=str(path), next_step=_HINT) from error
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"holds {array.dtype} {array.shape}, not rows of floats", where=str(path), next_step=_HINT
        )
    return _Matrix(array)


def _open_fbin(path: Path) -> _Matrix:
    head = np.fromfile(path, "<u4", 2)
    n_rows, dimension = (int(head[0]), int(head[1])) if len(head) == 2 else (0, 0)
    if len(head) < 2 or path.stat().st_size != 8 + 4 * n_rows * dimension or n_rows == 0:
        raise InputError("not a .fbin file: its head and its size disagree", where=str(path), next_step=_HINT)
    return _Matrix(np.memmap(path, "<f4", "r", 8, (n_rows, dimension)))


class _Parquet:
    """A Parquet file with a column of lists, read a batch at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._arrow = need("pyarrow")
        parquet = need("pyarrow.parquet")
        try:
            self._file = parquet.ParquetFile(path)
        except self._arrow.ArrowException as error:
            raise InputError(f"not a Parquet file ({error})", where=str(path), next_step=_HINT) from error
        names = self._file.schema_arrow.names
        self._column = next((name for name in COLUMN_NAMES if name in names), "")
        if not self._column:
            raise InputError(
                f"no column {', '.join(COLUMN_NAMES)} among {', '.join(names[:8])}",
                where=str(path),
                next_step="name the column of the vectors so",
            )
        self.n_rows: int = self._file.metadata.num_rows
        first = next(self._batches(), None)
        self.dimension: int = 0 if first is None else first.shape[1]

    def _batches(self) -> Iterator[Vectors]:
        start = 0
        for batch in self._file.iter_batches(batch_size=_BLOCK_ROWS, columns=[self._column]):
            column = batch.column(0)
            types = self._arrow.types
            kind = column.type
            is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
            if not is_list or not types.is_floating(kind.value_type):
                raise InputError(
                    f"column {self._column} is {kind}, not lists of floats", where=str(self._path)
                )
            lengths = column.value_lengths().to_numpy(zero_copy_only=False)
            values = column.flatten()
            if column.null_count or values.null_count or len(set(lengths.tolist())) > 1:
                raise InputError(
                    f"rows {start:,} to {start + len(column) - 1:,} hold nulls or vectors of other lengths",
                    where=str(self._path),
                )
            with np.errstate(over="ignore"):
                flat = values.to_numpy(zero_copy_only=False).astype(np.float32)
            yield flat.reshape(len(column), -1)
            start += len(column)

    def read(self, rows: NDArray[np.int64]) -> Vectors:
        out = np.empty((len(rows), self.dimension), np.float32)
        start = filled = 0
        for block in self._batches():
            if block.shape[1] != self.dimension:
                raise InputError(
                    f"row {start:,} has {block.shape[1]} components, those before {self.dimension}",
                    where=str(self._path),
                )
            stop = int(np.searchsorted(rows, start + len(block)))
            out[filled:stop] = block[rows[filled:stop] - start]
            filled, start = stop, start + len(block)
        return out


class _JsonLines:
    """A file of JSON objects, one a line; empty lines do not count."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.dimension = 0
        self.n_rows = 0
        with path.open("rb") as file:
            for line in self._lines(file):
                if self.n_rows == 0:
                    self.dimension = len(self._parse(line, 0))
                self.n_rows += 1

    def _lines(self, file: IO[bytes]) -> Iterator[bytes]:
        while line := file.readline(_MAX_LINE_BYTES):
            if len(line) == _MAX_LINE_BYTES and not line.endswith(b"\n"):
                raise InputError(
                    f"a line is longer than {_MAX_LINE_BYTES:,} bytes", where=str(self._path), next_step=_HINT
                )
            if not line.isspace():
                yield line

    def _parse(self, line: bytes, row: int) -> Vectors:
        try:
            memory = orjson.loads(line)
            vector = next(memory[name] for name in COLUMN_NAMES if name in memory)
            with np.errstate(over="ignore"):
                parsed: Vectors = np.array(vector, np.float64).astype(np.float32)
        except (ValueError, TypeError, StopIteration) as error:
            raise InputError(
                f"row {row:,} is no JSON object with a list of numbers called {', '.join(COLUMN_NAMES)}",
                where=str(self._path),
                next_step=_HINT,
            ) from error
        if parsed.ndim != 1 or (self.dimension and len(parsed) != self.dimension):
            raise InputError(
                f"row {row:,} has {parsed.size} components, those before {self.dimension}",
                where=str(self._path),
            )
        return parsed

    def read(self, rows: NDArray[np.int64]) -> Vectors:
        out = np.empty((len(rows), self.dimension), np.float32)
        at = 0
        with self._path.open("rb") as file:
            for row, line in enumerate(self._lines(file)):
                if at < len(rows) and rows[at] == row:
                    out[at] = self._parse(line, row)
                    at += 1
        return out
