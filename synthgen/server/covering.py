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
class SpaceIndex:
    """The index of one space: it holds the memories of ordinals [0, ``n_covered``), but for ``stale`` ones.

    ``index`` is None while the space is small, or its index is not made yet. ``stale``: ordinals that were
    replaced since they were read, with the number of the change. What the writer's thread and the indexer's
    both change, they change under ``lock``. The last three tell of the file that counts.
    """

    space: Space
    index: VectorIndex | None = None
    n_covered: int = 0
    stale: dict[int, int] = field(default_factory=dict)
    last_change: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    generation: int = 0
    n_saved: int = 0
    change_saved: int = 0

    @property
    def lag(self) -> int:
        """Memories that an index should hold and does not, or not as they are."""
        if size_for(self.space.n_memories) is None:
            return 0
        return self.space.n_memories - self.n_covered + len(self.stale)

    @property
    def is_quick(self) -> bool:
        """Whether little has to be compared beside what the index holds."""
        return self.space.n_memories - self.n_covered < _QUICK_ROWS

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

    def settle(self, ordinals: Collection[int], change: int, index: VectorIndex | None = None) -> None:
        """Note that ``ordinals`` are covered as they were after ``change``; by a new ``index``, if given.

        A range of ordinals has to begin where the index ends, or before.
        """
        with self.lock:
            self.index = index or self.index
            if isinstance(ordinals, range):
                self.n_covered = max(self.n_covered, ordinals.stop)
            self.stale = {
                ordinal: last
                for ordinal, last in self.stale.items()
                if last > change or ordinal not in ordinals
            }
