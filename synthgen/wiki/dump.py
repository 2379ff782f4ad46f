"""MediaWiki XML dumps, plain, gzip, bz2 or multistream bz2: opened, described, cut into units of work.

The parent process only cuts: a multistream file at the borders of its streams, which workers decompress; a
plain file into ranges of bytes; what is compressed in one piece is decompressed here and handed on as bytes.
Workers make pages of units (:func:`synthgen.wiki.pages.read_pages`). The format is MediaWiki's export schema
(https://www.mediawiki.org/xml/export-0.11.xsd and its predecessors).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from synthgen.errors import InputError
from synthgen.runtime.files import explain_os_errors, refuse_folder
from synthgen.wiki.articles import Site
from synthgen.wiki.compressed import (
    Block,
    Compression,
    Damage,
    bz2_blocks,
    find_border,
    gz_blocks,
    plain_blocks,
)
from synthgen.wiki.heads import Refusal, read_head, refuse_other_texts, refuse_others
from synthgen.wiki.pages import damage_error, no_end
from synthgen.wiki.units import Cutter, Piece, Unit

__all__ = ["Dump", "open_dump"]

#: What stands before the first page is some 10 kB.
_HEAD_LIMIT_BYTES = 4 << 20
#: Neighbouring streams of a multistream file are one unit up to about this size (Wikimedia: 100 pages each).
_STREAMS_BYTES = 128 << 10
#: From a stream larger than this on, a file is decompressed here, and not by one worker for minutes.
_STREAM_LIMIT_BYTES = 32 << 20
_FIRST_PAGE = re.compile(rb"<((?:\w+:)?page)[\s>/]|</(?:\w+:)?mediawiki\s*>")


@dataclass(frozen=True)
class Dump:
    """An opened dump. ``n_bytes``: size of the file; ``site``: what it says of itself.

    Reading begins at byte ``first`` of the file, and passes over ``passed`` bytes of its content; elements of
    pages are called ``tag``.
    """

    path: Path
    compression: Compression
    n_bytes: int
    site: Site
    first: int
    passed: int
    tag: bytes

    def units(self) -> Iterator[Unit]:
        """Yield the dump in units of work, in the order of the file; each can be sent to another process.

        Memory stays the same whatever the size of the dump. ``Unit.end`` of ``n_bytes`` is how far it is.
        Raises InputError, when all that is whole was yielded, for damage that is found here; for damage
        within a unit of kind ``streams``, ``read_pages`` raises it.
        """
        with explain_os_errors(self.path), self.path.open("rb") as file:
            if self.compression == "multistream":
                yield from self._units_of_streams(file)
            elif self.compression == "plain":
                yield from self._units_of(plain_blocks(file, self.first), self.first, 0)
            else:
                blocks = gz_blocks(file) if self.compression == "gz" else bz2_blocks(file)
                yield from self._units_of(blocks, 0, self.passed)

    def _units_of_streams(self, file: BinaryIO) -> Iterator[Unit]:
        start = self.first
        while start < self.n_bytes:
            limit = min(start + _STREAM_LIMIT_BYTES, self.n_bytes)
            border = find_border(file, start + _STREAMS_BYTES, limit)
            if border is None and limit < self.n_bytes:
                yield from self._units_of(bz2_blocks(file, start), start, 0)
                return
            end = border or self.n_bytes
            yield Unit(self.path, "streams", start, end, last=border is None, tag=self.tag)
            start = end

    def _units_of(self, blocks: Iterator[Block], start: int, passed: int) -> Iterator[Unit]:
        """Yield units of ``blocks``, which begin at byte ``start`` of the file, without the first ``passed``
        bytes of their content.
        """
        cutter, latest, end = Cutter(self.tag, start), b"", 0
        try:
            for block in blocks:
                end = block.end
                data, passed = block.data[passed:], max(0, passed - len(block.data))
                for piece in cutter.feed(data):
                    latest = piece.data if piece.whole else latest
                    yield self._unit(piece, end)
        except Damage as damage:
            for piece in cutter.whole():
                yield self._unit(piece, end)
                latest = piece.data
            raise damage_error(self.path, damage, latest, start, self.tag) from damage
        for piece in cutter.rest():
            if piece.whole or cutter.ended:
                latest = piece.data if piece.whole else latest
                yield self._unit(piece, end)
        if not cutter.ended:
            raise damage_error(self.path, no_end(end), latest, start, self.tag)

    def _unit(self, piece: Piece, end: int) -> Unit:
        if self.compression == "plain" and piece.whole:
            return Unit(self.path, "range", piece.start, piece.end, tag=self.tag)
        return Unit(self.path, "bytes", 0, end, piece.data, tag=self.tag)


def open_dump(path: Path) -> Dump:
    """Return the dump at ``path``, told by its content whatever its name, its head read.

    Raises InputError where it is something else, damaged before its first page, or without any page.
    """
    if not path.exists():
        raise InputError("no such file", where=str(path), next_step="name a dump, or download one")
    refuse_folder(path)
    with explain_os_errors(path), path.open("rb") as file:
        n_bytes = os.fstat(file.fileno()).st_size
        try:
            return _open(path, file, n_bytes)
        except Refusal as refusal:
            raise InputError(refusal.what, where=str(path), next_step=refusal.next_step) from refusal
        except Damage as damage:
            raise damage_error(path, damage, b"") from damage


def _open(path: Path, file: BinaryIO, n_bytes: int) -> Dump:
    start = file.read(1 << 10)
    if not start:
        raise Refusal("is empty", "fetch it again")
    refuse_others(start)
    compression = _compression_of(start)
    blocks = {"plain": plain_blocks, "gz": gz_blocks, "bz2": bz2_blocks}[compression](file)
    content, stream_start, stream_at = _read_to_first_page(blocks)
    found = _FIRST_PAGE.search(content)
    refuse_other_texts(content)
    head = read_head(content[: found.start()] if found else content)
    if not found and len(content) > _HEAD_LIMIT_BYTES:
        raise Refusal(f"has no <page> in its first {_HEAD_LIMIT_BYTES >> 20} MB")
    if not found:
        raise no_end(n_bytes)
    if not found[1]:
        raise Refusal("is a dump without pages", "name one that has some")
    first, passed = 0, found.start()
    if compression == "plain":
        first, passed = found.start(), 0
    elif compression == "bz2" and stream_start > 0 and not content[stream_at : found.start()].strip():
        compression, first, passed = "multistream", stream_start, 0
    return Dump(path, compression, n_bytes, head.site, first, passed, head.prefix + b"page")


def _compression_of(start: bytes) -> Compression:
    if start.startswith(b"BZh") and start[3:4].isdigit():
        return "bz2"
    return "gz" if start.startswith(b"\x1f\x8b") else "plain"


def _read_to_first_page(blocks: Iterator[Block]) -> tuple[bytes, int, int]:
    """Return content up to a first page or end, the stream that it ended in, and where that began in it."""
    content, stream_start, stream_at = b"", 0, 0
    for block in blocks:
        if block.stream_start != stream_start:
            stream_start, stream_at = block.stream_start, len(content)
        searched = max(0, len(content) - 100)
        content += block.data
        if _FIRST_PAGE.search(content, searched) or len(content) > _HEAD_LIMIT_BYTES:
            break
        refuse_other_texts(content)
    return content, stream_start, stream_at
