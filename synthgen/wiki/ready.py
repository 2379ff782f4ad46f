"""Embeddings that somebody else computed, with the titles of their articles: the model's hours are saved.

    v.npy and, beside it or named, v.jsonl, v.jsonl.zst, v.txt (one title a line) or v.parquet
    v.parquet with a column of vectors, and title, text, id (text and id may be missing)

Vectors are scaled to unit length, as the model's are; those that have it (to 1e-6) stay bit for bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import InputError, UsageError
from synthgen.formats.arrow import ParquetRows, require_columns, texts_of, vector_column, vectors_of
from synthgen.formats.vectors import open_vectors
from synthgen.wiki.articles import Article
from synthgen.wiki.cutting import MAX_CHARACTERS, compose
from synthgen.wiki.tidy import clean_characters, clean_line
from synthgen.wiki.titles import TITLE_SUFFIXES, Titled, count_titles, read_titles

Vectors = NDArray[np.float32]
Block = tuple[list[Article], Vectors]

BLOCK_ROWS = 1_000
_UNIT_TOLERANCE = 1e-6
_OPTIONAL_COLUMNS = ("text", "id")


class Ready(ABC):
    """Articles with embeddings: ``n_rows`` of ``dimension`` components, from ``path``.

    ``titles`` is the file of their titles, None where it is ``path``. ``shortest`` and ``longest`` are the
    lengths of the vectors read so far, before they were scaled: far from 1, they are no embeddings of a model
    like all-mpnet-base-v2, or were scaled by somebody.
    """

    def __init__(self, path: Path, max_characters: int) -> None:
        self.path = path
        self.titles: Path | None = None
        self.n_rows = 0
        self.dimension = 0
        self.shortest, self.longest = np.inf, 0.0
        self._max_characters = max_characters

    @property
    def lengths(self) -> tuple[float, float] | None:
        """``shortest`` and ``longest``; None before a vector was read."""
        return (self.shortest, self.longest) if self.longest > 0 else None

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """Yield the rows from ``start`` on: at most 1,000 articles, and (n, d) float32 of unit length.

        An article's key is its id, or the file's name without suffix and its row (``vital-12``). Raises
        InputError naming the row of a vector that is null, of another length, not finite or all zero, and of
        a title that is missing; the blocks before it have then been yielded.
        """
        for first, titled, vectors in self._read(start):
            lengths, fault = _measure(vectors)
            n_good = len(vectors) if fault is None else fault
            if n_good:
                self.shortest = min(self.shortest, float(lengths[:n_good].min()))
                self.longest = max(self.longest, float(lengths[:n_good].max()))
                yield self._articles(first, titled[:n_good]), _scale(vectors[:n_good], lengths[:n_good])
            if fault is not None:
                raise self._bad_vector(first + fault, float(lengths[fault]))

    @abstractmethod
    def _read(self, start: int) -> Iterator[tuple[int, list[Titled], Vectors]]:
        """Yield (first row, titles and texts, vectors as they are) for the rows from ``start`` on."""

    def _articles(self, first: int, titled: list[Titled]) -> list[Article]:
        return [self._article(first + i, *each) for i, each in enumerate(titled)]

    def _article(self, row: int, key: str, title: str, text: str) -> Article:
        key, title = clean_line(key) or f"{self.path.stem}-{row}", clean_line(title)
        text = clean_characters(text)
        return Article(key, "", title, "", compose(title, text, self._max_characters))

    def _bad_vector(self, row: int, length: float) -> InputError:
        what = "is all zero" if length == 0 else "has a component that is no finite number"
        return self._refuse(f"the vector of row {row:,} {what}")

    def _refuse(self, what: str) -> InputError:
        return InputError(what, where=str(self.path), next_step="mend that row, or leave it out")


def open_ready(path: Path, titles: Path | None = None, max_characters: int = MAX_CHARACTERS) -> Ready:
    """Return the ready embeddings at ``path``: .npy with ``titles``, or .parquet.

    ``titles`` None: the file of the same name beside the .npy. Looks at heads and counts titles: raises
    InputError, on one line, where a file is no such one, there is no row, or numbers of rows differ;
    UsageError where no titles are found or flags do not fit, and without pyarrow where it is needed.
    """
    if not path.is_file():
        raise InputError("no such file", where=str(path), next_step="give a .npy or .parquet file")
    if path.suffix == ".parquet":
        if titles is not None:
            raise UsageError("titles of a .parquet file are its column title: leave --titles out")
        ready: Ready = _ReadyTable(path, max_characters)
    elif path.suffix == ".npy":
        ready = _ReadyArray(path, titles or _find_titles(path), max_characters)
    else:
        raise InputError("no ready embeddings", where=str(path), next_step="give a .npy or .parquet file")
    if ready.n_rows == 0 or ready.dimension == 0:
        raise InputError("holds no vectors", where=str(path), next_step="give embeddings, one a row")
    return ready


def _find_titles(path: Path) -> Path:
    found = [beside for suffix in TITLE_SUFFIXES if (beside := path.with_suffix(suffix)).is_file()]
    if len(found) == 1:
        return found[0]
    names = f"{path.stem}{{{','.join(TITLE_SUFFIXES)}}}"
    what = (
        f"several files could be the titles of {path}"
        if found
        else f"no titles for {path}: {names} is missing"
    )
    raise UsageError(what, next_step="name them by --titles FILE")


class _ReadyArray(Ready):
    """A matrix, and its titles in a file of their own."""

    def __init__(self, path: Path, titles: Path, max_characters: int) -> None:
        super().__init__(path, max_characters)
        self._file = open_vectors(path)
        self.titles = titles
        self.n_rows, self.dimension = self._file.n_rows, self._file.dimension
        n_titles = count_titles(titles)
        if n_titles != self.n_rows:
            raise InputError(
                f"{n_titles:,} titles for the {self.n_rows:,} rows of {path}",
                where=str(titles),
                next_step="give as many titles as rows, in the same order",
            )

    def _read(self, start: int) -> Iterator[tuple[int, list[Titled], Vectors]]:
        assert self.titles is not None, "an array has none within it"
        titles = islice(read_titles(self.titles), start, None)
        for first in range(start, self.n_rows, BLOCK_ROWS):
            rows = np.arange(first, min(self.n_rows, first + BLOCK_ROWS))
            titled = list(islice(titles, len(rows)))
            if len(titled) < len(rows):
                raise self._refuse(f"{self.titles} ends at row {first + len(titled):,}")
            yield first, titled, self._file.gather(rows)


class _ReadyTable(Ready):
    """A Parquet file with everything in columns."""

    def __init__(self, path: Path, max_characters: int) -> None:
        super().__init__(path, max_characters)
        self._rows = ParquetRows(path)
        self._vector = vector_column(self._rows)
        names = [name for name in _OPTIONAL_COLUMNS if name in self._rows.schema.names]
        require_columns(self._rows, ["title", *names], "ready embeddings")
        self._columns = ["title", *names, self._vector]
        self.n_rows = self._rows.n_rows
        for first, batch in self._rows.read(0, min(1, self.n_rows), self._columns):
            self.dimension = vectors_of(batch.column(self._vector), first, self._rows).shape[1]

    def _read(self, start: int) -> Iterator[tuple[int, list[Titled], Vectors]]:
        for first, batch in self._rows.read(start, self.n_rows, self._columns):
            n = len(batch)
            texts = {name: texts_of(batch.column(name)) for name in self._columns[:-1]}
            columns = (texts.get(name, [""] * n) for name in ("id", "title", "text"))
            titled = [Titled(*(value or "" for value in row)) for row in zip(*columns, strict=True)]
            if "" in (untitled := [each.title for each in titled]):
                raise self._refuse(f"row {first + untitled.index(''):,} has no title")
            yield first, titled, vectors_of(batch.column(self._vector), first, self._rows, self.dimension)


def _measure(vectors: Vectors) -> tuple[NDArray[np.float64], int | None]:
    """Return the lengths of ``vectors``, and the first that cannot be scaled."""
    exact = vectors.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", exact, exact))
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    return lengths, int(bad[0]) if len(bad) else None


def _scale(vectors: Vectors, lengths: NDArray[np.float64]) -> Vectors:
    off = np.abs(lengths - 1) > _UNIT_TOLERANCE
    vectors[off] = vectors[off] / lengths[off, None]
    return vectors
