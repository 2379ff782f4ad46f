"""Parquet files of other tools' making, read by rows, in memory that does not grow with their row groups."""

from __future__ import annotations

import importlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import InputError, UsageError

Vectors = NDArray[np.float32]

#: Names of a column of vectors, in case that there are several.
VECTOR_NAMES = ("embedding", "emb", "vector", "embeddings", "vectors")
#: Rows decoded at a time: some MB of articles, or of vectors.
BATCH_ROWS = 250
#: Without it a whole column of a row group would be read at once.
_BUFFER_BYTES = 1 << 18


def import_arrow(module: str = "pyarrow") -> Any:
    """Return ``pyarrow`` or a module of it; raise UsageError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"Parquet needs the package pyarrow ({error})",
            next_step="run pip install 'synthgen-memories[parquet]'",
        ) from error


class ParquetRows:
    """The rows of one Parquet file, by their number in the file, of which chosen columns are read.

    What is read in order costs one pass over a row group; what lies before the last row read costs the way
    from the beginning of its row group anew. Holds some batches of 250 rows, whatever a row group's size.
    ``bounds[i]`` is the number of row group i's first row; its last item is the number of rows.
    """

    def __init__(self, path: Path) -> None:
        """Open ``path``; raise InputError when it is no whole Parquet file, UsageError without pyarrow."""
        self.path = path
        self._errors = (import_arrow().ArrowException, OSError)
        parquet = import_arrow("pyarrow.parquet")
        try:
            self._file = parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        except self._errors as error:
            raise self.refuse(f"not a whole Parquet file ({error})", "fetch or make it again") from error
        metadata = self._file.metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self.bounds: list[int] = [0, *np.cumsum(sizes, dtype=np.int64).tolist()]
        self.schema = self._file.schema_arrow
        self._columns: tuple[str, ...] = ()
        self._batches: Iterator[Any] = iter(())
        self._batch: Any = None
        self._at = self._end = 0

    @property
    def n_rows(self) -> int:
        """Rows of the file."""
        return self.bounds[-1]

    def refuse(self, what: str, next_step: str) -> InputError:
        """Return the error that tells about this file."""
        return InputError(what, where=str(self.path), next_step=next_step)

    def read(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[tuple[int, Any]]:
        """Yield (first row, record batch of ``columns``) for the rows [start, stop), in order."""
        if tuple(columns) != self._columns:
            self._columns, self._at, self._end, self._batch = tuple(columns), 0, 0, None
        while start < stop:
            self._advance_to(start)
            n = min(stop, self._at + len(self._batch)) - start
            yield start, self._batch.slice(start - self._at, n)
            start += n

    def close(self) -> None:
        """Close the file."""
        self._batch, self._batches, self._at, self._end = None, iter(()), 0, 0
        self._file.close()

    def _advance_to(self, row: int) -> None:
        """Have the batch that holds ``row``."""
        if self._batch is None or not self._at <= row < self._end:
            group = bisect_right(self.bounds, row) - 1
            self._at, self._end, self._batch = self.bounds[group], self.bounds[group + 1], None
            self._batches = self._file.iter_batches(
                BATCH_ROWS, row_groups=[group], columns=list(self._columns), use_threads=False
            )
        while self._batch is None or row >= self._at + len(self._batch):
            self._at += 0 if self._batch is None else len(self._batch)
            self._batch = None
            self._batch = self._next(row)

    def _next(self, row: int) -> Any:
        try:
            return next(self._batches)
        except StopIteration:
            raise self.refuse(f"row {row:,} is missing", "fetch or make the file again") from None
        except self._errors as error:
            raise self.refuse(f"damaged at about row {self._at:,} ({error})", "fetch it again") from error


def require_columns(rows: ParquetRows, names: Sequence[str], what: str) -> None:
    """Raise InputError unless the file has the columns ``names``, each of strings (``id``: or integers)."""
    missing = [name for name in names if name not in rows.schema.names]
    if missing:
        raise rows.refuse(
            f"no column {', '.join(missing)} (it has {', '.join(rows.schema.names[:12]) or 'none'})",
            f"give {what}, with columns {', '.join(names)}",
        )
    for name in names:
        kind = rows.schema.field(name).type
        if not _is_text(kind) and not (name == "id" and _is_integer(kind)):
            raise rows.refuse(f"column {name} is {kind}, not string", "make it a column of strings")


def texts_of(column: Any) -> list[str | None]:
    """Return a column of strings or integers, of any Arrow kind, as strings; null is None.

    Bytes that are no UTF-8 (Arrow does not look) become U+FFFD.
    """
    arrow = import_arrow()
    if arrow.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if _is_integer(column.type):
        return [None if value is None else str(value) for value in column.to_pylist()]
    try:
        values: list[str | None] = column.to_pylist()
    except UnicodeDecodeError:
        kind = arrow.large_binary() if arrow.types.is_large_string(column.type) else arrow.binary()
        raw = column.cast(kind).to_pylist()
        values = [None if value is None else value.decode("utf-8", "replace") for value in raw]
    return values


def has_vectors(path: Path) -> bool:
    """Return whether the Parquet file at ``path`` has a column of float lists; raises as opening it does."""
    rows = ParquetRows(path)
    try:
        return any(_is_float_list(field.type) for field in rows.schema)
    finally:
        rows.close()


def vector_column(rows: ParquetRows) -> str:
    """Return the name of the column of float lists: the only one, or the only one with a known name.

    Raises InputError where there is none, or where several could be meant.
    """
    found = [field.name for field in rows.schema if _is_float_list(field.type)]
    known = [name for name in VECTOR_NAMES if name in found]
    if len(found) == 1 or len(known) == 1:
        return found[0] if len(found) == 1 else known[0]
    if not found:
        raise rows.refuse(
            f"no column of float lists among {', '.join(rows.schema.names[:12])}",
            "give a file with a column of vectors called embedding",
        )
    raise rows.refuse(
        f"several columns could be the vectors: {', '.join(found)}",
        "call the one that is meant embedding, and the others by other names",
    )


def vectors_of(column: Any, first_row: int, rows: ParquetRows, dimension: int = 0) -> Vectors:
    """Return a column of float lists as (n, d) float32; what float32 cannot hold becomes infinite.

    Raises InputError that names the row (``first_row`` and up) of a null or of another length than
    ``dimension`` (0: than the first).
    """
    values = column.flatten()
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    dimension = dimension or int(lengths[0] if len(lengths) and lengths[0] == lengths[0] else 0)
    if column.null_count or values.null_count or (lengths != dimension).any():
        raise _bad_row(column.to_pylist(), first_row, rows, dimension)
    with np.errstate(over="ignore"):
        flat = values.to_numpy(zero_copy_only=False).astype(np.float32)
    matrix: Vectors = flat.reshape(len(column), dimension)
    return matrix


def _bad_row(vectors: list[Any], first_row: int, rows: ParquetRows, dimension: int) -> InputError:
    bad = next(i for i, v in enumerate(vectors) if v is None or len(v) != dimension or None in v)
    vector = vectors[bad]
    what = "no vector, or one with nulls"
    if vector is not None and len(vector) != dimension:
        what = f"{len(vector):,} components, not {dimension:,}"
    return rows.refuse(f"row {first_row + bad:,} has {what}", "mend that row, or leave it out")


def _is_text(kind: Any) -> bool:
    types = import_arrow().types
    if types.is_dictionary(kind):
        kind = kind.value_type
    # string_view is not known to older versions
    is_view = getattr(types, "is_string_view", lambda _: False)
    return bool(types.is_string(kind) or types.is_large_string(kind) or is_view(kind))


def _is_integer(kind: Any) -> bool:
    types = import_arrow().types
    return bool(types.is_integer(kind.value_type if types.is_dictionary(kind) else kind))


def _is_float_list(kind: Any) -> bool:
    types = import_arrow().types
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(is_list and types.is_floating(kind.value_type))
