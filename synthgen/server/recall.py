"""Exact vector search: every vector of a space is compared, a block at a time, so memory is bounded."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthgen.server.reading import Readers
from synthgen.server.store import Space
from synthgen.specs import EMBEDDING_DIMENSION

#: Vectors of one block: 6 MB of float32.
BLOCK_ROWS = 2_048
#: Candidates kept beyond those asked for, before the last word in float64: their order in float32 is
#: uncertain by about 1e-6.
SPARE = 64


class Match(NamedTuple):
    """A memory by its row, and the cosine of its vector to the one sought, in [-1, 1]."""

    row: int
    cosine: float


def nearest(
    readers: Readers, space: Space, n_memories: int, vector: NDArray[np.float64], limit: int
) -> list[Match]:
    """Return the ``limit`` memories of largest cosine to ``vector``, largest first, exactly.

    ``vector`` has shape (768,); where a component is NaN it is unknown, and the cosine is taken over
    the known ones alone. Equal cosines come in the order of the listing. Memories without a vector
    are left out; so are those that are zero in all known components.
    """
    known = np.isfinite(vector)
    sought = np.where(known, vector, 0.0)
    sought /= np.abs(sought).max()
    sought /= np.linalg.norm(sought)
    rows, cosines = np.empty(0, np.int64), np.empty(0, np.float32)
    for start in range(0, n_memories, BLOCK_ROWS):
        block_rows, block = _read_block(readers, space, start, min(start + BLOCK_ROWS, n_memories))
        rows = np.concatenate((rows, block_rows))
        cosines = np.concatenate((cosines, _cosines(block, sought, known)))
        best = _best(cosines, limit + SPARE)
        rows, cosines = rows[best], cosines[best]
    rows, vectors = _read_rows(readers, rows.tolist())
    return _rank(rows, vectors, sought, known)[:limit]


def _read_block(
    readers: Readers, space: Space, start: int, stop: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    found = readers.connection().execute(
        "SELECT row, embedding FROM memory WHERE row >= ? AND row < ? AND embedding IS NOT NULL ORDER BY row",
        (space.first_row + start, space.first_row + stop),
    )
    return _as_arrays(found.fetchall())


def _read_rows(readers: Readers, rows: list[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    connection = readers.connection()
    found = [
        connection.execute("SELECT row, embedding FROM memory WHERE row = ?", (row,)).fetchone()
        for row in rows
    ]
    return _as_arrays([pair for pair in found if pair[1] is not None])  # replaced by one without, meanwhile


def _as_arrays(found: list[tuple[int, bytes]]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    packed = b"".join([embedding for _, embedding in found])
    vectors = np.frombuffer(packed, np.float32).reshape(-1, EMBEDDING_DIMENSION)
    return np.array([row for row, _ in found], np.int64), vectors


def _cosines(
    block: NDArray[np.float32], sought: NDArray[np.float64], known: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the cosines in float32; -inf where there is none."""
    compared = block if known.all() else block * known
    with np.errstate(all="ignore"):
        squares: NDArray[np.float32] = np.einsum("ij,ij->i", compared, compared)
        products: NDArray[np.float32] = compared @ sought.astype(np.float32)
        cosines = products / np.sqrt(squares)
    odd: NDArray[np.bool_] = ~((squares > 1e-30) & (squares < 1e30))
    if odd.any():  # squares that overflow or vanish in float32
        cosines[odd] = _cosines_in_double(compared[odd], sought).astype(np.float32)
    return cosines.astype(np.float32, copy=False)


def _cosines_in_double(vectors: NDArray[np.float32], sought: NDArray[np.float64]) -> NDArray[np.float64]:
    exact = vectors.astype(np.float64)
    with np.errstate(invalid="ignore"):
        cosines: NDArray[np.float64] = (exact @ sought) / np.linalg.norm(exact, axis=1)
    cosines = np.clip(cosines, -1.0, 1.0)
    cosines[np.isnan(cosines)] = -np.inf
    return cosines


def _best(cosines: NDArray[np.float32], keep: int) -> NDArray[np.intp]:
    if len(cosines) <= keep:
        return np.arange(len(cosines))
    return np.sort(np.argpartition(-cosines, keep)[:keep])


def _rank(
    rows: NDArray[np.int64],
    vectors: NDArray[np.float32],
    sought: NDArray[np.float64],
    known: NDArray[np.bool_],
) -> list[Match]:
    cosines = _cosines_in_double(vectors * known, sought)
    order = np.lexsort((rows, -cosines))
    return [Match(int(rows[i]), float(cosines[i])) for i in order if np.isfinite(cosines[i])]
