"""A dataset as a function of (spec, row): any range of rows, anywhere, at any time, the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from synthgen.generate.content import ContentTable, row_digits
from synthgen.generate.isotropic import IsotropicLaw
from synthgen.generate.streams import CLUSTER, CONFIDENCE, CONTENT, Stream, uniform_below
from synthgen.model.centroids import CentroidModel
from synthgen.specs import BLOCK_ROWS, CHUNK_ROWS, DatasetSpec, Rows

_MILLION = 1_000_000
#: Confidences are uniform within this distance of the asked one, and clipped to [0.5, 1].
_CONFIDENCE_SPREAD = 100_000
_CONFIDENCE_RANGE = (500_000, 1_000_000)


@dataclass(frozen=True)
class Dataset:
    """The rows of ``spec``, drawn from ``model`` (whose digest the spec names). Picklable."""

    spec: DatasetSpec
    model: CentroidModel

    @property
    def id_width(self) -> int:
        """Bytes of an id."""
        return len(self.spec.memory_id(0))

    @property
    def content_width(self) -> int:
        """Bytes of the longest content as JSON."""
        return self._contents.width

    def __getstate__(self) -> dict[str, object]:  # what is derived is made anew in each process
        return {"spec": self.spec, "model": self.model}

    @cached_property
    def _contents(self) -> ContentTable:
        return ContentTable(self.model.titles, len(self.model.centroids))

    @cached_property
    def _law(self) -> IsotropicLaw:
        return IsotropicLaw(self.model.centroids, self.spec.std_dev, self.spec.decimals, BLOCK_ROWS)

    @cached_property
    def _prefix(self) -> NDArray[np.uint8]:
        return np.frombuffer(self.spec.id_prefix.encode(), np.uint8)

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
        cluster_words, content_words, confidence_words = (
            Stream(self.spec.seed, (purpose, chunk), 1, first).next_rows(n_rows)
            for purpose in (CLUSTER, CONTENT, CONFIDENCE)
        )
        clusters = uniform_below(cluster_words, len(self.model.centroids))
        ids = self._ids(row, n_rows)
        confidences = self._confidences(confidence_words)
        contents = self._contents.write(row, clusters, content_words)
        noise = self._law.open_stream(self.spec.seed, chunk, first)
        for at in range(0, n_rows, BLOCK_ROWS):
            part = slice(at, min(at + BLOCK_ROWS, n_rows))
            embeddings = self._law.embed(noise, clusters[part])
            yield Rows(row + at, ids[part], embeddings, confidences[part], contents[part], clusters[part])

    def _ids(self, row: int, n: int) -> NDArray[np.uint8]:
        ids = np.empty((n, self.id_width), np.uint8)
        ids[:, : len(self._prefix)] = self._prefix
        ids[:, len(self._prefix) :] = row_digits(row, n)
        return ids

    def _confidences(self, words: NDArray[np.uint64]) -> NDArray[np.int32]:
        spread = uniform_below(words, 2 * _CONFIDENCE_SPREAD + 1) - _CONFIDENCE_SPREAD
        centre = round(self.spec.confidence * _MILLION)
        return np.clip(centre + spread, *_CONFIDENCE_RANGE).astype(np.int32)
