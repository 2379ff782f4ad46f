"""Rows in order from this process: what a pipe takes, and what is written of a range of rows alone."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import xxhash

from synthgen.errors import Interrupted, ResourceError
from synthgen.formats.chunks import OrderedDigest, PackedPlaces
from synthgen.formats.dataset_file import first_places
from synthgen.formats.encoding import Encoding
from synthgen.generate.dataset import Dataset
from synthgen.runtime import files
from synthgen.runtime.progress import Progress
from synthgen.specs import CHUNK_ROWS


class Pieces:
    """The bytes of a file of ``encoding``, piece by piece, each valid until the next: head, chunks, tail.

    ``n_bytes``: how many there were so far. Holds one chunk, and in a packed format where each lies.
    """

    def __init__(self, dataset: Dataset, encoding: Encoding, progress: Progress) -> None:
        self.n_bytes = 0
        self._dataset, self._encoding, self._progress = dataset, encoding, progress
        self._digest = OrderedDigest()

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the digests of the chunks so far, one a line, as in a manifest."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[bytes | memoryview]:
        for piece in self._make():
            self.n_bytes += len(piece)
            yield piece

    def _make(self) -> Iterator[bytes | memoryview]:
        encoding, encoder, places = self._encoding, self._encoding.open(), first_places(self._encoding)
        yield encoding.head()
        for number, at in enumerate(range(0, len(encoding.rows), CHUNK_ROWS)):
            rows, before, hasher = encoding.rows[at : at + CHUNK_ROWS], self.n_bytes, xxhash.xxh3_128()
            for piece in encoder.encode(self._dataset, rows.start, rows.stop):
                hasher.update(piece)
                yield piece
            self._digest.add(number, hasher.hexdigest())
            if isinstance(places, PackedPlaces):
                places.append(self.n_bytes - before)
            self._progress.update(at + len(rows))
        if isinstance(places, PackedPlaces):
            yield from encoding.tail(places.starts)


@contextlib.contextmanager
def open_stream(output: Path | None) -> Iterator[BinaryIO]:
    """Open ``output`` (None: standard output) to be written from begin to end; OSError as ResourceError,
    Ctrl-C as Interrupted.

    A reader that has seen enough is no error: as long as the block lasts, SIGPIPE ends the process.
    """
    where = str(output or "standard output")
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        with Path(output).open("wb") if output else os.fdopen(os.dup(sys.stdout.fileno()), "wb") as sink:
            yield sink
    except KeyboardInterrupt as stopped:
        raise Interrupted(
            "stopped in the middle", where=where, next_step="the same command begins again"
        ) from stopped
    except OSError as error:
        raise ResourceError(
            error.strerror or str(error), where=where, next_step=files.advice_on(error)
        ) from error
    finally:
        signal.signal(signal.SIGPIPE, before)
