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
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthgen.server.covering import SpaceIndex, Successor
from synthgen.server.reading import Readers, read_vectors, read_vectors_of
from synthgen.server.saved import delete_others, load_index, save_index
from synthgen.server.store import ORDINAL_BITS, Space
from synthgen.server.vectors import N_ASKED, VectorIndex, normalise, size_for
from synthgen.specs import EMBEDDING_DIMENSION

FOLDER_NAME = "index"
#: Memories added at a time: some ten milliseconds, in which an index can also be searched.
PIECE_ROWS = 2_048
#: Indexing waits for a piece, or until no more memories come for so long: it takes time from storing.
QUIET_S = 0.3
#: Where they trickle, none waits longer.
_LONGEST_S = 2.0
#: A file is written anew when an index has grown by this share, and at the end.
_SAVE_GROWTH = 0.5
#: It is written anew, too, when nothing was stored for so long.
_SAVE_IDLE_S = 10.0
#: After a failure the index is left alone so long.
_PAUSE_S = 30.0
#: Where too few memories have a vector, it is looked again when so much of their number has come again: as
#: many vectors as there are lists are found once one in 40 has one.
_PATIENCE = 40
#: Of nice(2): the index gives way to requests.
_NICENESS = 5
_DONE = object()


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
        self._makings: dict[int, Iterator[None]] = {}
        self._event = threading.Event()
        self._stopping = False
        self._last_commit_s = 0.0
        self._advanced_s = 0.0
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
            self._advanced_s = time.monotonic()
            while not self._stopping and self.lag:
                if self._is_due():
                    self._try(self._advance)
                    self._advanced_s = time.monotonic()
                else:
                    time.sleep(QUIET_S / 6)
        self._try(self._save_all)

    def _is_due(self) -> bool:
        has_waited = time.monotonic() - self._advanced_s > _LONGEST_S
        return self.lag >= PIECE_ROWS or has_waited or self._is_quiet()

    def _is_quiet(self) -> bool:
        return time.monotonic() - self._last_commit_s > QUIET_S

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
            if not entry.lag:
                continue
            if entry.is_outgrown:
                self._make_on(entry)
                if entry.index is None or (entry.n_compared < PIECE_ROWS and not self._is_quiet()):
                    continue
            if len(entry.stale) > space.n_memories - entry.n_covered:  # not all of them are yet to be read
                self._refresh(entry)
            else:
                self._extend(entry)
            has_grown = entry.n_covered >= (1 + _SAVE_GROWTH) * entry.n_saved
            if entry.index is not None and not entry.lag and has_grown:
                self._save(entry)

    def _make_on(self, entry: SpaceIndex) -> None:
        """Do the next piece of an index that is made; what there is serves till then, and is kept up."""
        number = entry.space.number
        steps = self._makings.get(number)
        if steps is None:
            steps = self._makings[number] = self._make(entry)
        is_done = True
        try:
            is_done = next(steps, _DONE) is _DONE
        finally:
            if is_done:
                entry.successor = None
                del self._makings[number]

    def _make(self, entry: SpaceIndex) -> Iterator[None]:
        """Make an index of the size that is right now, a piece at a time, and put it in its place."""
        space, n_memories = entry.space, entry.space.n_memories
        size = size_for(n_memories)
        assert size is not None, "only then is an index made"
        entry.successor = new = Successor(entry.last_change)
        fitted = _spread(np.arange(n_memories), size.n_sample)
        sample = yield from self._sample(space, fitted)
        if len(sample) < size.n_lists:  # few memories have a vector: it is quick without
            entry.n_patient = n_memories + n_memories // _PATIENCE + 1
            if entry.index is None:
                entry.settle(range(n_memories), new.change)
            return
        for made in VectorIndex.fit_in_steps(sample, size):
            new.index = made
            yield
        del sample
        while not self._add_to(new, entry):
            yield
        assert new.index is not None
        unseen = _spread(np.setdiff1d(np.arange(n_memories), fitted), N_ASKED)
        asked = yield from self._sample(space, unseen)
        yield from new.index.widen(asked)
        while not self._add_to(new, entry):
            yield
        entry.succeed()

    def _add_to(self, new: Successor, entry: SpaceIndex) -> bool:
        """Add a piece; return whether it holds as much as the index before, and nearly all that is stored."""
        assert new.index is not None
        space = entry.space
        ordinals = range(new.n_added, min(new.n_added + PIECE_ROWS, space.n_memories))
        new.index.add(*self._read(space, ordinals))
        new.n_added = ordinals.stop
        return new.n_added >= entry.n_covered and space.n_memories - new.n_added < PIECE_ROWS

    def _sample(
        self, space: Space, ordinals: NDArray[np.int64]
    ) -> Generator[None, None, NDArray[np.float32]]:
        """Return the vectors of ``ordinals`` (n,), of length 1, those that are there."""
        sample, n_read = np.empty((len(ordinals), EMBEDDING_DIMENSION), np.float32), 0
        for start in range(0, len(ordinals), PIECE_ROWS):
            found = self._read_these(space, ordinals[start : start + PIECE_ROWS].tolist())[1]
            sample[n_read : n_read + len(found)] = found
            n_read += len(found)
            yield
        return sample[:n_read]

    def _extend(self, entry: SpaceIndex) -> None:
        """Add the next piece of what was stored since."""
        change, stop = entry.last_change, min(entry.n_covered + PIECE_ROWS, entry.space.n_memories)
        ordinals = range(entry.n_covered, stop)
        if entry.index is not None:
            entry.index.add(*self._read(entry.space, ordinals))
            entry.index.wear.look()
        entry.settle(ordinals, change)

    def _refresh(self, entry: SpaceIndex) -> None:
        """Put what was replaced in its place; until then searches compare it themselves."""
        with entry.lock:
            change = entry.last_change
            stale = sorted(ordinal for ordinal in entry.stale if ordinal < entry.n_covered)[:PIECE_ROWS]
        numbers, vectors = self._read_these(entry.space, stale)
        if entry.index is not None:
            _replace(entry.index, stale, numbers, vectors)
            entry.index.wear.n_replaced += len(stale)
            entry.index.wear.look()
        new = entry.successor
        if new is not None and new.index is not None:  # what it does not hold yet, it will read later
            is_held = numbers < new.n_added
            held = [ordinal for ordinal in stale if ordinal < new.n_added]
            _replace(new.index, held, numbers[is_held], vectors[is_held])
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


def _spread(ordinals: NDArray[np.int64], n_wanted: int) -> NDArray[np.int64]:
    """Return about ``n_wanted`` of ``ordinals``, from all over them; all, where there are no more."""
    return ordinals[
        np.unique(np.linspace(0, len(ordinals) - 1, min(n_wanted, len(ordinals))).astype(np.int64))
    ]


def _replace(
    index: VectorIndex, stale: list[int], numbers: NDArray[np.int64], vectors: NDArray[np.float32]
) -> None:
    index.remove(np.array(stale, np.int64))
    index.add(numbers, vectors)


def _of_length_1(
    space: Space, rows: NDArray[np.int64], vectors: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    return rows - space.first_row, normalise(vectors) if len(rows) else vectors
