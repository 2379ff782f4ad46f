"""Units of work: whole pages of a dump, cut out of its bytes without reading them as XML.

``<`` is escaped in the texts of a dump, so that ``</page>`` in its bytes is the end of a page; only within a
CDATA section or a comment it is not. The parent process cuts, workers read (``pages.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

#: A page larger than this is not read (MediaWiki itself refuses texts above 2 MB).
PAGE_LIMIT_BYTES = 64 << 20
#: A unit is handed on as soon as it is about as large as this.
UNIT_BYTES = 512 << 10
#: What is kept of a page that is too large: enough for its id and title.
_START_BYTES = 64 << 10
_OPAQUE = rb"<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)"


class Unit(NamedTuple):
    """Pages to be read by a worker, in the order of the file.

    ``kind``: ``bytes`` (the pages are ``data``), ``range`` (bytes ``start`` to ``end`` of the file ``path``)
    or ``streams`` (the same, bz2 streams). ``end``: byte of the file up to which all is done once this is;
    ``last``: nothing follows, the dump's end must be here; ``tag``: how the element of a page is called.
    """

    path: Path
    kind: Literal["bytes", "range", "streams"]
    start: int
    end: int
    data: bytes = b""
    last: bool = False
    tag: bytes = b"page"


class Tags(NamedTuple):
    """What marks pages that are elements called ``<page>`` (or ``<x:page>``), and the end of the dump."""

    close: bytes
    end: bytes
    marks: re.Pattern[bytes]


@cache
def tags_of(tag: bytes) -> Tags:
    """Return what marks pages called ``tag``, and the end of the dump."""
    prefix = tag[: -len(b"page")]
    marks = re.compile(rb"<%s(?=[\s>/])|</%s>|%s" % (tag, tag, _OPAQUE), re.DOTALL)
    return Tags(b"</%s>" % tag, b"</%smediawiki" % prefix, marks)


def last_close(data: bytes | bytearray, tag: bytes, searched: int = 0) -> int:
    """Return where the last page of ``data`` ends, 0 if none does; none ends before ``searched``."""
    tags = tags_of(tag)
    found = data.rfind(tags.close, searched)
    if found < 0:
        return 0
    if b"<!" not in data:
        return found + len(tags.close)
    return max((mark.end() for mark in tags.marks.finditer(data) if mark[0] == tags.close), default=0)


class Piece(NamedTuple):
    """Whole pages, and where they lie in what was fed; ``whole`` is False for the beginning of a page that
    is too large.
    """

    data: bytes
    start: int
    end: int
    whole: bool = True


class Cutter:
    """Cuts content that comes in blocks into pieces of whole pages, in bounded memory."""

    def __init__(self, tag: bytes, start: int = 0) -> None:
        self.ended = False
        self._tag = tag
        self._tags = tags_of(tag)
        self._buffer = bytearray()
        self._start = start
        self._searched = 0
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Yield the pieces that are complete with ``data``."""
        self._buffer += data
        if self._skipping:
            self._skip()
        if len(self._buffer) >= UNIT_BYTES and not self._skipping:
            end = last_close(self._buffer, self._tag, self._searched)
            self._searched = max(0, len(self._buffer) - len(self._tags.close))
            if end:
                yield self._cut(end)
            elif len(self._buffer) > PAGE_LIMIT_BYTES:
                yield self._give_up()

    def whole(self) -> Iterator[Piece]:
        """Yield the whole pages that are left."""
        end = 0 if self._skipping else last_close(self._buffer, self._tag)
        if end:
            yield self._cut(end)

    def rest(self) -> Iterator[Piece]:
        """Yield what is left of a dump that has come to its end, unless that is blank.

        ``ended`` then tells whether it closed its outermost element, as a whole dump does.
        """
        yield from self.whole()
        self.ended = self.ended or self._tags.end in self._buffer
        if not self._skipping and self._buffer.strip():
            yield self._cut(len(self._buffer))._replace(whole=False)

    def _cut(self, end: int) -> Piece:
        piece = Piece(bytes(memoryview(self._buffer)[:end]), self._start, self._start + end)
        self._drop(end)
        return piece

    def _drop(self, end: int) -> None:
        del self._buffer[:end]
        self._start += end
        self._searched = 0

    def _give_up(self) -> Piece:
        """Return the beginning of what is too large; the rest is passed over up to the end of a page."""
        self.ended = self._tags.end in self._buffer
        piece = self._cut(_START_BYTES)._replace(whole=False)
        self._skipping = True
        self._skip()
        return piece

    def _skip(self) -> None:
        found = self._buffer.find(self._tags.close)
        if found >= 0:
            self._drop(found + len(self._tags.close))
            self._skipping = False
        else:
            self._drop(max(0, len(self._buffer) - len(self._tags.close)))
