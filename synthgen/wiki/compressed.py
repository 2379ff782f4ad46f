"""Compressed files as blocks of their content, each with where in the file it ends; borders of bz2 streams.

A bz2 block has a checksum behind its content: what :func:`bz2_blocks` gives has been held against it (unless
one block is larger than ``BLOCK_LIMIT_BYTES``). gzip has one checksum at the very end, so that damage may
show only there. Formats: bzip2's (J. Seward's sources; the magic numbers of a stream, a block and a footer),
RFC 1951 and 1952.
"""

from __future__ import annotations

import bz2
import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Literal, NamedTuple

Compression = Literal["plain", "gz", "bz2", "multistream"]

#: The most that one step of decompression gives: what a bomb can take of memory at once.
BLOCK_LIMIT_BYTES = 16 << 20
_PLAIN_BYTES = 1 << 18
#: Compressed bytes for a step. Few, since what a step gave is lost when it ends in damage: a step then holds
#: seldom more than the end of one bz2 block.
_BZ2_STEP_BYTES = 256
_GZ_STEP_BYTES = 4096
_READ_BYTES = 1 << 18
_STREAM = re.compile(rb"BZh[1-9]\x31\x41\x59\x26\x53\x59")
_STREAM_BYTES = 10
_FOOTER = 0x177245385090
_FOOTER_BYTES = 11  # 48 bits of magic, 32 of checksum, up to 7 of padding
_GZ = b"\x1f\x8b\x08"


class Damage(Exception):
    """What is wrong with a file (``what``, the beginning of a sentence), and at which of its bytes."""

    def __init__(self, what: str, offset: int) -> None:
        super().__init__(what, offset)
        self.what = what
        self.offset = offset


class Block(NamedTuple):
    """Content, the byte of the file where it ends, and the byte where its compressed stream begins."""

    data: bytes
    end: int
    stream_start: int


def plain_blocks(file: BinaryIO, start: int = 0) -> Iterator[Block]:
    """Yield the bytes of ``file`` from ``start`` on."""
    file.seek(start)
    while data := file.read(_PLAIN_BYTES):
        start += len(data)
        yield Block(data, start, 0)


def bz2_blocks(file: BinaryIO, start: int = 0, stop: int | None = None) -> Iterator[Block]:
    """Yield what the bz2 streams in bytes ``start`` to ``stop`` of ``file`` hold; raise :class:`Damage`."""
    steps = _Steps(file, start, stop, _BZ2_STEP_BYTES)
    while (stream_start := steps.next_stream(b"BZh", "bz2")) is not None:
        decompressor = bz2.BZ2Decompressor()
        while not decompressor.eof:
            step = steps.take() if decompressor.needs_input else b""
            if decompressor.needs_input and not step:
                raise steps.cut_off("bz2", stream_start)
            try:
                data = decompressor.decompress(step, BLOCK_LIMIT_BYTES)
            except (OSError, ValueError) as error:
                raise steps.damaged("bz2", stream_start) from error
            if decompressor.eof:
                steps.give_back(decompressor.unused_data)
            if data or decompressor.eof:
                yield Block(data, steps.offset, stream_start)


def gz_blocks(file: BinaryIO, start: int = 0) -> Iterator[Block]:
    """Yield what the gzip members of ``file`` from ``start`` on hold; raise :class:`Damage`."""
    steps = _Steps(file, start, None, _GZ_STEP_BYTES)
    while (stream_start := steps.next_stream(_GZ, "gzip")) is not None:
        decompressor = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        while not decompressor.eof:
            step = decompressor.unconsumed_tail or steps.take()
            try:
                data = decompressor.decompress(step, _READ_BYTES)
            except zlib.error as error:
                if "incorrect data check" in str(error) or "incorrect length check" in str(error):
                    raise Damage("its checksum is wrong: something in it is damaged", steps.offset) from error
                raise steps.damaged("gzip", stream_start) from error
            if not step and not data and not decompressor.eof:
                raise steps.cut_off("gzip", stream_start)
            if decompressor.eof:
                steps.give_back(decompressor.unused_data)
            if data or decompressor.eof:
                yield Block(data, steps.offset, stream_start)


class _Steps:
    """Bytes ``start`` to ``stop`` of a file in small steps; ``offset`` is where the last one ended."""

    def __init__(self, file: BinaryIO, start: int, stop: int | None, step_bytes: int) -> None:
        self.offset = start
        self._file = file
        self._start = start
        self._stop = stop
        self._step_bytes = step_bytes
        self._buffer = b""
        self._used = 0
        file.seek(start)

    def take(self) -> bytes:
        """Return the next step, empty at the end."""
        step = self._peek(1) and self._buffer[self._used : self._used + self._step_bytes]
        self._used += len(step)
        self.offset += len(step)
        return step

    def give_back(self, unused: bytes) -> None:
        """Take back the end of the last step."""
        self._used -= len(unused)
        self.offset -= len(unused)

    def next_stream(self, magic: bytes, kind: str) -> int | None:
        """Return where the next stream begins, or None at the end; zeros behind the last one do no harm."""
        zeros_at = self.offset
        while self.offset > self._start and self._peek(1) == b"\0":
            step = self.take()
            self.give_back(step.lstrip(b"\0"))
        found = self._peek(len(magic))
        if found and self.offset > zeros_at:
            raise Damage(f"zeros stand there, and more behind them at byte {self.offset:,}", zeros_at)
        if found == magic:
            return self.offset
        if found and magic.startswith(found):
            raise self.cut_off(kind, self.offset)
        if found:
            raise Damage(f"no {kind} stream begins there", self.offset)
        return None

    def _peek(self, n_bytes: int) -> bytes:
        """Return the next bytes, fewer at the end, without taking them."""
        if len(self._buffer) - self._used < n_bytes:
            rest = self._buffer[self._used :]
            position = self.offset + len(rest)
            wanted = _READ_BYTES if self._stop is None else min(_READ_BYTES, self._stop - position)
            self._buffer, self._used = rest + self._file.read(wanted), 0
        return self._buffer[self._used : self._used + n_bytes]

    def cut_off(self, kind: str, start: int) -> Damage:
        """Return that the file ends within the stream that begins at ``start``."""
        return Damage(f"it is cut off within the {kind} stream that begins at byte {start:,}", self.offset)

    def damaged(self, kind: str, start: int) -> Damage:
        """Return that the stream that begins at ``start`` is damaged near here."""
        return Damage(f"the {kind} stream that begins at byte {start:,} is damaged", self.offset)


def is_border(before: bytes, after: bytes) -> bool:
    """Return whether a bz2 stream ends with ``before`` (its last 11 bytes) and another begins ``after``.

    The header's magic alone could stand in compressed data by chance or by intent; the footer of the stream
    before, bit for bit where it must be, says that it does not.
    """
    if not _STREAM.match(after) or len(before) < _FOOTER_BYTES:
        return False
    bits = int.from_bytes(before[-_FOOTER_BYTES:], "big")
    return any(
        (bits >> (padding + 32)) & 0xFFFF_FFFF_FFFF == _FOOTER and not bits & ((1 << padding) - 1)
        for padding in range(8)
    )


def find_border(file: BinaryIO, start: int, stop: int) -> int | None:
    """Return the first byte at or behind ``start``, before ``stop``, where a bz2 stream follows another."""
    position = max(start, _FOOTER_BYTES)
    while position < stop:
        file.seek(position - _FOOTER_BYTES)
        data = file.read(_FOOTER_BYTES + min(_READ_BYTES, stop - position) + _STREAM_BYTES)
        for match in _STREAM.finditer(data, _FOOTER_BYTES):
            if position + match.start() - _FOOTER_BYTES >= stop:
                break
            if is_border(data[: match.start()], data[match.start() :]):
                return position + match.start() - _FOOTER_BYTES
        position += _READ_BYTES
    return None


def borders_before(file: BinaryIO, stop: int, reach_bytes: int) -> list[int]:
    """Return where bz2 streams begin in the ``reach_bytes`` before ``stop``, the last one first."""
    found = []
    position = max(0, stop - reach_bytes)
    while (border := find_border(file, position, stop)) is not None:
        found.append(border)
        position = border + 1
    return found[::-1]
