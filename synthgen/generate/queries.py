"""The queries of a law: rows that no dataset reaches, as they are or shifted (shift.py).

Query i is made of row i of several ranges of chunks, from QUERY_CHUNK on: that of the first range is the
query before the shift, those of the others say into which direction it is moved.
"""

from __future__ import annotations

import numpy as np

from synthgen.generate.content import QUERY_SAVES, as_queries
from synthgen.generate.laws import Draw, Law
from synthgen.generate.shift import SCATTER_SIGNS, Floats, Shift, add_unit, scatter_of
from synthgen.specs import BLOCK_ROWS, CHUNK_ROWS, MAX_QUERIES, QUERY_CHUNK, DatasetSpec, Grid

_RANGE_CHUNKS = MAX_QUERIES // CHUNK_ROWS


class QueryLaw:
    """The queries of ``spec``, made of rows of ``law`` on ``grid``; as a law itself, from QUERY_CHUNK on."""

    def __init__(self, law: Law, spec: DatasetSpec, grid: Grid) -> None:
        self._law = law
        self._dimension = spec.model.dimension
        self._shift = Shift(spec.shift, spec.seed, self._dimension, grid.largest) if spec.shift else None

    @property
    def content_width(self) -> int:
        """Bytes of a content, padding included."""
        return self._law.content_width - QUERY_SAVES

    def draw(self, chunk: int, first: int, n_rows: int) -> Draw:
        """Return queries ``first`` to ``first + n_rows - 1`` of ``chunk``; valid until the next call."""
        shift = self._shift
        scatter = np.empty(0) if shift is None else self._draw_scatter(chunk, first, n_rows)
        drawn = self._law.draw(chunk, first, n_rows)
        contents = as_queries(drawn.contents, (chunk - QUERY_CHUNK) * CHUNK_ROWS + first)
        if shift is None:
            return Draw(drawn.clusters, contents, drawn.embed)
        return Draw(drawn.clusters, contents, lambda part: shift.apply(drawn.embed(part), scatter[part]))

    def _draw_scatter(self, chunk: int, first: int, n_rows: int) -> Floats:
        """Return the own direction (n, d) of each query's shift, before the query itself is drawn."""
        total = np.zeros((n_rows, self._dimension))
        for number, sign in enumerate(SCATTER_SIGNS, 1):
            drawn = self._law.draw(chunk + number * _RANGE_CHUNKS, first, n_rows)
            for at in range(0, n_rows, BLOCK_ROWS):
                part = slice(at, min(at + BLOCK_ROWS, n_rows))
                add_unit(total[part], drawn.embed(part), sign)
        return scatter_of(total)
