"""Articles from Parquet: a file, or a folder of shards, of id, title and plain text.

That is how Wikipedia is published for machine learning.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from synthgen.errors import InputError
from synthgen.formats.arrow import ParquetRows, require_columns, texts_of
from synthgen.wiki.articles import Article, Skipped
from synthgen.wiki.cutting import MAX_CHARACTERS, MIN_CHARACTERS, compose
from synthgen.wiki.tidy import clean_characters, clean_line

_COLUMNS = ("id", "title", "text")
_WHAT = "Wikipedia as Parquet"
#: Rows of a unit of work, at most: about 15 MB of whole articles.
UNIT_ROWS = 1_000


class TableUnit(NamedTuple):
    """Rows [start, stop) of one file, in one row group: a piece of work for one process."""

    path: str
    start: int
    stop: int


class Tables:
    """The files of a source, in order and checked: ``files``, and ``n_rows`` in all."""

    def __init__(self, files: list[Path], bounds: list[list[int]]) -> None:
        self.files = files
        self.n_rows = sum(each[-1] for each in bounds)
        self._bounds = bounds

    def units(self) -> Iterator[TableUnit]:
        """Yield the work in order: files by name, rows as they lie in them."""
        for path, bounds in zip(self.files, self._bounds, strict=True):
            for first, end in pairwise(bounds):
                for start in range(first, end, UNIT_ROWS):
                    yield TableUnit(str(path), start, min(end, start + UNIT_ROWS))


def open_tables(path: Path) -> Tables:
    """Return the Parquet file at ``path``, or the shards in the folder ``path``, ordered by name.

    A folder whose only folder with shards is below it (``20231101.en``) may be named itself. Looks into each
    file's footer: raises InputError, naming the file, where one is not whole or lacks id, title or text, and
    where there is nothing to read; UsageError without pyarrow.
    """
    files = _shards(path) if path.is_dir() else [path]
    bounds = []
    for file in files:
        if not file.is_file():
            raise InputError("no such file", where=str(file), next_step="check its name")
        rows = ParquetRows(file)
        try:
            require_columns(rows, _COLUMNS, _WHAT)
            bounds.append(rows.bounds)
        finally:
            rows.close()
    tables = Tables(files, bounds)
    if tables.n_rows == 0:
        raise InputError("holds no articles", where=str(path), next_step=f"give {_WHAT}")
    return tables


def _shards(folder: Path) -> list[Path]:
    found = _parquet_files(folder)
    if found:
        return found
    below = {
        each: files for each in sorted(folder.iterdir()) if each.is_dir() and (files := _parquet_files(each))
    }
    if len(below) > 1:
        names = ", ".join(each.name for each in list(below)[:8])
        raise InputError(
            f"has shards in several folders: {names}", where=str(folder), next_step="name one of them"
        )
    if not below:
        raise InputError("no .parquet file in this folder", where=str(folder), next_step=f"give {_WHAT}")
    return next(iter(below.values()))


def _parquet_files(folder: Path) -> list[Path]:
    return sorted(each for each in folder.glob("*.parquet") if not each.name.startswith("."))


#: The file that a thread reads: the next unit goes on where the last one ended.
_OPENED = threading.local()


def read_articles(unit: TableUnit, max_characters: int = MAX_CHARACTERS) -> list[Article | Skipped]:
    """Return the articles of ``unit`` in order, their text as :func:`compose` makes it.

    A row with fewer than 50 characters of text is skipped as ``short``, one without an id as ``unreadable``.
    A process that reads one unit after the other passes each row group once, and holds some batches of it.
    Raises InputError naming file and row where it is damaged.
    """
    found: list[Article | Skipped] = []
    for _, batch in _open(unit.path).read(unit.start, unit.stop, _COLUMNS):
        keys, titles, texts = (texts_of(batch.column(name)) for name in _COLUMNS)
        for key, title, text in zip(keys, titles, texts, strict=True):
            found.append(_article(key, title, text, max_characters))
    return found


def _open(path: str) -> ParquetRows:
    rows: ParquetRows | None = getattr(_OPENED, "rows", None)
    if rows is None or str(rows.path) != path:
        close_tables()
        rows = _OPENED.rows = ParquetRows(Path(path))
    return rows


def close_tables() -> None:
    """Close the file that this thread has open, if any."""
    rows: ParquetRows | None = getattr(_OPENED, "rows", None)
    _OPENED.rows = None
    if rows is not None:
        rows.close()


def _article(key: str | None, title: str | None, text: str | None, max_characters: int) -> Article | Skipped:
    key, title, text = clean_line(key), clean_line(title), clean_characters(text or "").strip()
    if not key:
        return Skipped("", title, "unreadable")
    if len(text) < MIN_CHARACTERS:
        return Skipped(key, title, "short")
    return Article(key, "", title, "", compose(title, text, max_characters))
