"""Units of a dump to pages: what workers do. One bad page is left out, alone; damage ends with an error."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple
from xml.parsers import expat

from synthgen.errors import InputError
from synthgen.runtime.files import explain_os_errors
from synthgen.wiki import units
from synthgen.wiki.articles import Page, Site, Skipped
from synthgen.wiki.compressed import Damage, borders_before, bz2_blocks
from synthgen.wiki.units import Cutter, Unit, tags_of

#: Elements of a page lie at most 5 deep; what is deeper is no dump, and would only take memory.
_DEPTH_LIMIT = 32
_REACH_BYTES = 16 << 20
_ID = re.compile(rb"<(?:\w+:)?id>\s*(\d{1,18})\s*</")
_TITLE = re.compile(rb"<(?:\w+:)?title>([^<]*)</")
#: What may stand between two pages: where dumps were joined, the end of one and the head of the next.
_BETWEEN = re.compile(rb"\s*(?:</?(?:\w+:)?mediawiki[\s>].*|<!--.*|<\?xml.*)?", re.DOTALL)
_NUMBER = re.compile(r"-?[0-9]{1,18}", re.ASCII)

_FIELDS = {
    ("title",): "title",
    ("ns",): "namespace",
    ("id",): "page_id",
    ("revision", "id"): "revision_id",
    ("revision", "timestamp"): "timestamp",
    ("revision", "text"): "wikitext",
}


def read_pages(unit: Unit, site: Site | None = None) -> Iterator[Page | Skipped]:
    """Yield the pages of ``unit`` in the order of the dump; one that cannot be read is :class:`Skipped`.

    Of several revisions of a page, the newest counts. ``site`` tells the namespace of pages that do not
    (export versions before 0.6). Raises InputError for a damaged or truncated file, when what is whole before
    the damage has been yielded; it names the byte and the last whole page.
    """
    numbers = {name: key for key, name in site.namespaces.items() if name} if site else {}
    for data in _pieces_of(unit):
        for span in split_pages(data, unit.tag):
            fits = span.whole and span.end - span.start <= units.PAGE_LIMIT_BYTES
            page = parse_page(data[span.start : span.end], numbers) if fits else None
            yield page or _unreadable(data[span.start : span.end])


def _pieces_of(unit: Unit) -> Iterator[bytes]:
    if unit.kind == "bytes":
        yield unit.data
        return
    with explain_os_errors(unit.path), unit.path.open("rb") as file:
        if unit.kind == "streams":
            yield from _pieces_of_streams(unit, file)
        else:
            file.seek(unit.start)
            yield file.read(unit.end - unit.start)


def _pieces_of_streams(unit: Unit, file: BinaryIO) -> Iterator[bytes]:
    cutter = Cutter(unit.tag)
    latest = b""
    try:
        for block in bz2_blocks(file, unit.start, unit.end):
            for piece in cutter.feed(block.data):
                latest = piece.data if piece.whole else latest
                yield piece.data
    except Damage as damage:
        for piece in cutter.whole():
            yield (latest := piece.data)
        raise damage_error(unit.path, damage, latest, unit.start, unit.tag) from damage
    for piece in cutter.rest():
        if not unit.last or cutter.ended or piece.whole:
            latest = piece.data if piece.whole else latest
            yield piece.data
    if unit.last and not cutter.ended:
        raise damage_error(unit.path, no_end(unit.end), latest, unit.start, unit.tag)


def no_end(offset: int) -> Damage:
    """Return what is wrong with a dump that ends at byte ``offset``, but not with its last element."""
    return Damage("it is cut off: it ends without </mediawiki>", offset)


def damage_error(
    path: Path, damage: Damage, latest: bytes, start: int | None = None, tag: bytes = b"page"
) -> InputError:
    """Return the error about ``damage``; ``latest`` are the last whole pages before it, as bytes.

    Without any, those of the bz2 streams before byte ``start`` are looked up, if it is given.
    """
    name = _name_last(latest, tag)
    if not name and start is not None:
        name = _name_last(_pages_before(path, start, tag), tag)
    return InputError(
        f"damaged at byte {damage.offset:,}: {damage.what}; last whole page: {name or 'none'}",
        where=str(path),
        next_step="fetch the dump again; what came before is read",
    )


def _name_last(data: bytes, tag: bytes) -> str:
    """Return id and title of the last page in ``data``, which may be empty."""
    found = data.rfind(b"<" + tag)
    if found < 0:
        return ""
    skipped = _unreadable(data[found:])
    return f"{skipped.key or 'without id'} ({skipped.title[:100]!r})"


def _pages_before(path: Path, stop: int, tag: bytes) -> bytes:
    """Return the pages of the last bz2 stream before ``stop`` that has some."""
    with explain_os_errors(path), path.open("rb") as file:
        for border in borders_before(file, stop, _REACH_BYTES):
            cutter, latest = Cutter(tag), b""
            try:
                for block in bz2_blocks(file, border, stop):
                    latest = next((p.data for p in cutter.feed(block.data) if p.whole), latest)
            except Damage:
                continue
            latest = next((p.data for p in cutter.whole()), latest)
            if latest:
                return latest
    return b""


class Span(NamedTuple):
    """Where a page lies in a piece; not ``whole``: a page without end or beginning."""

    start: int
    end: int
    whole: bool


def split_pages(data: bytes, tag: bytes = b"page") -> Iterator[Span]:
    """Yield where the pages in ``data`` lie; what is none, but no gap either, as spans that are not whole."""
    tags = tags_of(tag)
    start, after = -1, 0
    for mark in tags.marks.finditer(data):
        if mark[0] == tags.close:
            yield Span(start if start >= 0 else after, mark.end(), start >= 0)
            start, after = -1, mark.end()
        elif not mark[0].startswith(b"<!"):
            if start >= 0 or not _BETWEEN.fullmatch(data, after, mark.start()):
                yield Span(start if start >= 0 else after, mark.start(), False)
            start = mark.start()
    if start >= 0 or not _BETWEEN.fullmatch(data, after):
        yield Span(start if start >= 0 else after, len(data), False)


def _unreadable(data: bytes) -> Skipped:
    """Return what can be told of a page that is no XML."""
    number, title = _ID.search(data), _TITLE.search(data)
    name = html.unescape(title[1].decode(errors="replace")).strip() if title else ""
    return Skipped(number[1].decode() if number else "", name, "unreadable")


def parse_page(data: bytes, numbers: dict[str, int]) -> Page | None:
    """Return the page in ``data``, one ``<page>`` element; None where it cannot be read.

    ``numbers`` of namespaces by their local names are for pages that do not tell theirs.
    """
    reader = _Reader()
    try:
        reader.parser.Parse(data, True)
        return reader.page(numbers)
    except (expat.ExpatError, ValueError):
        return None


class _Reader:
    """Takes what belongs to a page out of its XML, by local names: several versions of the export agree."""

    def __init__(self) -> None:
        self.parser = expat.ParserCreate("utf-8")
        self.parser.buffer_text = True
        self.parser.buffer_size = 1 << 16
        self.parser.StartElementHandler = self._open
        self.parser.EndElementHandler = self._close
        self._path: list[str] = []
        self._fields: dict[str, str] = {}
        self._revisions: list[dict[str, str]] = []
        self._redirect: str | None = None
        self._texts: list[str] = []

    def _open(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name.rpartition(":")[2])
        if len(self._path) > _DEPTH_LIMIT:
            raise ValueError("elements within elements without end")
        path = tuple(self._path[1:])
        self._texts.clear()
        self.parser.CharacterDataHandler = self._texts.append if path in _FIELDS else None
        if path == ("redirect",):
            self._redirect = attributes.get("title", "")
        elif path == ("revision",):
            self._revisions.append({})
        elif path == ("revision", "text") and "deleted" not in attributes:
            self._revisions[-1]["n_bytes"] = attributes.get("bytes", "")

    def _close(self, _name: str) -> None:
        path = tuple(self._path[1:])
        self._path.pop()
        self.parser.CharacterDataHandler = None
        if path in _FIELDS:
            target = self._revisions[-1] if len(path) == 2 else self._fields
            target[_FIELDS[path]] = "".join(self._texts)

    def page(self, numbers: dict[str, int]) -> Page:
        """Return the page; raises ValueError where it says too little of itself, or nonsense."""
        revision: dict[str, str] = {}
        for candidate in self._revisions:
            if candidate.get("timestamp", "").strip() >= revision.get("timestamp", "").strip():
                revision = candidate
        if revision.get("n_bytes", "").strip("0") and not revision.get("wikitext"):
            raise ValueError("its text was left out")  # as in dumps of stubs
        title = self._fields.get("title", "").strip()
        if not title:
            raise ValueError("no title")
        prefix = title.partition(":")[0] if ":" in title else ""
        namespace = self._fields.get("namespace")
        return Page(
            page_id=_number(self._fields.get("page_id", "")),
            title=title,
            namespace=numbers.get(prefix, 0) if namespace is None else _number(namespace),
            revision_id=_number(revision.get("revision_id", "0")),
            timestamp=revision.get("timestamp", "").strip(),
            redirect=self._redirect,
            wikitext=revision.get("wikitext", ""),
        )


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text.strip()):
        raise ValueError("no number")
    return int(text)
