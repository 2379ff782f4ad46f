"""Memories in Parquet as request bodies: what memory_files.py wrote, and what others did."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import xxhash

from synthgen.errors import InputError
from synthgen.formats.arrow import (
    ParquetRows,
    import_arrow,
    require_columns,
    texts_of,
    vector_column,
    vectors_of,
)

_HASH_BYTES = 1 << 23
#: Fields of a body that a column may give, where it is there.
_OPTIONAL = ("confidence", "timestamp", "tags", "memory_type")


@dataclass(frozen=True)
class TableSource:
    """A Parquet file of memories: columns content and a vector, perhaps id, confidence, timestamp, tags.

    A row without an id gets one that depends on the file's digest and the row alone, as a line of JSON does.
    """

    path: Path
    n_rows: int
    digest: str

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self.path)

    def open(self) -> TableReader:
        """Open it in this process."""
        return TableReader(self)


class TableReader:
    """Reads rows by number; in order is fast, a row before the last one costs a part of its row group."""

    def __init__(self, source: TableSource) -> None:
        self._rows = ParquetRows(source.path)
        self._digest = source.digest
        self._vector = vector_column(self._rows)
        self._columns = _columns_of(self._rows, self._vector)

    def read(self, start: int, stop: int) -> Sequence[bytes]:
        """Return the bodies of rows [start, stop); raise InputError naming damaged rows."""
        return [
            body
            for first, batch in self._rows.read(start, stop, self._columns)
            for body in self._bodies(first, batch)
        ]

    def close(self) -> None:
        """Close the file."""
        self._rows.close()

    def _bodies(self, first: int, batch: Any) -> Iterator[bytes]:
        ids = texts_of(batch.column("id")) if "id" in self._columns else [None] * len(batch)
        contents = texts_of(batch.column("content"))
        vectors = vectors_of(batch.column(self._vector), first, self._rows)
        names = [name for name in self._columns if name in _OPTIONAL]
        others = [self._values_of(batch.column(name), name, first) for name in names]
        for row, (memory_id, content, vector) in enumerate(zip(ids, contents, vectors, strict=True)):
            memory = {
                "id": memory_id or f"row-{self._digest[:8]}-{first + row:013d}",
                "content": content,
                "embedding": vector,
            }
            for name, values in zip(names, others, strict=True):
                if values[row] is not None:
                    memory[name] = _plain(values[row])
            yield self._dump(memory, first + row)

    def _values_of(self, column: Any, name: str, first: int) -> list[Any]:
        """Return Python values; of an instant the microseconds, which is all that Python has."""
        arrow = import_arrow()
        try:
            if arrow.types.is_timestamp(column.type):
                column = column.cast(arrow.timestamp("us", column.type.tz), safe=False)
            values: list[Any] = column.to_pylist()
        except (ValueError, OverflowError) as error:
            what = f"column {name} has what is no value, at row {first:,} or after it ({error})"
            raise self._rows.refuse(what, "mend that column, or leave it out") from error
        return values

    def _dump(self, memory: dict[str, Any], row: int) -> bytes:
        try:
            return orjson.dumps(memory, option=orjson.OPT_SERIALIZE_NUMPY)
        except orjson.JSONEncodeError as error:
            what = f"row {row:,} has what JSON cannot say ({error})"
            raise self._rows.refuse(what, "make its columns strings and numbers") from error


def scan_table(path: Path) -> TableSource:
    """Look at the columns of a Parquet file of memories, and read it once for its XXH3-128 digest.

    Raises InputError where it is no such file or holds no rows, UsageError without pyarrow.
    """
    rows = ParquetRows(path)
    try:
        _columns_of(rows, vector_column(rows))
        if rows.n_rows == 0:
            raise InputError("holds no memories", where=str(path), next_step="give a file of memories")
    finally:
        rows.close()
    hasher = xxhash.xxh3_128()
    with path.open("rb") as file:
        while data := file.read(_HASH_BYTES):
            hasher.update(data)
    return TableSource(path, rows.n_rows, hasher.hexdigest())


def _columns_of(rows: ParquetRows, vector: str) -> list[str]:
    texts = ["content", *(name for name in ("id",) if name in rows.schema.names)]
    require_columns(rows, texts, "memories")
    return [*texts, vector, *(name for name in _OPTIONAL if name in rows.schema.names)]


def _plain(value: Any) -> Any:
    """Return what JSON can say: an instant as RFC 3339, in UTC where its column names no zone; decimals as
    floats.
    """
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, datetime.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=datetime.UTC)).isoformat()
    return value
