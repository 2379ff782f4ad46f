"""Files of vectors to fit: .npy and .parquet, of any length, of which only the chosen rows are held."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import InputError, UsageError

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

COLUMN_NAMES = ("embedding", "emb", "vector")
_BLOCK_ROWS = 4_096
_HINT = "give a .npy file of (n, d) floats, or a .parquet file with a column `embedding` of float lists"


def open_vectors(path: Path) -> NpyFile | ParquetFile:
    """Return the vectors of ``path`` as a source to fit; raise InputError when it is no file of vectors.

    Needs pyarrow for .parquet; raises UsageError where that is not installed.
    """
    kinds: dict[str, type[NpyFile] | type[ParquetFile]] = {".npy": NpyFile, ".parquet": ParquetFile}
    if path.suffix not in kinds:
        raise UsageError(f"cannot read vectors from {path.name!r}", next_step=_HINT)
    try:
        return kinds[path.suffix](path)
    except OSError as error:
        raise InputError(error.strerror or str(error), where=str(path), next_step=_HINT) from error


class NpyFile:
    """A .npy file of (n, d) floats, mapped anew for each block so that pages do not pile up."""

    def __init__(self, path: Path) -> None:
        self._path = path
        array = self._map()
        if array.ndim != 2 or array.dtype.kind != "f":
            raise InputError(f"holds {array.dtype} {array.shape}", where=str(path), next_step=_HINT)
        self._n_rows, self.dimension = int(array.shape[0]), int(array.shape[1])

    def __len__(self) -> int:
        return self._n_rows

    def gather(self, rows: Integers) -> Floats:
        """Return the rows (len(rows), d) float32; what float32 cannot hold becomes infinite."""
        out = np.empty((len(rows), self.dimension), np.float32)
        with np.errstate(over="ignore"):
            for at in range(0, len(rows), _BLOCK_ROWS):
                out[at : at + _BLOCK_ROWS] = self._map()[rows[at : at + _BLOCK_ROWS]]
        return out

    def title(self, row: int) -> str:
        """Return an empty string: the file has none."""
        return ""

    def _map(self) -> NDArray[Any]:
        try:  # np.load would also open archives and pickles
            return np.asarray(np.lib.format.open_memmap(self._path, mode="r"))
        except (ValueError, EOFError, SyntaxError) as error:
            raise InputError(f"not a .npy file ({error})", where=str(self._path), next_step=_HINT) from error


class ParquetFile:
    """A .parquet file with a column of float lists, all of one length; read once, batch by batch."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._arrow = _import_arrow("pyarrow")
        try:
            self._file = _import_arrow("pyarrow.parquet").ParquetFile(path)
        except self._arrow.ArrowException as error:
            raise InputError(f"not a Parquet file ({error})", where=str(path), next_step=_HINT) from error
        names = self._file.schema_arrow.names
        self._column = next((name for name in COLUMN_NAMES if name in names), None)
        kind = self._file.schema_arrow.field(self._column).type if self._column else None
        if kind is None or not self._is_float_list(kind):
            raise InputError(
                "no column of float lists called " + ", ".join(COLUMN_NAMES), where=str(path), next_step=_HINT
            )
        self._n_rows: int = self._file.metadata.num_rows
        self.dimension = next((int(block.shape[1]) for block in self._blocks(1)), 0)

    def __len__(self) -> int:
        return self._n_rows

    def gather(self, rows: Integers) -> Floats:
        """Return the rows (len(rows), d) float32, in the order of ``rows``, in one pass over the file."""
        out = np.empty((len(rows), self.dimension), np.float32)
        order = np.argsort(rows, kind="stable")
        ascending, start = rows[order], 0
        for block in self._blocks(_BLOCK_ROWS):
            first, last = np.searchsorted(ascending, [start, start + len(block)])
            if block.shape[1] != self.dimension:
                self._refuse(start, len(block))
            out[order[first:last]] = block[ascending[first:last] - start]
            start += len(block)
        return out

    def title(self, row: int) -> str:
        """Return an empty string: titles of a file are not read."""
        return ""

    def _is_float_list(self, kind: Any) -> bool:
        types = self._arrow.types
        is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        return bool(is_list and types.is_floating(kind.value_type))

    def _blocks(self, batch_rows: int) -> Iterator[Floats]:
        start = 0
        for batch in self._file.iter_batches(batch_size=batch_rows, columns=[self._column]):
            column = batch.column(0)
            lengths = set(column.value_lengths().to_pylist())
            values = column.flatten()
            if len(lengths) != 1 or None in lengths or values.null_count:
                self._refuse(start, len(column))
            with np.errstate(over="ignore"):
                flat = values.to_numpy(zero_copy_only=False).astype(np.float32)
            yield flat.reshape(len(column), -1)
            start += len(column)

    def _refuse(self, start: int, n: int) -> None:
        raise InputError(
            f"rows {start:,} to {start + n - 1:,} hold nulls, or vectors of other lengths than the first",
            where=str(self._path),
            next_step="leave such rows out",
        )


def _import_arrow(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"reading .parquet needs the package pyarrow ({error})",
            next_step="run pip install 'synthgen-memories[parquet]', or save the vectors as .npy",
        ) from error
