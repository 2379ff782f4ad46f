"""Rows as Python values: a dataset as a sequence of memories, any row and any slice, without a file.

They are what a reader of the file gets: components are the float32 nearest to their decimals, a confidence is
the double that its text means.
"""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import orjson
from numpy.typing import NDArray

from synthgen.formats.floats import write_nearest
from synthgen.specs import CHUNK_ROWS, DatasetSpec, Grid, RowMaker, Rows

#: Rows of a slice that lie at least so far apart are made alone: each then costs less than what lies between.
_FAR_APART_ROWS = 60
_CONFIDENCE_STEPS = 1e6


@dataclass(frozen=True, eq=False, repr=False)
class Memory:
    """One memory: ``embedding`` is (d,) float32, of its own; ``confidence`` lies in [0.5, 1]."""

    id: str
    content: str
    embedding: NDArray[np.float32]
    confidence: float

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Memory):
            return NotImplemented
        mine, others = ((m.id, m.content, m.confidence) for m in (self, other))
        return mine == others and np.array_equal(self.embedding, other.embedding)

    def __repr__(self) -> str:
        numbers = ", ".join(map(str, self.embedding[:3]))
        return (
            f"Memory(id={self.id!r}, content={self.content!r}, embedding=[{numbers}, ...] of "
            f"{len(self.embedding):,}, confidence={self.confidence})"
        )

    def __hash__(self) -> int:
        return hash((self.id, self.content, self.confidence))


@dataclass(frozen=True, eq=False, repr=False)
class Memories(Sequence[Memory]):
    """Some memories by column: ``ids`` and ``contents`` (n), ``embeddings`` (n, d) float32, ``confidences``
    (n,) float64. As a sequence, memories.
    """

    ids: list[str]
    contents: list[str]
    embeddings: NDArray[np.float32]
    confidences: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        n, dimension = self.embeddings.shape
        between = f", {self.ids[0]} to {self.ids[-1]}" if n else ""
        return f"<{n:,} memories of {dimension:,} components{between}>"

    @overload
    def __getitem__(self, key: int) -> Memory: ...
    @overload
    def __getitem__(self, key: slice) -> Memories: ...
    def __getitem__(self, key: int | slice) -> Memory | Memories:
        if isinstance(key, slice):
            return Memories(self.ids[key], self.contents[key], self.embeddings[key], self.confidences[key])
        row = operator.index(key)
        embedding, confidence = self.embeddings[row], float(self.confidences[row])
        return Memory(self.ids[row], self.contents[row], embedding.copy(), confidence)


class MemoryDataset(Sequence[Memory]):
    """The memories of a dataset (or its queries), made when they are asked for; nothing is kept.

    ``dataset[i]`` is one :class:`Memory`, ``dataset[a:b]`` (any step) :class:`Memories`, iteration yields one
    after the other and holds a chunk of 1,000. Row 10**12 costs what row 0 does. Depends on ``spec`` alone:
    the same here, in any other process, and in the file that ``synthgen generate`` writes. Picklable; may be
    used by several threads, and in processes that are forked or spawned.

    ``maker`` makes the rows of ``spec``, their components in steps of ``grid``.
    """

    def __init__(self, maker: RowMaker, spec: DatasetSpec, grid: Grid) -> None:
        self._maker, self._spec, self._grid = maker, spec, grid
        self._fingerprint = spec.fingerprint
        self._lock, self._process = threading.Lock(), os.getpid()

    @property
    def spec(self) -> DatasetSpec:
        """What the rows are a function of; ``spec.to_document()`` is its JSON."""
        return self._spec

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of all that a row depends on but its number: what names the dataset."""
        return self._fingerprint

    @property
    def grid(self) -> Grid:
        """The decimal numbers that components can be."""
        return self._grid

    def __len__(self) -> int:
        return self.spec.count

    def __repr__(self) -> str:
        spec = self.spec
        kind = "memories" if spec.role == "rows" else f"queries (shift {spec.shift:g})"
        return (
            f"<synthgen dataset {self.fingerprint[:8]}: {spec.count:,} {kind} of {spec.model.dimension:,} "
            f"components, {spec.model.law} law, seed {spec.seed}, model {spec.model.source or 'of arrays'}>"
        )

    @overload
    def __getitem__(self, key: int) -> Memory: ...
    @overload
    def __getitem__(self, key: slice) -> Memories: ...
    def __getitem__(self, key: int | slice) -> Memory | Memories:
        if isinstance(key, slice):
            return self._slice(range(len(self))[key])
        row = operator.index(key)
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row:,} of a dataset of {len(self):,}")
        row %= len(self)
        return self._make(range(row, row + 1))[0]

    def __iter__(self) -> Iterator[Memory]:
        for start in range(0, len(self), CHUNK_ROWS):
            yield from self._make(range(start, min(start + CHUNK_ROWS, len(self))))

    def __reversed__(self) -> Iterator[Memory]:
        for start in reversed(range(0, len(self), CHUNK_ROWS)):
            yield from reversed(self._make(range(start, min(start + CHUNK_ROWS, len(self)))))

    def __reduce__(self) -> tuple[object, ...]:
        return MemoryDataset, (self._maker, self._spec, self._grid)

    def embeddings(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Return the embeddings of rows [start, stop), (n, d) float32; bounds as those of a slice."""
        return self[start:stop].embeddings

    def _slice(self, wanted: range) -> Memories:
        """Return the rows ``wanted``, in their order."""
        if wanted.step < 0:
            return self._slice(wanted[::-1])[::-1]
        return self._make(wanted)

    def _make(self, wanted: range) -> Memories:
        """Return the rows ``wanted``, ascending; rows of a law lie in scratch, so one thread at a time."""
        n = len(wanted)
        embeddings = np.empty((n, self.spec.model.dimension), np.float32)
        confidences = np.empty(n, np.float64)
        ids: list[str] = []
        contents: list[str] = []
        with self._exclusive():
            for rows in self._blocks(wanted):
                chosen = slice((wanted.start - rows.start) % wanted.step, None, wanted.step)
                part = slice(len(ids), len(ids) + len(rows.ids[chosen]))
                write_nearest(rows.embeddings[chosen], self._grid, embeddings[part])
                confidences[part] = rows.confidences[chosen] / _CONFIDENCE_STEPS
                ids += _decode_ids(rows.ids[chosen])
                contents += _decode_contents(rows.contents[chosen])
        return Memories(ids, contents, embeddings, confidences)

    def _blocks(self, wanted: range) -> Iterator[Rows]:
        """Yield blocks that hold the rows ``wanted``: all from first to last, or each alone."""
        if wanted.step < _FAR_APART_ROWS and len(wanted):
            yield from self._maker.blocks(wanted.start, wanted[-1] + 1)
        else:
            for row in wanted:
                yield from self._maker.blocks(row, row + 1)

    def _exclusive(self) -> threading.Lock:
        """Return the lock of this process: one that was held while a process was forked is nobody's there."""
        if self._process != os.getpid():
            self._lock, self._process = threading.Lock(), os.getpid()
        return self._lock


def _decode_ids(ids: NDArray[np.uint8]) -> list[str]:
    n, width = ids.shape
    text = ids.tobytes().decode("ascii")
    return [text[at : at + width] for at in range(0, n * width, width)]


def _decode_contents(contents: NDArray[np.uint8]) -> list[str]:
    """Return the values of JSON strings, padded with blanks: together they are one array."""
    n, width = contents.shape
    joined = np.full((n, width + 1), ord(","), np.uint8)
    joined[:, :width] = contents
    values: list[str] = orjson.loads(b"[" + joined.tobytes()[:-1] + b"]")
    return values
