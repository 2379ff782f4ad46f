"""What is known of the chunks of a file, in a few bytes each: digests, and where they lie."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, overload

from synthgen.specs import chunk_bounds, n_chunks

_DIGEST_BYTES = 16


class Digests(Sequence[str]):
    """XXH3-128 digests (hex) of chunks, by number; each is held in 16 bytes. ``""``: not known yet.

    ``total`` is the SHA-256 (hex) over all of them, one a line.
    """

    def __init__(self, digests: Iterable[str] = (), *, length: int = 0) -> None:
        self._bytes = bytearray(b"".join(map(_packed, digests)))
        self._bytes += bytes(max(0, length * _DIGEST_BYTES - len(self._bytes)))

    def __len__(self) -> int:
        return len(self._bytes) // _DIGEST_BYTES

    @overload
    def __getitem__(self, chunk: int) -> str: ...
    @overload
    def __getitem__(self, chunk: slice) -> list[str]: ...
    def __getitem__(self, chunk: int | slice) -> str | list[str]:
        if isinstance(chunk, slice):
            return [self[i] for i in range(len(self))[chunk]]
        chunk = range(len(self))[chunk]
        digest = self._bytes[chunk * _DIGEST_BYTES : (chunk + 1) * _DIGEST_BYTES]
        return digest.hex() if any(digest) else ""

    def __setitem__(self, chunk: int, digest: str) -> None:
        chunk = range(len(self))[chunk]
        self._bytes[chunk * _DIGEST_BYTES : (chunk + 1) * _DIGEST_BYTES] = _packed(digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Digests) and self._bytes == other._bytes

    __hash__ = None  # type: ignore[assignment]

    @property
    def total(self) -> str:
        """SHA-256 over all digests."""
        hasher = OrderedDigest()
        for chunk, digest in enumerate(self):
            hasher.add(chunk, digest)
        return hasher.hexdigest()

    def find(self, digest: str) -> int:
        """Return the first chunk with ``digest``; -1 where none has it."""
        packed, at = _packed(digest), -1
        while (at := self._bytes.find(packed, at + 1)) % _DIGEST_BYTES:  # -1, too, is no multiple
            if at < 0:
                return -1
        return at // _DIGEST_BYTES

    def missing(self) -> Iterator[int]:
        """Yield the chunks without a digest, in order."""
        return (chunk for chunk in range(len(self)) if not self[chunk])


class OrderedDigest:
    """The SHA-256 over the digests of chunks, one a line, that come in any order; holds those that wait."""

    def __init__(self) -> None:
        self._hasher = hashlib.sha256()
        self._next = 0
        self._waiting: dict[int, str] = {}

    def add(self, chunk: int, digest: str) -> None:
        """Take the digest of ``chunk``."""
        self._waiting[chunk] = digest
        while self._next in self._waiting:
            self._hasher.update(f"{self._waiting.pop(self._next)}\n".encode())
            self._next += 1

    def hexdigest(self) -> str:
        """Return the digest over the chunks so far, from 0 on without a gap."""
        return self._hasher.hexdigest()


class Places(Protocol):
    """Where chunks lie in a file."""

    @property
    def end(self) -> int:
        """Where the last one ends."""
        ...

    def __getitem__(self, chunk: int) -> tuple[int, int]:
        """Return the bytes [start, stop) of ``chunk``."""
        ...


@dataclass(frozen=True)
class FixedPlaces:
    """Those of ``n_rows`` rows of ``row_bytes`` each behind ``head_bytes``."""

    head_bytes: int
    row_bytes: int
    n_rows: int

    @property
    def end(self) -> int:
        """Where the last row ends."""
        return self.head_bytes + self.n_rows * self.row_bytes

    def __getitem__(self, chunk: int) -> tuple[int, int]:
        start, stop = chunk_bounds(range(n_chunks(self.n_rows))[chunk], self.n_rows)
        return self.head_bytes + start * self.row_bytes, self.head_bytes + stop * self.row_bytes


@dataclass(frozen=True)
class PackedPlaces:
    """Chunk i lies from ``starts[i]`` to ``starts[i + 1]``."""

    starts: array[int]

    @classmethod
    def after(cls, head_bytes: int) -> PackedPlaces:
        """Return the places of no chunk, behind a head."""
        return cls(array("Q", [head_bytes]))

    @property
    def end(self) -> int:
        """Where the last chunk ends."""
        return self.starts[-1]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, chunk: int) -> tuple[int, int]:
        chunk = range(len(self))[chunk]
        return self.starts[chunk], self.starts[chunk + 1]

    def append(self, size: int) -> None:
        """Place one more chunk of ``size`` bytes."""
        self.starts.append(self.end + size)

    def cut(self, n: int) -> None:
        """Forget all chunks but the first ``n``."""
        del self.starts[n + 1 :]


def _packed(digest: str) -> bytes:
    data = bytes.fromhex(digest)
    if len(data) != _DIGEST_BYTES and digest:
        raise ValueError(f"not a digest of 128 bits: {digest!r}")
    return data or bytes(_DIGEST_BYTES)
