"""Handlers that seek: recall by vector or words, search by words, completion of a partial vector.

Shapes of answers: Engram's wire, measured on orchard9/engram of 2025-11-21.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from synthgen.server.answers import Answer, confidence_info, invalid_input, json_answer, time_of
from synthgen.server.completion import (
    ROUNDING,
    Cue,
    Found,
    completed,
    parse_cue,
    preferred,
    too_weak,
)
from synthgen.server.exchange import Request
from synthgen.server.misbehaving import spaces_with_memories, unrelated
from synthgen.server.parameters import flag, natural, number
from synthgen.server.partial import nearest_partial
from synthgen.server.reading import Readers, rows_by_key
from synthgen.server.recall import Match, nearest_indexed, nearest_proven
from synthgen.server.requests import check_space, pack_embedding
from synthgen.server.state import State
from synthgen.server.store import Space
from synthgen.server.texts import search_texts

MAX_RESULTS = 1_000
_VIVID_ABOVE = 0.7
_MODES = ("exact", "similarity")


class Seeking:
    """Handlers over one open :class:`State`."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._quirks = state.quirks
        self._forgotten = spaces_with_memories(state) if state.quirks.forgetful_recall else frozenset()

    async def recall(self, request: Request) -> Answer:
        """Answer GET /memories/recall: by cosine for an embedding, by BM25 for words.

        By the index of vectors, which finds nearly all there is; with ``mode=exact`` all of it.
        A threshold counts where one is given: Engram's default of 0.5 would hide true neighbours.
        """
        started_s = time.perf_counter()
        query = request.query
        is_exact = _check_mode(query.get("mode")) == "exact"
        limit = min(natural(query, "max_results", 10), MAX_RESULTS)
        threshold = number(query, "threshold")
        space = self._state.space(request.space)
        words, vector = query.get("query"), query.get("embedding")
        if words is not None:
            matches = await self._by_words(space, words, limit)
        elif vector is not None:
            matches = await self._recall_vector(space, _parse_vector(vector), limit, is_exact)
        else:
            raise invalid_input("Recall requires either a text query or embedding vector.")
        if threshold is not None:
            matches = [match for match in matches if match.cosine >= threshold - ROUNDING]
        found = await self._state.read(_load, matches)
        answer = _recalled(found, words)
        if flag(query, "include_metadata"):
            answer["metadata"] = _metadata(space, started_s)
        return json_answer(answer)

    async def search(self, request: Request) -> Answer:
        """Answer GET /memories/search: the best memories for the words, by BM25."""
        words = request.query.get("query")
        if words is None:
            raise invalid_input("Missing 'query' parameter")
        limit = min(natural(request.query, "limit", 10), MAX_RESULTS)
        matches = await self._by_words(self._state.space(request.space), words, limit)
        found = await self._state.read(_load, matches)
        memories = [
            {
                "id": row[1],
                "content": row[2],
                "confidence": row[3],
                "memory_type": row[5],
                "timestamp": time_of(row[4]),
            }
            for _, row in found
        ]
        return json_answer({"memories": memories, "total": len(memories)})

    async def complete(self, request: Request) -> Answer:
        """Answer POST /complete: the stored memories nearest to the known components of a vector."""
        body = request.json_body()
        space_name = request.space
        cue = parse_cue(body)
        if space_name is None and cue.space is not None:
            space_name = check_space(cue.space)
        found = await self._candidates(self._state.space(space_name), cue)
        if not found or found[0][0].cosine < cue.threshold - ROUNDING:
            raise too_weak(found[0][0].cosine if found else 0.0)
        return json_answer(completed(cue, found))

    async def _candidates(self, space: Space | None, cue: Cue) -> Found:
        """Return the memories that agree best, best first, one and the hypotheses beside it."""
        wanted = 1 + cue.n_hypotheses
        what = cue.known_fields.get("what")
        if what is None:
            return await self._state.read(_load, await self._by_vector(space, cue.vector, wanted))
        for limit in (max(wanted, 2), MAX_RESULTS):
            matches = await self._by_vector(space, cue.vector, limit)
            found = preferred(cue, await self._state.read(_load, matches))
            is_cut = len(matches) == limit and matches[0].cosine - matches[-1].cosine <= ROUNDING
            if not is_cut or found[0][1][2] == what:
                break  # else it may be among equal ones that were not asked for
        return found[:wanted]

    async def _recall_vector(
        self, space: Space | None, vector: NDArray[np.float64], limit: int, is_exact: bool
    ) -> list[Match]:
        if self._quirks.forgetful_recall and space is not None and space.name in self._forgotten:
            return []
        if self._quirks.unrelated_recall and space is not None:
            return await self._state.scan(unrelated, space, space.n_memories, vector, limit)
        return await self._by_vector(space, vector, limit, is_exact)

    async def _by_vector(
        self, space: Space | None, vector: NDArray[np.float64], limit: int, is_exact: bool = True
    ) -> list[Match]:
        if space is None or limit == 0:
            return []
        state, entry = self._state, self._state.indexer.of(space)
        if not np.isfinite(vector).all():
            return await state.scan(nearest_partial, entry, space.n_memories, vector, limit)
        if is_exact:
            return await state.scan(nearest_proven, entry, space.n_memories, vector, limit)
        run = state.search if entry.is_quick else state.scan
        return await run(nearest_indexed, entry, space.n_memories, vector, limit)

    async def _by_words(self, space: Space | None, words: str, limit: int) -> list[Match]:
        if space is None:
            return []
        await self._state.writer.index_texts(space)
        return await self._state.scan(_search, space, words, limit)


def _check_mode(mode: str | None) -> str | None:
    if mode is not None and mode not in _MODES:
        raise invalid_input(f"Unsupported recall mode '{mode[:80]}'. Use one of: {', '.join(_MODES)}.")
    return mode


def _parse_vector(text: str) -> NDArray[np.float64]:
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError:
        values = None
    if type(values) is not list or any(type(value) not in (int, float) for value in values):
        raise invalid_input("Invalid embedding format. Expected JSON array of floats.")
    return np.frombuffer(pack_embedding(values), np.float32).astype(np.float64)


def _search(readers: Readers, space: Space, words: str, limit: int) -> list[Match]:
    """Return text matches with BM25 brought into (0, 1): rank / (1 + rank), larger is better."""
    found = search_texts(readers.connection(), space, words, limit)
    return [Match(row, -rank / (1.0 - rank)) for row, rank in found]


def _load(readers: Readers, matches: list[Match]) -> Found:
    rows = rows_by_key(readers, [match.row for match in matches])
    return [(match, rows[match.row]) for match in matches if match.row in rows]


def _recalled(found: Found, words: str | None) -> dict[str, Any]:
    how = "Full-text match" if words is not None else "Cosine of vectors"
    items = [_item(match, row, how) for match, row in found]
    best = max((match.cosine for match, _ in found), default=0.0)
    return {
        "memories": {
            "vivid": [item for item in items if item["similarity_score"] > _VIVID_ABOVE],
            "associated": [item for item in items if item["similarity_score"] <= _VIVID_ABOVE],
            "reconstructed": [],
        },
        "recall_confidence": confidence_info(max(0.0, best), "Similarity of the best match"),
        "query_analysis": {
            "understood_intent": words if words is not None else "Embedding-based recall request",
            "search_strategy": how,
            "cognitive_load": "Medium" if len(items) > 20 else "Low",
            "suggestions": [],
        },
        "metadata": None,
        "system_message": f"Recall found {len(items)} memories.",
    }


def _item(match: Match, row: tuple[Any, ...], how: str) -> dict[str, Any]:
    details = orjson.loads(row[6]) if row[6] else {}
    level = min(1.0, max(0.0, match.cosine))
    return {
        "id": row[1],
        "content": row[2],
        "confidence": confidence_info(level, "Similarity to the cue"),
        "activation_level": level,
        "similarity_score": match.cosine,
        "retrieval_path": how,
        "observed_at": time_of(row[4]),
        "last_access": None,
        "tags": details.get("tags", []),
        "memory_type": row[5],
        "relevance_explanation": f"{how}: {match.cosine:.4f}",
    }


def _metadata(space: Space | None, started_s: float) -> dict[str, Any]:
    return {
        "total_memories_searched": space.n_memories if space else 0,
        "activation_spread_hops": 0,
        "processing_time_ms": int((time.perf_counter() - started_s) * 1_000),
        "memory_system_load": "Normal",
    }
