"""Files of vectors, of any length, of which only the rows that are asked for are held.

By suffix: ``.npy`` (any float dtype), ``.fbin`` (uint32 rows, uint32 dimension, float32 values), ``.parquet``
(a column of float lists) and ``.jsonl`` (an object a line, as `synthgen generate` writes them). Column and
key are called ``embedding``, ``emb`` or ``vector``.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from synthgen.errors import InputError
from synthgen.formats.arrow import import_arrow

Vectors = NDArray[np.float32]
Integers = NDArray[np.int64]

COLUMN_NAMES = ("embedding", "emb", "vector")
_NAMES = ", ".join(COLUMN_NAMES)
_BLOCK_ROWS = 4_096
#: Rows far apart make the system map 64 kB each, so that few at a time bound what is mapped: to 16 MB.
_MAPPED_ROWS = 256
_MAX_LINE_BYTES = 1 << 20
_HINT = "give a .npy, .fbin, .parquet or .jsonl file of embeddings"


def open_vectors(path: Path) -> VectorFile:
    """Return the vectors of ``path``; raise InputError, on one line, when it is no file of vectors.

    Needs pyarrow for .parquet; raises UsageError where that is not installed. A .jsonl file is read once to
    count its lines.
    """
    kinds: dict[str, Callable[[Path], VectorFile]] = {
        ".npy": _NpyFile,
        ".fbin": _FbinFile,
        ".parquet": _ParquetFile,
        ".jsonl": _JsonLinesFile,
    }
    kind = kinds.get(path.suffix)
    if kind is None:
        suffix = path.suffix or "a name with no suffix"
        raise InputError(f"cannot read vectors from {suffix}", where=str(path), next_step=_HINT)
    with _explained(path):
        return kind(path)


class VectorFile(ABC):
    """Rows of float32 that can be read in any order: a source to fit, and to judge."""

    path: Path
    n_rows: int
    dimension: int

    def __len__(self) -> int:
        return self.n_rows

    def gather(self, rows: Integers) -> Vectors:
        """Return the rows ``rows`` (n,) as (n, d) float32, C-contiguous, in one pass over the file.

        What float32 cannot hold becomes infinite. Raises InputError where they cannot be read.
        """
        order = np.argsort(rows, kind="stable")
        out = np.empty((len(rows), self.dimension), np.float32)
        with _explained(self.path), np.errstate(over="ignore"):
            for at, block in self._read(rows[order]):
                out[order[at : at + len(block)]] = block
        return out

    def title(self, row: int) -> str:
        """Return an empty string: titles of a file are not read."""
        return ""

    @abstractmethod
    def _read(self, rows: Integers) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the ascending ``rows`` in blocks (m, d), each with the place of its first in ``rows``."""

    def _refuse(self, what: str, next_step: str = _HINT) -> InputError:
        return InputError(what, where=str(self.path), next_step=next_step)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(error.strerror or str(error), where=str(path), next_step=_HINT) from error


class _MappedFile(VectorFile):
    """A matrix on disk, mapped anew for each block, so that pages do not pile up."""

    def __init__(self, path: Path) -> None:
        self.path = path
        array = self._map()
        if array.ndim != 2 or array.dtype.kind != "f":
            raise self._refuse(f"holds {array.dtype} {array.shape}, not rows of floats")
        self.n_rows, self.dimension = int(array.shape[0]), int(array.shape[1])

    def _read(self, rows: Integers) -> Iterator[tuple[int, NDArray[Any]]]:
        for at in range(0, len(rows), _MAPPED_ROWS):
            yield at, self._map()[rows[at : at + _MAPPED_ROWS]]

    @abstractmethod
    def _map(self) -> NDArray[Any]: ...


class _NpyFile(_MappedFile):
    def _map(self) -> NDArray[Any]:
        try:  # np.load would also open archives and pickles
            return np.asarray(np.lib.format.open_memmap(self.path, mode="r"))
        except (ValueError, EOFError, SyntaxError) as error:
            raise self._refuse(f"not a .npy file ({error})") from error


class _FbinFile(_MappedFile):
    def _map(self) -> NDArray[Any]:
        head = np.fromfile(self.path, "<u4", 2)
        n_rows, dimension = (int(head[0]), int(head[1])) if len(head) == 2 else (0, 0)
        if n_rows == 0 or self.path.stat().st_size != 8 + 4 * n_rows * dimension:
            raise self._refuse("not a .fbin file: its head and its size disagree")
        return np.asarray(np.memmap(self.path, "<f4", "r", 8, (n_rows, dimension)))


class _ParquetFile(VectorFile):
    """A column of float lists, all of one length; read batch by batch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._arrow = import_arrow("pyarrow")
        try:
            self._file = import_arrow("pyarrow.parquet").ParquetFile(path)
        except self._arrow.ArrowException as error:
            raise self._refuse(f"not a Parquet file ({error})") from error
        names = self._file.schema_arrow.names
        self._column = next((name for name in COLUMN_NAMES if name in names), "")
        if not self._column:
            raise self._refuse(
                f"no column {_NAMES} among {', '.join(names[:8])}", "name the column of the vectors so"
            )
        kind = self._file.schema_arrow.field(self._column).type
        if not self._is_float_list(kind):
            raise self._refuse(f"no column of float lists: {self._column} is {kind}")
        self.n_rows = self._file.metadata.num_rows
        self.dimension = next((int(block.shape[1]) for block in self._blocks(1)), 0)

    def _read(self, rows: Integers) -> Iterator[tuple[int, NDArray[Any]]]:
        start = 0
        for block in self._blocks(_BLOCK_ROWS):
            if block.shape[1] != self.dimension:
                what = f"row {start:,} has {block.shape[1]:,} components, the first {self.dimension:,}"
                raise self._refuse(what, "leave such rows out")
            first, last = (int(place) for place in np.searchsorted(rows, [start, start + len(block)]))
            yield first, block[rows[first:last] - start]
            start += len(block)

    def _is_float_list(self, kind: Any) -> bool:
        types = self._arrow.types
        is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        return bool(is_list and types.is_floating(kind.value_type))

    def _blocks(self, batch_rows: int) -> Iterator[Vectors]:
        start = 0
        for batch in self._file.iter_batches(batch_size=batch_rows, columns=[self._column]):
            column = batch.column(0)
            values = column.flatten()
            lengths = column.value_lengths().to_numpy(zero_copy_only=False)
            if column.null_count or values.null_count or (lengths != lengths[:1]).any():
                raise self._bad_row(start, column.to_pylist())
            with np.errstate(over="ignore"):
                flat = values.to_numpy(zero_copy_only=False).astype(np.float32)
            yield flat.reshape(len(column), -1)
            start += len(column)

    def _bad_row(self, start: int, rows: list[Any]) -> InputError:
        """Name the first row at fault among ``rows``, the first of which is row ``start``."""
        length = next((len(row) for row in rows if row is not None), 0)
        bad = next(i for i, row in enumerate(rows) if row is None or len(row) != length or None in row)
        what = "is null, or holds nulls"
        if rows[bad] is not None and len(rows[bad]) != length:
            what = f"has {len(rows[bad]):,} components, others have {length:,}"
        return self._refuse(f"row {start + bad:,} {what}", "leave such rows out")


class _JsonLinesFile(VectorFile):
    """A file of JSON objects, one a line; empty lines do not count. Only chosen lines are parsed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dimension = self.n_rows = 0
        with path.open("rb") as file:
            for line in self._lines(file):
                if self.n_rows == 0:
                    self.dimension = len(self._parse(line, 0))
                self.n_rows += 1

    def _read(self, rows: Integers) -> Iterator[tuple[int, NDArray[Any]]]:
        with self.path.open("rb") as file:
            lines = enumerate(self._lines(file))
            number, line = -1, b""
            for at, row in enumerate(rows.tolist()):
                while number < row:
                    number, line = next(lines, (row, b""))  # none, where the file was cut meanwhile
                yield at, self._parse(line, row)[None]

    def _lines(self, file: IO[bytes]) -> Iterator[bytes]:
        while line := file.readline(_MAX_LINE_BYTES):
            if len(line) == _MAX_LINE_BYTES and not line.endswith(b"\n"):
                raise self._refuse(f"a line is longer than {_MAX_LINE_BYTES:,} bytes")
            if not line.isspace():
                yield line

    def _parse(self, line: bytes, row: int) -> NDArray[np.float64]:
        try:
            memory = orjson.loads(line)
            vector = np.array(next(memory[name] for name in COLUMN_NAMES if name in memory), np.float64)
        except (ValueError, TypeError, StopIteration) as error:
            raise self._refuse(
                f"row {row:,} is no JSON object with a list of numbers called {_NAMES}"
            ) from error
        if vector.ndim != 1 or (self.dimension and len(vector) != self.dimension):
            raise self._refuse(f"row {row:,} has {vector.size} components, those before {self.dimension}")
        return vector
