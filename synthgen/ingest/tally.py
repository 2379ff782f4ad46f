"""The arrays of one reconciliation, in files of a temporary folder so that processes share them.

A row costs 45 bytes: its fingerprint, its flags, the hash of its id, and its place in the order of hashes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.ingest.fingerprints import NO_ID, PRINT, differences, fingerprint, hash_id, read_bodies
from synthgen.runtime.files import explain_os_errors
from synthgen.specs import RowReader

FOUND, CONTENT, EMBEDDING, CONFIDENCE, TWICE = 1, 2, 4, 8, 16
DIFFERENT = {"content": CONTENT, "embedding": EMBEDDING, "confidence": CONFIDENCE}

#: Makes an id of one space another one in the next: each space can hold a memory of that id.
_SPACE_SALT = 0x9E37_79B9_7F4A_7C15

#: Arrays by name.
_TYPES: dict[str, Any] = {
    "prints": PRINT,
    "hashes": np.uint64,
    "order": np.int64,
    "flags": np.uint8,
}


@dataclass(frozen=True)
class Shelf:
    """Where the arrays lie, for ``n_rows`` rows that are spread over ``n_spaces`` spaces."""

    folder: str
    n_rows: int
    n_spaces: int

    def create(self) -> None:
        """Make all arrays, filled with zeros; raise ResourceError when the disk has no room for them."""
        for name, dtype in _TYPES.items():
            path = Path(self.folder) / name
            size = max(1, self.n_rows) * np.dtype(dtype).itemsize
            with explain_os_errors(path), path.open("wb") as file:
                file.truncate(size)
                if hasattr(os, "posix_fallocate"):  # a hole that cannot be filled later would be a SIGBUS
                    os.posix_fallocate(file.fileno(), 0, size)

    def array(self, name: str) -> NDArray[Any]:
        """Return one array, shared by all who ask."""
        path = Path(self.folder) / name
        shared: NDArray[Any] = np.memmap(path, dtype=_TYPES[name], mode="r+", shape=(max(1, self.n_rows),))
        return shared[: self.n_rows]


class Expectations:
    """Fills in what should be there."""

    def __init__(self, shelf: Shelf, reader: RowReader) -> None:
        self._reader = reader
        self._n_spaces = shelf.n_spaces
        self._prints = shelf.array("prints")
        self._hashes = shelf.array("hashes")

    def fill(self, start: int, stop: int) -> None:
        """Compute the rows [start, stop) from their source."""
        hashes, prints = read_bodies(self._reader.read(start, stop))
        spaces = np.arange(start, stop, dtype=np.uint64) % np.uint64(self._n_spaces)
        named = hashes != NO_ID
        self._hashes[start:stop] = np.where(named, hashes ^ (spaces * np.uint64(_SPACE_SALT)), hashes)
        self._prints[start:stop] = prints


@dataclass(frozen=True)
class SharedIds:
    """Rows whose id another row of their space has, too, in ascending order, and for each the first such row
    (itself, where it is the first): the database can hold one memory for all of them.
    """

    rows: NDArray[np.int64]
    firsts: NDArray[np.int64]

    def settle(self, flags: NDArray[np.uint8]) -> None:
        """Give all rows of one id one fate: they are found when the id is listed. Which of them the memory
        should equal cannot be told.
        """
        flags[self.rows] = flags[self.firsts] & np.uint8(FOUND | TWICE)


def sort_ids(shelf: Shelf) -> SharedIds:
    """Sort the id hashes for look-up; return which rows share one (those without an id do not)."""
    hashes = shelf.array("hashes")
    order = np.argsort(hashes, kind="stable")
    shelf.array("order")[:] = order
    ordered = hashes[order]
    hashes[:] = ordered
    repeats = np.zeros(len(ordered), np.bool_)
    repeats[1:] = (ordered[1:] == ordered[:-1]) & (ordered[1:] != NO_ID)
    shared = repeats.copy()
    shared[:-1] |= repeats[1:]
    places = np.flatnonzero(shared)
    leaders = np.maximum.accumulate(np.where(repeats[places], 0, places))
    by_row = np.argsort(order[places])
    return SharedIds(order[places][by_row], order[leaders][by_row])


@dataclass(frozen=True)
class PageCount:
    """One page: memories listed, those that belong here, and those that do not."""

    n_items: int
    n_known: int
    n_foreign: int


class Comparison:
    """Compares listed memories with what should be there, and flags rows."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._prints = shelf.array("prints")
        self._sorted = shelf.array("hashes")
        self._order = shelf.array("order")
        self._flags = shelf.array("flags")

    def take(self, space: int, items: list[dict[str, Any]]) -> PageCount:
        """Take in one page of the listing of the space with this index."""
        rows, known = self._look_up(space, items)
        rows = rows[known]
        mine = [item for item, is_known in zip(items, known.tolist(), strict=True) if is_known]
        listed = np.array([fingerprint(item) for item in mine], dtype=PRINT)
        flags = np.full(len(rows), FOUND, dtype=np.uint8)
        for name, differs in differences(self._prints[rows], listed).items():
            flags |= np.where(differs, DIFFERENT[name], 0).astype(np.uint8)
        self._mark(rows, flags)
        return PageCount(len(items), len(rows), len(items) - len(rows))

    def _look_up(
        self, space: int, items: list[dict[str, Any]]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        salt = space * _SPACE_SALT % 2**64
        hashes = np.array([hash_id(item["id"]) ^ salt for item in items], dtype=np.uint64)
        if self._shelf.n_rows == 0 or len(items) == 0:
            return np.zeros(len(items), np.int64), np.zeros(len(items), np.bool_)
        places = np.minimum(np.searchsorted(self._sorted, hashes), self._shelf.n_rows - 1)
        return np.asarray(self._order[places]), np.asarray(self._sorted[places] == hashes)

    def _mark(self, rows: NDArray[np.int64], flags: NDArray[np.uint8]) -> None:
        again = (self._flags[rows] & FOUND) > 0
        _, first = np.unique(rows, return_index=True)
        repeated = np.ones(len(rows), np.bool_)
        repeated[first] = False
        np.bitwise_or.at(self._flags, rows, flags)
        np.bitwise_or.at(self._flags, rows[again | repeated], np.uint8(TWICE))
