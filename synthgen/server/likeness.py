"""More like this: recall by the vector of a stored memory, named by its id.

``GET /api/v1/memories/recall?like=ID`` is an extension of Engram's wire. It answers what
``?embedding=`` with that memory's stored vector would (bit for bit the same vector: float32 has an
exact shortest text), so it takes the same parameters and has the same shape; only the caller need not
fetch the vector first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from synthgen.server.answers import Answer, encode, invalid_input, memory_not_found
from synthgen.server.exchange import Request
from synthgen.server.reading import Readers
from synthgen.server.seeking import Seeking
from synthgen.server.state import State
from synthgen.server.store import Space

_CUES = ("query", "embedding")


class Likeness:
    """The handler of recall, in front of that of :class:`Seeking`, which does the search."""

    def __init__(self, state: State, seeking: Seeking) -> None:
        self._state = state
        self._seeking = seeking

    async def recall(self, request: Request) -> Answer:
        """Answer GET /memories/recall; ``like`` is replaced by the vector that it stands for.

        Of those found the memory itself is the first, or one with the same vector. Raises the 404 for
        an id that the space does not hold, the 400 for a memory without a vector and for two cues.
        """
        memory_id = request.query.get("like")
        if memory_id is not None:
            if any(cue in request.query for cue in _CUES):
                raise invalid_input(f"Recall takes one cue: like, {' or '.join(_CUES)}.")
            request.query["embedding"] = await self._vector(request, memory_id)
        return await self._seeking.recall(request)

    async def _vector(self, request: Request, memory_id: str) -> str:
        space = self._state.space(request.space)
        found = await self._state.read(_find_vector, space, memory_id) if space else None
        if found is None:
            raise memory_not_found(memory_id)
        (embedding,) = found
        if embedding is None:
            raise invalid_input(
                f"Memory '{memory_id[:200]}' was stored without an embedding: nothing is like it."
            )
        return encode(np.frombuffer(embedding, np.float32)).decode()


def _find_vector(readers: Readers, space: Space, memory_id: str) -> Any:
    """Return the memory's vector as the one column of a row, or None where there is no such memory."""
    return (
        readers.connection()
        .execute("SELECT embedding FROM memory WHERE space = ? AND id = ?", (space.number, memory_id))
        .fetchone()
    )
