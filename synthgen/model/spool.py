"""Embeddings on their way from a listing to a fit, kept in a file so that memory does not grow with them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from synthgen.runtime.files import explain_os_errors


class EmbeddingSpool:
    """Rows of float32 in an unnamed temporary file in ``folder``; ids and titles in memory.

    Rows are numbered in the order of their ids, since a listing has none; an id that comes twice counts
    once, the later one. A context: the file is gone at its end.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._place: dict[str, int] = {}
        self._titles: list[str] = []
        self._order: NDArray[np.int64] | None = None
        self._sorted_ids: list[str] = []
        self.dimension = 0

    def __enter__(self) -> EmbeddingSpool:
        with explain_os_errors(self._folder):
            self._file = tempfile.TemporaryFile(dir=self._folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._place)

    @property
    def ids(self) -> list[str]:
        """The ids in ascending order: row i of :meth:`gather` has ``ids[i]``."""
        self._sort()
        return self._sorted_ids

    def add(self, ids: Sequence[str], titles: Sequence[str], embeddings: NDArray[np.float32]) -> None:
        """Append rows: ``embeddings`` (n, d) float32, with the ids and titles of the n rows."""
        self.dimension = embeddings.shape[1]
        with explain_os_errors(self._folder):
            self._file.write(np.ascontiguousarray(embeddings, np.float32).tobytes())
        for id_, title in zip(ids, titles, strict=True):
            self._place[id_] = len(self._titles)
            self._titles.append(title)
        self._order = None

    def title(self, row: int) -> str:
        """Return the title of ``row``."""
        return self._titles[int(self._sort()[row])]

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (len(rows), d) float32; opened anew each time, so that mapped pages do not pile up."""
        self._file.flush()
        mapped = np.memmap(self._file, np.float32, "r", shape=(len(self._titles), self.dimension))
        return np.asarray(mapped[self._sort()[rows]])

    def _sort(self) -> NDArray[np.int64]:
        if self._order is None:
            self._sorted_ids = sorted(self._place)
            self._order = np.array([self._place[id_] for id_ in self._sorted_ids], np.int64)
        return self._order
