"""Bytes to their places in a file, past the page cache where the system lets us, beside the caller's work.

A thread writes one buffer while the caller fills the other. Whole pages go directly from the buffer to the
disk (O_DIRECT): no copy, nothing that the system has to write back later, and the disk is at work from the
first buffer on. What is left of a page at either end goes the usual way, since a neighbour's bytes share it.
"""

from __future__ import annotations

import errno
import mmap
import os
import queue
import threading
from pathlib import Path
from typing import Protocol

#: Offsets, sizes and memory of direct writes are multiples of the logical block of the disk: 512 or 4,096.
_PAGE_BYTES = 4_096
#: One write: large enough that its way through the system counts little, and two of them are little memory.
_BUFFER_BYTES = 1 << 21
_N_BUFFERS = 2


class Sink(Protocol):
    """Takes the bytes of chunks, one after the other: begin, add and add, end."""

    def begin(self, at: int) -> None:
        """Begin a chunk that lies at byte ``at``."""
        ...

    def add(self, piece: memoryview) -> None:
        """Take more of the chunk; ``piece`` may be overwritten then."""
        ...

    def end(self) -> int:
        """End the chunk; return the ticket by which to wait for its bytes."""
        ...

    def wait(self, ticket: int) -> None:
        """Return once all bytes up to that chunk's end are in the file; raise the OSError of a write."""
        ...


class PlacedWriter:
    """A :class:`Sink` that writes chunks to their places in the file ``path``, which exists.

    Holds 4 MB. Errors of the thread's writes are raised by the next call of :meth:`add` or :meth:`wait`.
    """

    def __init__(self, path: Path) -> None:
        self._buffered = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self._direct = _open_directly(path)
        self._buffers = [memoryview(mmap.mmap(-1, _BUFFER_BYTES)) for _ in range(_N_BUFFERS)]
        self._jobs: queue.SimpleQueue[tuple[memoryview, int, int, int]] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()
        self._n_given = self._n_ended = 0
        self._start = self._base = self._fill = 0
        threading.Thread(target=self._run, name="placed writes", daemon=True).start()

    def begin(self, at: int) -> None:
        """Begin a chunk that lies at byte ``at``."""
        self._start, self._fill = at, at % _PAGE_BYTES
        self._base = at - self._fill
        self.wait(self._n_given + 1 - _N_BUFFERS)

    def add(self, piece: memoryview) -> None:
        """Copy ``piece`` behind what is there; wait for the disk where it is behind by all buffers."""
        while piece:
            n = min(len(piece), _BUFFER_BYTES - self._fill)
            self._buffers[self._n_given % _N_BUFFERS][self._fill : self._fill + n] = piece[:n]
            piece, self._fill = piece[n:], self._fill + n
            if self._fill == _BUFFER_BYTES:
                self._hand_over()
                self._base, self._fill = self._start, 0
                self.wait(self._n_given + 1 - _N_BUFFERS)

    def end(self) -> int:
        """Hand over the rest of the chunk; return the ticket by which to wait for its bytes."""
        if self._base + self._fill > self._start:
            self._hand_over()
        return self._n_given

    def wait(self, ticket: int) -> None:
        """Return once all bytes up to that chunk's end are in the file; raise the OSError of a write."""
        while self._n_ended < ticket:
            error = self._ended.get()
            self._n_ended += 1
            if error is not None:
                raise error

    def _hand_over(self) -> None:
        stop = self._base + self._fill
        self._jobs.put((self._buffers[self._n_given % _N_BUFFERS], self._base, self._start, stop))
        self._n_given += 1
        self._start = stop

    def _run(self) -> None:
        while True:
            buffer, base, start, stop = self._jobs.get()
            try:
                self._write(buffer, base, start, stop)
            except OSError as error:
                self._ended.put(error)
            else:
                self._ended.put(None)

    def _write(self, buffer: memoryview, base: int, start: int, stop: int) -> None:
        """Write bytes [start, stop) of the file, which lie in ``buffer`` from ``base`` on."""
        first, last = -(-start // _PAGE_BYTES) * _PAGE_BYTES, stop // _PAGE_BYTES * _PAGE_BYTES
        if self._direct is not None and first < last:
            whole = buffer[first - base : last - base]
            n = _write_directly(self._direct, whole, first)
            _write_all(self._buffered, buffer[start - base : first - base], start)
            _write_all(self._buffered, buffer[first + n - base : stop - base], first + n)
        else:
            _write_all(self._buffered, buffer[start - base : stop - base], start)


class Discard:
    """The :class:`Sink` that keeps nothing: what is written to ``path``, /dev/null, is gone at once."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)

    def begin(self, at: int) -> None:
        """Do nothing: there are no places."""

    def add(self, piece: memoryview) -> None:
        """Write ``piece`` to where nothing is kept."""
        os.write(self._descriptor, piece)

    def end(self) -> int:
        """Return a ticket that need not be waited for."""
        return 0

    def wait(self, ticket: int) -> None:
        """Return at once."""


def _open_directly(path: Path) -> int | None:
    """Return a descriptor whose writes go past the page cache; None where there is no such thing."""
    flag = getattr(os, "O_DIRECT", None)
    if flag is None:
        return None
    try:
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC | flag)
    except OSError as error:
        if error.errno != errno.EINVAL:  # which says that the file system knows no direct writes
            raise
        return None


def _write_directly(descriptor: int, data: memoryview, at: int) -> int:
    """Write whole pages; return how many bytes, fewer where the disk wants other pages than ours."""
    n = 0
    try:
        while n < len(data):
            written = os.pwrite(descriptor, data[n:], at + n)
            n += written
            if written % _PAGE_BYTES:
                break  # interrupted, or the disk is full: the usual way finds out
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return n


def _write_all(descriptor: int, data: memoryview, at: int) -> None:
    while data:
        n = os.pwrite(descriptor, data, at)
        data, at = data[n:], at + n
