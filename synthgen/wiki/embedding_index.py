"""Where in a cache the record of a key may lie: 8 bytes of memory for each, however many there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

KEY_BYTES = 16
#: Keys appended since the last merge, which lie in a dictionary (about 10 MB).
_MERGE_AT = 65_536
_POSITION_BITS = np.uint64(32)
_POSITION = np.uint64(2**32 - 1)

Indices = NDArray[np.int64]


class KeyIndex:
    """Positions of records by the first 32 bits of their keys: candidates, to be held against whole keys.

    Of n records about n / 2**32 others share them, so a second candidate is rare; keys must be
    spread evenly, as digests are. At most 2**32 records.
    """

    def __init__(self) -> None:
        self._sorted: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)
        self._loading: NDArray[np.uint64] | None = None
        self._n = 0
        self._recent: dict[bytes, list[int]] = {}

    def __len__(self) -> int:
        return self._n

    def load(self, keys: NDArray[np.uint8], n_in_all: int) -> None:
        """Take the next ``keys``, (n, 16) uint8, of ``n_in_all`` that are loaded before any other use."""
        if self._loading is None:
            self._loading = np.empty(n_in_all, dtype=np.uint64)
        self._loading[self._n : self._n + len(keys)] = self._pack(keys, self._n)
        self._n += len(keys)
        if self._n == n_in_all:
            self._loading.sort()
            self._sorted, self._loading = self._loading, None

    def extend(self, keys: Sequence[bytes]) -> None:
        """Take the keys of the next records."""
        for key in keys:
            self._recent.setdefault(key, []).append(self._n)
            self._n += 1
        if len(self._recent) >= _MERGE_AT:
            self._merge()

    def candidates(self, keys: Sequence[bytes]) -> Iterator[tuple[Indices, Indices]]:
        """Yield places in ``keys`` and positions of records that may be theirs, until there are no more."""
        recent = [(i, position) for i, key in enumerate(keys) for position in self._recent.get(key, ())]
        if recent:
            pairs = np.array(recent, dtype=np.int64)
            yield pairs[:, 0], pairs[:, 1]
        if not keys or not len(self._sorted):
            return
        prefixes = self._pack(np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES), None)
        at = np.searchsorted(self._sorted, prefixes)
        places = np.arange(len(keys))
        while True:
            left = at < len(self._sorted)
            at, places = at[left], places[left]
            same = (self._sorted[at] ^ prefixes[places]) <= _POSITION
            at, places = at[same], places[same]
            if not len(at):
                return
            yield places, (self._sorted[at] & _POSITION).astype(np.int64)
            at = at + 1

    def _merge(self) -> None:
        positions = [(key, position) for key, found in self._recent.items() for position in found]
        keys = np.frombuffer(b"".join(key for key, _ in positions), dtype=np.uint8).reshape(-1, KEY_BYTES)
        packed = self._pack(keys, None) | np.array([at for _, at in positions], dtype=np.uint64)
        packed.sort()
        # Merged in one pass: another sort of all would double what is in memory once more.
        self._sorted = np.insert(self._sorted, np.searchsorted(self._sorted, packed), packed)
        self._recent.clear()

    @staticmethod
    def _pack(keys: NDArray[np.uint8], first: int | None) -> NDArray[np.uint64]:
        """Return 32 bits of each key above 32 bits for its position: from ``first`` on, or zeros."""
        prefixes = np.ascontiguousarray(keys[:, :4]).view("<u4")[:, 0].astype(np.uint64) << _POSITION_BITS
        if first is not None:
            prefixes |= np.arange(first, first + len(keys), dtype=np.uint64)
        return prefixes
