"""Which bytes of a packed file a chunk gets: each right behind the one before, as sizes become known.

    worker: encodes chunk 7, says its size ──> parent: knows the sizes of 0 to 6 ──> worker: writes it there

Pure bookkeeping: it neither sends nor writes. Chunks may be offered in any order, and again when a worker has
died over one; an answer is due when all chunks before have been offered.
"""

from __future__ import annotations

from dataclasses import dataclass

from synthgen.formats.chunks import PackedPlaces


class SizeChanged(Exception):
    """Chunk ``chunk`` has another size than before: another version of the program has encoded it."""

    def __init__(self, chunk: int) -> None:
        super().__init__(chunk)
        self.chunk = chunk


@dataclass(frozen=True)
class Answer:
    """What to tell ``asker``: that ``chunk`` begins at byte ``start``."""

    asker: int
    chunk: int
    start: int


class Placement:
    """Appends to ``places`` as chunks are offered; those that must wait are held by number."""

    def __init__(self, places: PackedPlaces) -> None:
        self._places = places
        self._waiting: dict[int, tuple[int, int]] = {}

    def offer(self, chunk: int, size: int, asker: int) -> list[Answer]:
        """Note that ``asker`` holds ``chunk`` in ``size`` bytes; return the answers that are due now.

        Raises SizeChanged where the chunk has a place of another size.
        """
        if chunk < len(self._places):
            start, stop = self._places[chunk]
            if stop - start != size:
                raise SizeChanged(chunk)
            return [Answer(asker, chunk, start)]
        self._waiting[chunk] = (size, asker)
        return list(self._due())

    def withdraw(self, chunk: int) -> None:
        """Note that whoever held ``chunk`` has died; it will be offered again."""
        self._waiting.pop(chunk, None)

    def _due(self) -> list[Answer]:
        due = []
        while (chunk := len(self._places)) in self._waiting:
            size, asker = self._waiting.pop(chunk)
            self._places.append(size)
            due.append(Answer(asker, chunk, self._places[chunk][0]))
        return due
