"""What of a space its index of vectors covers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from synthgen.server.store import Space
from synthgen.server.vectors import VectorIndex, size_for

#: Vectors that are read and compared in some ten milliseconds.
_QUICK_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class View:
    """An index to search, and what it cannot tell: ordinals from ``n_covered`` on, and ``stale`` ones."""

    index: VectorIndex | None
    n_covered: int
    stale: list[int]


@dataclass
class Successor:
    """An index under way: it holds ordinals [0, ``n_added``), as they were after ``change`` or later.

    ``index`` is None while its centroids are not known.
    """

    change: int
    index: VectorIndex | None = None
    n_added: int = 0


@dataclass
class SpaceIndex:
    """The index of one space: it holds the memories of ordinals [0, ``n_covered``), but for ``stale`` ones.

    ``index`` is None while the space is small, or its index is not made yet. ``stale``: ordinals that were
    replaced since they were read, with the number of the change. ``successor``: what will take its place when
    the space has outgrown it; the indexer's thread alone knows it. No other is made before there are
    ``n_patient`` memories. What the writer's thread and the indexer's both change, they change under
    ``lock``. The last three tell of the file that counts.
    """

    space: Space
    index: VectorIndex | None = None
    n_covered: int = 0
    stale: dict[int, int] = field(default_factory=dict)
    last_change: int = 0
    successor: Successor | None = None
    n_patient: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    generation: int = 0
    n_saved: int = 0
    change_saved: int = 0

    @property
    def lag(self) -> int:
        """Memories that an index of the right size should hold and does not, or not as they are."""
        successor = self.successor
        if size_for(self.space.n_memories) is None:
            return 0
        n_held = self.n_covered
        if self.is_outgrown:  # none is searched before the last one is there
            n_held = min(successor.n_added, self.space.n_memories - 1) if successor else 0
        return self.space.n_memories - n_held + len(self.stale)

    @property
    def is_outgrown(self) -> bool:
        """Whether the space needs an index, or a larger one than it has, or one that suits its vectors."""
        size = size_for(self.space.n_memories)
        if size is None or self.space.n_memories < self.n_patient:
            return False
        return self.index is None or self.index.size != size or self.index.wear.is_worn

    @property
    def n_compared(self) -> int:
        """Memories that a search has to compare beside what the index holds."""
        return self.space.n_memories - self.n_covered + len(self.stale)

    @property
    def is_quick(self) -> bool:
        """Whether little has to be compared beside what the index holds."""
        return self.n_compared < _QUICK_ROWS

    @property
    def is_saved(self) -> bool:
        """Whether there is nothing in the index that its file lacks."""
        return self.index is None or (self.n_covered, self.last_change) == (self.n_saved, self.change_saved)

    @contextlib.contextmanager
    def view(self) -> Iterator[View]:
        """Keep the index as it is while it is searched."""
        while True:
            index = self.index
            if index is None:
                yield View(None, 0, [])
                return
            with index.lock.shared():
                with self.lock:
                    found = View(self.index, self.n_covered, [n for n in self.stale if n < self.n_covered])
                if found.index is index:  # else another has just taken its place
                    yield found
                    return

    def mark(self, ordinal: int, change: int) -> None:
        """Note that a memory was replaced; to be called after the commit and before it is answered."""
        with self.lock:
            self.last_change = change
            if size_for(self.space.n_memories) is not None:
                self.stale[ordinal] = change

    def settle(self, ordinals: Collection[int], change: int) -> None:
        """Note that ``ordinals`` are covered as they were after ``change``.

        A range of ordinals has to begin where the index ends, or before.
        """
        with self.lock:
            if isinstance(ordinals, range):
                self.n_covered = max(self.n_covered, ordinals.stop)
            self._freshen(ordinals, change)

    def succeed(self) -> None:
        """Put the successor in the place of the index."""
        with self.lock:
            new = self.successor
            assert new is not None and new.index is not None
            new.index.wear = new.index.wear.begun()
            self.index, self.n_covered, self.n_saved = new.index, new.n_added, 0
            self._freshen(range(new.n_added), new.change)
            self.successor = None

    def _freshen(self, ordinals: Collection[int], change: int) -> None:
        self.stale = {
            ordinal: last for ordinal, last in self.stale.items() if last > change or ordinal not in ordinals
        }
