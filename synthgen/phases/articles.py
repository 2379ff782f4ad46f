"""Sources of articles behind one interface, and the pool of processes that reads those that need reading.

    units (parent: borders, bytes) -> pool: pages, text -> outcomes, put in order again (parent)

Where a source ends early, all that is whole before the damage is delivered, and then the damage is told of.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from synthgen.errors import InputError, SynthgenError
from synthgen.formats.arrow import has_vectors
from synthgen.runtime.files import explain_os_errors
from synthgen.runtime.pool import Channel, Done, Pool
from synthgen.wiki.articles import Outcome, Site, Skipped
from synthgen.wiki.cutting import MAX_CHARACTERS
from synthgen.wiki.dump import Dump, open_dump
from synthgen.wiki.ready import Ready, open_ready
from synthgen.wiki.tables import Tables, open_tables
from synthgen.wiki.text import check_parser

#: Of a dump for a page, compressed, at least: wikis have 1,000 and more.
_PAGE_BYTES = 250
#: Of nice(2): what waits for the model is more than what it waits for.
_NICENESS = 5
#: Files up to this size are told apart by their whole content, larger ones by the time of their last change.
_READ_WHOLE_BYTES = 1 << 28
_PIECE_BYTES = 1 << 22

Outcomes = list[Outcome]


class Readable(Protocol):
    """Turns units of work into outcomes, in another process."""

    def read(self, unit: Any) -> Iterator[Outcome]:
        """Yield what becomes of each page of ``unit``, in order."""


class Step(NamedTuple):
    """What became of one unit: its number, its outcomes, and how much of the source is done after it."""

    number: int
    outcomes: Sequence[Outcome]
    done: int


@dataclass(frozen=True)
class PageReader:
    """Reads units of a dump."""

    site: Site
    max_characters: int

    def read(self, unit: Any) -> Iterator[Outcome]:
        """Yield the articles of the pages of ``unit``."""
        from synthgen.wiki.pages import read_pages
        from synthgen.wiki.text import make_article

        for page in read_pages(unit, self.site):
            if isinstance(page, Skipped):
                yield page
            else:
                yield make_article(page, self.site, self.max_characters)


@dataclass(frozen=True)
class RowReader:
    """Reads units of tables."""

    max_characters: int

    def read(self, unit: Any) -> Iterator[Outcome]:
        """Yield the articles of the rows of ``unit``."""
        from synthgen.wiki.tables import read_articles

        yield from read_articles(unit, self.max_characters)


@dataclass(frozen=True)
class ArticleSource:
    """Articles to be read: of a dump, or of tables. ``size`` is how much there is to do: bytes, or rows."""

    path: Path
    kind: str
    language: str
    size: int
    held: Dump | Tables
    reader: PageReader | RowReader

    def units(self) -> Iterator[Any]:
        """Yield the work in order; raises InputError where the source is damaged."""
        return self.held.units()

    @property
    def n_most(self) -> int:
        """How many articles there can be, about: a limit above it says nothing."""
        return self.size // _PAGE_BYTES if isinstance(self.held, Dump) else self.size

    def done_after(self, unit: Any, done_before: int) -> int:
        """Return how much of ``size`` is done once ``unit`` is."""
        return int(unit.end) if isinstance(self.held, Dump) else done_before + unit.stop - unit.start


def open_source(
    path: Path, titles: Path | None = None, max_characters: int = MAX_CHARACTERS
) -> ArticleSource | Ready:
    """Return what ``path`` is: a dump, a table or folder of tables of articles, or ready embeddings.

    Told by the content; ``titles`` belong to a .npy. Raises InputError, on one line, where it is none.
    """
    if path.suffix == ".npy" or titles is not None:
        return open_ready(path, titles, max_characters)
    if path.is_dir() or _is_parquet(path):
        if path.is_file() and has_vectors(path):
            return open_ready(path, None, max_characters)
        tables = open_tables(path)
        if has_vectors(tables.files[0]):
            raise InputError(
                "holds ready embeddings, which are taken out of one file",
                where=str(path),
                next_step=f"name a file, such as {tables.files[0].name}",
            )
        return ArticleSource(path, "tables", "", tables.n_rows, tables, RowReader(max_characters))
    dump = open_dump(path)
    check_parser()
    reader = PageReader(dump.site, max_characters)
    return ArticleSource(path, "dump", dump.site.language, dump.n_bytes, dump, reader)


def _is_parquet(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as file:
        return file.read(4) == b"PAR1"
    return path.suffix == ".parquet"


def identity_of(path: Path) -> str:
    """Return a digest (hex) of the files at ``path``: names below it, sizes and contents.

    A file above 256 MB is not read for it: its first 4 MB and the time of its last change stand for the rest.
    """
    digest = sha256()
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    with explain_os_errors(path):
        for file in files:
            about = file.stat()
            is_large = about.st_size > _READ_WHOLE_BYTES
            name, changed_ns = file.relative_to(path), about.st_mtime_ns if is_large else 0
            digest.update(f"{name} {about.st_size} {changed_ns}\n".encode())
            with file.open("rb") as opened:
                while piece := opened.read(_PIECE_BYTES):
                    digest.update(piece)
                    if is_large:
                        break
    return digest.hexdigest()


class Reading:
    """The outcomes of ``source`` from unit ``first`` on, in order, read by ``n_workers`` processes.

    An iterable, to be used once. It ends where the source ends or is damaged: ``damage`` is then the error,
    once all before it was taken. Memory is bounded: nothing is read that is not waited for, but for a few
    units.
    """

    def __init__(self, source: ArticleSource, first: int, n_workers: int) -> None:
        self.damage: SynthgenError | None = None
        self._source, self._first, self._n_workers = source, first, n_workers
        self._ended_by: SynthgenError | None = None
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Have it end soon, wherever it is, and its processes with it; from any thread."""
        self._stopping.set()

    def __iter__(self) -> Iterator[Step]:
        ready: dict[int, Any] = {}
        wanted, done = self._first, 0
        with Pool(read_units, (self._source.reader,), self._n_workers, in_flight=3) as pool:
            for news in pool.run(self._tasks(), admit=lambda: len(ready) < 4 * self._n_workers + 8):
                if self._stopping.is_set():
                    return
                if isinstance(news, Done):
                    number, _, done_after = news.task
                    ready[number] = (done_after, *news.value)
                while wanted in ready:
                    done, outcomes, error = ready.pop(wanted)
                    yield Step(wanted, outcomes, done)
                    wanted += 1
                    if error is not None:
                        self.damage = error
                        return
        self.damage = self._ended_by

    def _tasks(self) -> Iterator[tuple[int, Any, int]]:
        done = 0
        try:
            for number, unit in enumerate(self._source.units()):
                if self._stopping.is_set():
                    return
                done = self._source.done_after(unit, done)
                if number >= self._first:
                    yield number, unit, done
        except InputError as error:  # what was handed out is still to be waited for
            self._ended_by = error


def read_units(channel: Channel, reader: Readable) -> None:
    """Read the units that the channel hands out until it ends: the target of the pool's workers."""
    os.nice(_NICENESS)
    while (assignment := channel.get()) is not None:
        _, unit, _ = assignment.task
        channel.done(assignment.number, read_unit(reader, unit))


def read_unit(reader: Readable, unit: Any) -> tuple[Outcomes, InputError | None]:
    """Return the outcomes of ``unit``, and what ended it early, if anything."""
    outcomes: Outcomes = []
    try:
        outcomes.extend(reader.read(unit))
    except InputError as error:
        return outcomes, error
    return outcomes, None
