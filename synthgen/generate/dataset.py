"""A dataset as a function of (spec, row): any range of rows, anywhere, at any time, the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from synthgen.generate.content import row_digits
from synthgen.generate.grid import choose_grid
from synthgen.generate.laws import Law, Model, open_law
from synthgen.generate.queries import QueryLaw
from synthgen.generate.streams import CONFIDENCE, Stream, uniform_below
from synthgen.specs import BLOCK_ROWS, CHUNK_ROWS, DatasetSpec, Grid, Rows

_MILLION = 1_000_000
#: Confidences are uniform within this distance of the asked one, and clipped to [0.5, 1].
_CONFIDENCE_SPREAD = 100_000
_CONFIDENCE_RANGE = (500_000, 1_000_000)


@dataclass(frozen=True)
class Dataset:
    """The rows of ``spec``, memories or queries, drawn from ``model`` (whose digest it names). Picklable.

    Raises InputError when the model has vectors that are too long, or too short, to be written.
    """

    spec: DatasetSpec
    model: Model

    def __post_init__(self) -> None:
        choose_grid(self.spec, self.model)

    @property
    def grid(self) -> Grid:
        """The numbers that components can be; a step of theirs is 1 in :class:`Rows`."""
        return choose_grid(self.spec, self.model)

    @property
    def id_width(self) -> int:
        """Bytes of an id."""
        return len(self.spec.memory_id(0))

    @property
    def content_width(self) -> int:
        """Bytes of the longest content as JSON."""
        return self._law.content_width

    def __getstate__(self) -> dict[str, object]:  # what is derived is made anew in each process
        return {"spec": self.spec, "model": self.model}

    @cached_property
    def _law(self) -> Law:
        law = open_law(self.spec, self.model)
        return QueryLaw(law, self.spec, self.grid) if self.spec.is_queries else law

    @cached_property
    def _prefix(self) -> NDArray[np.uint8]:
        return np.frombuffer(self.spec.id_prefix.encode(), np.uint8)

    @property
    def model_bytes(self) -> int:
        """Bytes of the model's arrays."""
        return sum(a.nbytes for a in vars(self.model).values() if isinstance(a, np.ndarray))

    def blocks(self, start: int, stop: int) -> Iterator[Rows]:
        """Yield rows [start, stop) in blocks of at most ``BLOCK_ROWS``; each overwrites the last one.

        0 <= start <= stop; rows beyond ``spec.count`` exist as well: a count only says how many were asked.
        """
        while start < stop:
            chunk, first = divmod(start, CHUNK_ROWS)
            end = min(stop, (chunk + 1) * CHUNK_ROWS)
            yield from self._chunk_blocks(chunk, first, end - chunk * CHUNK_ROWS)
            start = end

    def rows(self, start: int, stop: int) -> Rows:
        """Return rows [start, stop) as arrays of their own."""
        blocks = [
            Rows(b.start, b.ids, b.embeddings.copy(), b.confidences, b.contents, b.clusters)
            for b in self.blocks(start, stop)
        ]
        if len(blocks) == 1:
            return blocks[0]
        return Rows(
            start,
            np.concatenate([b.ids for b in blocks]),
            np.concatenate([b.embeddings for b in blocks]),
            np.concatenate([b.confidences for b in blocks]),
            np.concatenate([b.contents for b in blocks]),
            np.concatenate([b.clusters for b in blocks]),
        )

    def _chunk_blocks(self, chunk: int, first: int, stop: int) -> Iterator[Rows]:
        n_rows, row = stop - first, chunk * CHUNK_ROWS + first
        drawn_in = self.spec.first_chunk + chunk
        words = Stream(self.spec.seed, (CONFIDENCE, drawn_in), 1, first).next_rows(n_rows)
        confidences, ids = self._confidences(words), self._ids(row, n_rows)
        drawn = self._law.draw(drawn_in, first, n_rows)
        for at in range(0, n_rows, BLOCK_ROWS):
            part = slice(at, min(at + BLOCK_ROWS, n_rows))
            embeddings = drawn.embed(part)
            yield Rows(
                row + at, ids[part], embeddings, confidences[part], drawn.contents[part], drawn.clusters[part]
            )

    def _ids(self, row: int, n: int) -> NDArray[np.uint8]:
        ids = np.empty((n, self.id_width), np.uint8)
        ids[:, : len(self._prefix)] = self._prefix
        ids[:, len(self._prefix) :] = row_digits(row, n)
        return ids

    def _confidences(self, words: NDArray[np.uint64]) -> NDArray[np.int32]:
        spread = uniform_below(words, 2 * _CONFIDENCE_SPREAD + 1) - _CONFIDENCE_SPREAD
        centre = round(self.spec.confidence * _MILLION)
        return np.clip(centre + spread, *_CONFIDENCE_RANGE).astype(np.int32)
