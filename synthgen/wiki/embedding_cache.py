"""Embeddings that were paid for: an append-only cache on the disk, from articles to their vectors.

A cache is a folder; each model has two files in it, named by its digest and dimension, of records that are
equally long and in the same order: ``.vectors`` (d float32, as they were delivered) and ``.keys`` (behind a
head of 128 bytes: the key, 16 bytes, and XXH3-64 of key and vector). Vectors are written first, so a
record counts when its key is whole; what a killed process left torn behind the last one is cut off at the
next open. A record whose checksum is wrong is never served: its article is embedded again and appended.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from synthgen.errors import InputError, ResourceError
from synthgen.runtime.files import FileLock, explain_os_errors, os_error_about, sync_folder
from synthgen.wiki.articles import Article
from synthgen.wiki.embedding_index import KEY_BYTES, KeyIndex

Vectors = NDArray[np.float32]

_HEAD_BYTES = 128
_CHECKSUM_BYTES = 8
_KEY_RECORD_BYTES = KEY_BYTES + _CHECKSUM_BYTES
#: Keys that are read at once when a cache is opened (24 MB).
_KEYS_AT_ONCE = 1_000_000
#: What a power failure may take; a killed process takes nothing that was appended.
_SYNC_INTERVAL_S = 5.0


def article_key(article: Article) -> bytes:
    """Return what names the embedding of ``article``: 16 bytes of its key, revision and embedded text."""
    digest = blake2b(digest_size=KEY_BYTES)
    for part in (article.key, article.revision, article.embedded):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))  # so that no two articles come to the same bytes
        digest.update(data)
    return digest.digest()


class EmbeddingCache:
    """The cache of one model in ``folder`` (made where it is missing), for one process at a time.

    ``model_digest`` (hex) and ``dimension`` tell models apart: another one has its own files. Memory is about
    8 bytes a record. Methods may be called from several threads. Raises ResourceError when another
    process holds the cache or the disk fails, InputError when the files are no cache of this model.
    """

    def __init__(self, folder: Path, model_digest: str, dimension: int) -> None:
        self.dimension = dimension
        #: Records whose checksum was found to be wrong; each time that one is met.
        self.n_damaged = 0
        stem = f"{model_digest[:16]}-{dimension}"
        self._keys_path = folder / f"{stem}.keys"
        self._vectors_path = folder / f"{stem}.vectors"
        self._head = (
            f"synthgen embeddings 1 {dimension} {model_digest}".encode().ljust(_HEAD_BYTES - 1) + b"\n"
        )
        self._vector_bytes = 4 * dimension
        self._index = KeyIndex()
        self._guard = threading.Lock()
        self._closed = False
        with contextlib.ExitStack() as undo:
            undo.enter_context(explain_os_errors(folder))
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / f"{stem}.lock")
            if not lock.acquire():
                raise _held(folder, lock.holder())
            undo.callback(lock.remove)
            self._keys = _open(self._keys_path)
            undo.callback(os.close, self._keys)
            self._vectors = _open(self._vectors_path)
            undo.callback(os.close, self._vectors)
            self._check_head()
            self._cut_torn_tail()
            self._read_keys()
            sync_folder(folder)
            self._synced_s = time.monotonic()
            self._closing = undo.pop_all()

    def __len__(self) -> int:
        return len(self._index)

    def __enter__(self) -> EmbeddingCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Sync, and give the files and the lock back; harmless when done twice. Raises ResourceError."""
        if not self._closed:
            self._closed = True
            with self._closing:
                self._sync()

    def look_up(self, keys: Sequence[bytes]) -> tuple[NDArray[np.bool_], Vectors]:
        """Return which of ``keys`` are here, (n,) bool, and their vectors, (n, d) float32 (zeros elsewhere).

        Raises ResourceError when the disk fails.
        """
        found = np.zeros(len(keys), dtype=np.bool_)
        vectors: Vectors = np.zeros((len(keys), self.dimension), dtype=np.float32)
        with self._guard, explain_os_errors(self._vectors_path):
            for places, positions in self._index.candidates(keys):
                wanted = ~found[places]
                self._fill(keys, places[wanted], positions[wanted], found, vectors)
        return found, vectors

    def append(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Keep ``vectors``, (n, d) float32, under ``keys``; a kill at any time leaves all before as it was.

        Raises ResourceError when the disk takes no more: what was appended before is kept.
        """
        rows = np.ascontiguousarray(vectors, dtype="<f4")
        if rows.shape != (len(keys), self.dimension):
            raise ValueError(
                f"vectors of shape {rows.shape} for {len(keys)} keys of {self.dimension} components"
            )
        records = b"".join(
            key + _checksum(key, memoryview(row).cast("B")) for key, row in zip(keys, rows, strict=True)
        )
        with self._guard:
            n = len(self._index)
            try:
                _write_at(self._vectors, rows.tobytes(), n * self._vector_bytes)
                _write_at(self._keys, records, _HEAD_BYTES + n * _KEY_RECORD_BYTES)
            except OSError as error:
                self._cut_to(n)
                raise os_error_about(self._vectors_path, error) from error
            self._index.extend(keys)
            if time.monotonic() - self._synced_s >= _SYNC_INTERVAL_S:
                self._sync()

    def _sync(self) -> None:
        with explain_os_errors(self._vectors_path):
            os.fsync(self._vectors)
            os.fsync(self._keys)
        self._synced_s = time.monotonic()

    def _check_head(self) -> None:
        head = os.pread(self._keys, _HEAD_BYTES, 0)
        if len(head) < _HEAD_BYTES and self._head.startswith(head):  # new, or killed while it was made
            _write_at(self._keys, self._head, 0)
        elif head != self._head:
            raise InputError(
                "is no cache of embeddings of this model",
                where=str(self._keys_path),
                next_step="delete it, or name another folder",
            )

    def _cut_torn_tail(self) -> None:
        n_keys = (os.fstat(self._keys).st_size - _HEAD_BYTES) // _KEY_RECORD_BYTES
        self._n_at_open = min(n_keys, os.fstat(self._vectors).st_size // self._vector_bytes)
        self._cut_to(self._n_at_open)

    def _cut_to(self, n: int) -> None:
        with contextlib.suppress(OSError):  # what lies behind is written over, or cut off at the next open
            os.ftruncate(self._keys, _HEAD_BYTES + n * _KEY_RECORD_BYTES)
            os.ftruncate(self._vectors, n * self._vector_bytes)

    def _read_keys(self) -> None:
        for start in range(0, self._n_at_open, _KEYS_AT_ONCE):
            n = min(_KEYS_AT_ONCE, self._n_at_open - start)
            offset = _HEAD_BYTES + start * _KEY_RECORD_BYTES
            data = os.pread(self._keys, n * _KEY_RECORD_BYTES, offset)
            records = np.frombuffer(data, dtype=np.uint8).reshape(-1, _KEY_RECORD_BYTES)
            self._index.load(records[:, :KEY_BYTES], self._n_at_open)

    def _fill(
        self,
        keys: Sequence[bytes],
        places: NDArray[np.int64],
        positions: NDArray[np.int64],
        found: NDArray[np.bool_],
        vectors: Vectors,
    ) -> None:
        """Read the records at ``positions``; take those that are whole and of the key at their place."""
        order = np.argsort(positions, kind="stable")
        for run in _runs(positions[order]):
            first, n = int(positions[order[run.start]]), int(positions[order[run.stop - 1]]) + 1
            n -= first
            records = os.pread(self._keys, n * _KEY_RECORD_BYTES, _HEAD_BYTES + first * _KEY_RECORD_BYTES)
            data = memoryview(os.pread(self._vectors, n * self._vector_bytes, first * self._vector_bytes))
            for i in order[run]:
                place, at = places[i], int(positions[i]) - first
                record = records[at * _KEY_RECORD_BYTES : (at + 1) * _KEY_RECORD_BYTES]
                row = data[at * self._vector_bytes : (at + 1) * self._vector_bytes]
                if record[:KEY_BYTES] != keys[place]:
                    continue
                if record[KEY_BYTES:] != _checksum(keys[place], row):
                    self.n_damaged += 1
                    continue
                vectors[place] = np.frombuffer(row, dtype="<f4")
                found[place] = True


def _runs(positions: NDArray[np.int64]) -> Iterator[slice]:
    """Yield the parts of sorted ``positions`` without a gap: each is one read."""
    gaps = np.flatnonzero(np.diff(positions) > 1) + 1
    edges = [0, *gaps.tolist(), len(positions)]
    for start, stop in pairwise(edges):
        if stop > start:
            yield slice(start, stop)


def _checksum(key: bytes, vector: memoryview) -> bytes:
    digest: bytes = xxhash.xxh3_64_digest(key + vector)
    return digest


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        n = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[n:], offset + n


def _held(folder: Path, holder: str) -> ResourceError:
    by = f" (process {holder})" if holder else ""
    return ResourceError(
        f"another run{by} holds this cache of embeddings",
        where=str(folder),
        next_step="wait until it ends, or name another folder",
    )
