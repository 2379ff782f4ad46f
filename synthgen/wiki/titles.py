"""Titles of articles in a file of their own, row for row beside a matrix of embeddings.

``.jsonl`` and ``.jsonl.zst``: an object a line with title, and perhaps text and id; ``.txt``: a title a line;
``.parquet``: columns title, and perhaps text and id. Empty lines do not count.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import orjson

from synthgen.errors import InputError
from synthgen.formats.arrow import ParquetRows, require_columns, texts_of
from synthgen.formats.zstd import import_zstandard

TITLE_SUFFIXES = (".jsonl", ".jsonl.zst", ".txt", ".parquet")
_MAX_LINE_BYTES = 1 << 24
_PIECE_BYTES = 1 << 20


class Titled(NamedTuple):
    """What is known of a row beside its vector; ``key`` and ``text`` may be empty."""

    key: str
    title: str
    text: str


def read_titles(path: Path) -> Iterator[Titled]:
    """Yield the rows of a file of titles in order; raise InputError naming file and row where one is bad."""
    if path.name.endswith(".parquet"):
        yield from _read_table(path)
        return
    parse = _parse_plain if path.name.endswith(".txt") else _parse_object
    with _opened(path) as file:
        for row, line in enumerate(_lines(path, file)):
            titled = parse(line)
            if titled is None or not titled.title:
                raise _no_title(path, row)
            yield titled


def count_titles(path: Path) -> int:
    """Return the number of rows of a file of titles, unread; raise InputError where it is none."""
    if not path.name.endswith(TITLE_SUFFIXES):
        kinds = ", ".join(TITLE_SUFFIXES)
        raise InputError(
            "no file of titles", where=str(path), next_step=f"give a file whose name ends in {kinds}"
        )
    if path.name.endswith(".parquet"):
        rows = ParquetRows(path)
        rows.close()
        return rows.n_rows
    with _opened(path) as file:
        return sum(1 for _ in _lines(path, file))


def _read_table(path: Path) -> Iterator[Titled]:
    rows = ParquetRows(path)
    names = ["title", *(name for name in ("text", "id") if name in rows.schema.names)]
    require_columns(rows, names, "titles")
    for first, batch in rows.read(0, rows.n_rows, names):
        columns = {name: texts_of(batch.column(name)) for name in names}
        for i, name in enumerate(columns["title"]):
            title = (name or "").strip()
            if not title:
                raise _no_title(path, first + i)
            text, key = (columns[name][i] or "" if name in columns else "" for name in ("text", "id"))
            yield Titled(key, title, text)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    failures: tuple[type[Exception], ...] = (OSError,)
    try:
        with path.open("rb") as raw:
            if not path.name.endswith(".zst"):
                yield raw
                return
            zstandard = import_zstandard()
            failures = (OSError, zstandard.ZstdError)
            reader: Any = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
            with io.BufferedReader(reader, _PIECE_BYTES) as file:
                yield file
    except failures as error:
        what = getattr(error, "strerror", None) or str(error)
        raise InputError(what, where=str(path), next_step="give a whole file of titles") from error


def _lines(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    row = 0
    while line := file.readline(_MAX_LINE_BYTES):
        if len(line) == _MAX_LINE_BYTES and not line.endswith(b"\n"):
            what = f"row {row:,} is longer than {_MAX_LINE_BYTES:,} bytes"
            raise InputError(what, where=str(path), next_step="give a row a line")
        if not line.isspace():
            row += 1
            yield line


def _parse_plain(line: bytes) -> Titled:
    return Titled("", line.decode("utf-8", "replace").strip(), "")


def _parse_object(line: bytes) -> Titled | None:
    try:
        fields = orjson.loads(line)
    except ValueError:
        return None
    if not isinstance(fields, dict):
        return None
    title, text, key = (fields.get(name) for name in ("title", "text", "id"))
    key = str(key) if isinstance(key, str | int) and not isinstance(key, bool) else ""
    return Titled(key, title.strip() if isinstance(title, str) else "", text if isinstance(text, str) else "")


def _no_title(path: Path, row: int) -> InputError:
    return InputError(f"row {row:,} has no title", where=str(path), next_step="give each row a title")
