"""The laws of geometry behind one interface: what a dataset asks of a model, whichever kind it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from synthgen.generate.choices import Chooser
from synthgen.generate.content import AnchorContents, ContentTable
from synthgen.generate.isotropic import IsotropicLaw
from synthgen.generate.mixture import MixtureLaw
from synthgen.generate.streams import CLUSTER, CONTENT, Stream, uniform_below
from synthgen.model.centroids import CentroidModel
from synthgen.model.mixture import MixtureModel
from synthgen.specs import BLOCK_ROWS, CHUNK_ROWS, DatasetSpec

Model = CentroidModel | MixtureModel


@dataclass(frozen=True)
class Draw:
    """Some rows of a chunk. ``clusters`` (n,) int64, -1 where a row is in none; ``contents`` (n, c) uint8;
    ``embed`` makes (m, d) int32 grid components of a slice of them, slice after slice.
    """

    clusters: NDArray[np.int64]
    contents: NDArray[np.uint8]
    embed: Callable[[slice], NDArray[np.int32]]


class Law(Protocol):
    """Rows of one law, each a function of the spec and its number."""

    @property
    def content_width(self) -> int:
        """Bytes of a content, padding included."""
        ...

    def draw(self, chunk: int, first: int, n_rows: int) -> Draw:
        """Return rows ``first`` to ``first + n_rows - 1`` of ``chunk``; valid until the next call."""
        ...


def open_law(spec: DatasetSpec, model: Model) -> Law:
    """Return the law of ``model`` with the parameters of ``spec``."""
    if isinstance(model, MixtureModel):
        return _MixtureRows(spec, model)
    return _IsotropicRows(spec, model)


class _IsotropicRows:
    def __init__(self, spec: DatasetSpec, model: CentroidModel) -> None:
        self._seed, self._n_clusters = spec.seed, len(model.centroids)
        self._law = IsotropicLaw(model.centroids, spec.std_dev, spec.decimals, BLOCK_ROWS)
        self._contents = ContentTable(model.titles, len(model.centroids))

    @property
    def content_width(self) -> int:
        return self._contents.width

    def draw(self, chunk: int, first: int, n_rows: int) -> Draw:
        cluster_words, content_words = (
            Stream(self._seed, (purpose, chunk), 1, first).next_rows(n_rows) for purpose in (CLUSTER, CONTENT)
        )
        clusters = uniform_below(cluster_words, self._n_clusters)
        contents = self._contents.write(chunk * CHUNK_ROWS + first, clusters, content_words)
        noise = self._law.open_stream(self._seed, chunk, first)
        return Draw(clusters, contents, lambda part: self._law.embed(noise, clusters[part]))


class _MixtureRows:
    def __init__(self, spec: DatasetSpec, model: MixtureModel) -> None:
        self._spec, self._model = spec, model

    @cached_property
    def _contents(self) -> AnchorContents:  # all that a parent of workers needs, and soon made
        return AnchorContents(self._model.titles, len(self._model.anchors))

    @cached_property
    def _chooser(self) -> Chooser:
        return Chooser(self._model, self._spec)

    @cached_property
    def _law(self) -> MixtureLaw:
        return MixtureLaw(self._model, self._spec, BLOCK_ROWS)

    @property
    def content_width(self) -> int:
        return self._contents.width

    def draw(self, chunk: int, first: int, n_rows: int) -> Draw:
        choices = self._chooser.choose(chunk, first, n_rows)
        anchors = np.where(choices.outliers, -1, choices.anchors)
        contents = self._contents.write(chunk * CHUNK_ROWS + first, anchors, choices.towards)
        clusters = np.where(choices.outliers, -1, choices.clusters)
        weighed = self._law.weigh(choices)
        noise = self._law.open_stream(self._spec.seed, chunk, first)
        return Draw(clusters, contents, lambda part: self._law.embed(weighed, noise, part))
