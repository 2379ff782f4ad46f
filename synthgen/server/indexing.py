"""The indexes of vectors follow the store: a thread reads what was committed, adds it, and keeps files.

Nobody waits for it: a search compares what is not covered yet, or was replaced since, itself. What is in a
file was covered once; which file counts, and what was replaced since, the database says (store.py), so that
whatever is lost or older costs time and never a result.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthgen.server.covering import SpaceIndex
from synthgen.server.reading import Readers, read_vectors, read_vectors_of
from synthgen.server.saved import delete_others, load_index, save_index
from synthgen.server.store import ORDINAL_BITS, Space
from synthgen.server.vectors import VectorIndex, normalise, size_for
from synthgen.specs import EMBEDDING_DIMENSION

FOLDER_NAME = "index"
#: Memories added at a time: some ten milliseconds, in which an index can also be searched.
PIECE_ROWS = 2_048
#: Indexing waits for a piece, or until no more memories come for so long: it takes time from storing.
QUIET_S = 0.3
#: A file is written anew when an index has grown by this share, and at the end.
_SAVE_GROWTH = 0.5
#: It is written anew, too, when nothing was stored for so long.
_SAVE_IDLE_S = 10.0
#: After a failure the index is left alone so long.
_PAUSE_S = 30.0
#: Of nice(2): the index gives way to requests.
_NICENESS = 5


class Indexer:
    """The thread, and the indexes of all spaces by number.

    ``perform`` runs a function on the one connection that writes, in the writer's thread, and returns when
    it is done. ``last_error``: empty where the last thing that was tried went well.
    """

    def __init__(
        self,
        database: Path,
        spaces: Callable[[], list[Space]],
        perform: Callable[[Callable[[sqlite3.Connection], None]], None],
    ) -> None:
        self.last_error = ""
        self._folder = database.with_name(FOLDER_NAME)
        self._readers = Readers(database)
        self._spaces = spaces
        self._perform = perform
        self._indexes: dict[int, SpaceIndex] = {}
        self._event = threading.Event()
        self._stopping = False
        self._last_commit_s = 0.0
        self._thread = threading.Thread(target=self._run, name="indexer")

    def open(self) -> None:
        """Load what was saved, then start the thread."""
        for space in self._spaces():
            entry = self._indexes[space.number] = SpaceIndex(space)
            load_index(self._readers.connection(), self._folder, entry)
        self._event.set()  # there may be something to catch up with
        self._thread.start()

    def of(self, space: Space) -> SpaceIndex:
        """Return the index of ``space``."""
        entry = self._indexes.get(space.number)
        if entry is None:
            entry = self._indexes.setdefault(space.number, SpaceIndex(space))
        return entry

    @property
    def lag(self) -> int:
        """Memories of all spaces that their indexes should hold and do not."""
        return sum(self.of(space).lag for space in self._spaces())

    def committed(self, replaced: dict[int, int]) -> None:
        """Hear of a commit: ``replaced`` has rows and numbers of changes. Called by the writer's thread."""
        if replaced:
            spaces = {space.number: space for space in self._spaces()}
            for row, change in replaced.items():
                space = spaces[row >> ORDINAL_BITS]
                self.of(space).mark(row - space.first_row, change)
        self._last_commit_s = time.monotonic()
        if not self._event.is_set():
            self._event.set()

    def close(self) -> None:
        """End the thread and save what has changed; blocks until then. Nothing may be stored meanwhile."""
        self._stopping = True
        self._event.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._readers.close()

    def _run(self) -> None:
        with contextlib.suppress(AttributeError, OSError):  # of this thread alone: Linux
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        while not self._stopping:
            if not self._event.wait(_SAVE_IDLE_S):
                self._try(self._save_all)
            self._event.clear()
            while not self._stopping and self.lag:
                if self._is_due():
                    self._try(self._advance)
                else:
                    time.sleep(QUIET_S / 6)
        self._try(self._save_all)

    def _is_due(self) -> bool:
        return self.lag >= PIECE_ROWS or time.monotonic() - self._last_commit_s > QUIET_S

    def _try(self, act: Callable[[], None]) -> None:
        """Do what may fail: requests are answered without an index, too, and it is tried again."""
        try:
            act()
            self.last_error = ""
        except Exception as error:
            self.last_error = f"{type(error).__name__}: {error}"
            print(f"synthgen serve: index of vectors: {self.last_error}", file=sys.stderr, flush=True)
            deadline_s = time.monotonic() + _PAUSE_S
            while not self._stopping and time.monotonic() < deadline_s:
                time.sleep(QUIET_S)

    def _advance(self) -> None:
        """Do a piece of work on each index that lags."""
        for space in self._spaces():
            entry = self.of(space)
            size = size_for(space.n_memories)
            if size is None or not entry.lag:
                continue
            if entry.index is None or entry.index.size != size:
                self._make(entry)
            elif entry.n_covered < space.n_memories:
                self._extend(entry)
            else:
                self._refresh(entry)
            has_grown = entry.n_covered >= (1 + _SAVE_GROWTH) * entry.n_saved
            if entry.index is not None and not entry.lag and has_grown:
                self._save(entry)

    def _make(self, entry: SpaceIndex) -> None:
        """Make an index of all that is stored now; a smaller one that there is serves till then."""
        space, change = entry.space, entry.last_change
        ordinals = range(space.n_memories)
        size = size_for(len(ordinals))
        assert size is not None, "only then is an index made"
        sample = self._sample(space, len(ordinals), size.n_sample)
        if len(sample) < size.n_lists:  # hardly any memory has a vector: to compare them all is quick
            entry.settle(ordinals, change)
            return
        index = VectorIndex.fit(sample, size)
        for start in ordinals[::PIECE_ROWS]:
            if self._stopping:
                return
            index.add(*self._read(space, ordinals[start : start + PIECE_ROWS]))
        entry.settle(ordinals, change, index)
        entry.n_saved = 0

    def _sample(self, space: Space, n_memories: int, n_rows: int) -> NDArray[np.float32]:
        """Return vectors from all over the space, about ``n_rows``, those that are there."""
        ordinals = np.unique(np.linspace(0, n_memories - 1, n_rows).astype(np.int64)).tolist()
        sample, n_read = np.empty((len(ordinals), EMBEDDING_DIMENSION), np.float32), 0
        for start in range(0, len(ordinals), PIECE_ROWS):
            found = self._read_these(space, ordinals[start : start + PIECE_ROWS])[1]
            sample[n_read : n_read + len(found)] = found
            n_read += len(found)
        return sample[:n_read]

    def _extend(self, entry: SpaceIndex) -> None:
        """Add the next piece of what was stored since."""
        assert entry.index is not None
        change, stop = entry.last_change, min(entry.n_covered + PIECE_ROWS, entry.space.n_memories)
        ordinals = range(entry.n_covered, stop)
        entry.index.add(*self._read(entry.space, ordinals))
        entry.settle(ordinals, change)

    def _refresh(self, entry: SpaceIndex) -> None:
        """Put what was replaced in its place; until then searches compare it themselves."""
        assert entry.index is not None
        with entry.lock:
            change, stale = entry.last_change, sorted(entry.stale)[:PIECE_ROWS]
        found = self._read_these(entry.space, stale)
        entry.index.remove(np.array(stale, np.int64))
        entry.index.add(*found)
        entry.settle(set(stale), change)

    def _read(self, space: Space, ordinals: range) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        found = read_vectors(self._readers, space, ordinals.start, ordinals.stop)
        return _of_length_1(space, *found)

    def _read_these(
        self, space: Space, ordinals: Sequence[int]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        rows = [space.first_row + ordinal for ordinal in ordinals]
        return _of_length_1(space, *read_vectors_of(self._readers, rows))

    def _save_all(self) -> None:
        for entry in list(self._indexes.values()):
            if not entry.is_saved:
                self._save(entry)

    def _save(self, entry: SpaceIndex) -> None:
        self._perform(save_index(self._folder, entry))
        delete_others(self._folder, list(self._indexes.values()))


def _of_length_1(
    space: Space, rows: NDArray[np.int64], vectors: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    return rows - space.first_row, normalise(vectors) if len(rows) else vectors
