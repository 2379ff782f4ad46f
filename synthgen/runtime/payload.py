"""What all workers of a pool are given, pickled once; what is large is shared, in a file that all map.

Sent through each worker's pipe instead, a model of 20 MB would hold the parent up until that worker has
started and read it, one worker after the other, and every worker would hold a copy of its own.
"""

from __future__ import annotations

import mmap
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import reduction
from typing import Any

#: Arrays begin at multiples of this, as numpy's own do: wide vectors are read faster.
_ALIGNMENT_BYTES = 64
#: What a process may be given through its pipe: half of what one holds, so that nobody waits.
_SMALL_BYTES = 32_768


class Descriptor:
    """A file descriptor that a process inherits when this is pickled for it; whoever holds it closes it."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _take, (reduction.DupFd(self.number),)


def _take(duplicate: Any) -> Descriptor:
    return Descriptor(duplicate.detach())


@dataclass(frozen=True)
class Payload:
    """An object for processes that are being started: its pickle, or a file without a name and the places of
    the pickle and of the arrays in it. Picklable while a process is being started.
    """

    pickled: bytes
    file: Descriptor | None = None
    bounds: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, value: Any) -> Payload:
        """Pickle ``value``; what is large goes to a file in memory (on the disk where there are none).

        Where that cannot be written (``ulimit -f`` holds for memory, too), it stays in the pickle.
        """
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        parts = [memoryview(head), *(buffer.raw() for buffer in buffers)]
        if sum(part.nbytes for part in parts) <= _SMALL_BYTES:
            return cls(pickle.dumps(value, protocol=5))
        descriptor = _open_nameless()
        try:
            bounds = _write(descriptor, parts)
        except OSError:
            os.close(descriptor)
            return cls(pickle.dumps(value, protocol=5))
        return cls(b"", Descriptor(descriptor), bounds)

    def load(self) -> Any:
        """Return the object; arrays that lie in the file are read-only. Closes the file's descriptor."""
        if self.file is None:
            return pickle.loads(self.pickled)
        whole = memoryview(mmap.mmap(self.file.number, 0, access=mmap.ACCESS_READ))
        self.close()
        head, *arrays = (whole[start:stop] for start, stop in self.bounds)
        return pickle.loads(head, buffers=arrays)

    def close(self) -> None:
        """Give the file back; who has loaded it keeps it."""
        if self.file is not None:
            os.close(self.file.number)


def _open_nameless() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("synthgen-payload")
    import tempfile  # a worker need not load it

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(descriptor: int, parts: Sequence[memoryview]) -> tuple[tuple[int, int], ...]:
    """Return where each part lies now."""
    bounds, start = [], 0
    for part in parts:
        at, left = start, part
        while left:
            n = os.pwrite(descriptor, left, at)
            at, left = at + n, left[n:]
        bounds.append((start, at))
        start = -(-at // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
    return tuple(bounds)
