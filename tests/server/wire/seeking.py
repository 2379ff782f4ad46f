"""Recall, search and completion: which questions are taken, and the shapes of answers."""

from __future__ import annotations

import json
from typing import Any

from tests.server.client import LIST, numbers
from tests.server.wire import Pair, check
from tests.server.wire.target import Target, kind, missing

RECALL = f"{LIST}/recall"
SEARCH = f"{LIST}/search"
COMPLETE = "/api/v1/complete"
RECALLED = "memories recall_confidence query_analysis metadata system_message"


def recall(at: Target, vector: Any, **query: Any) -> list[dict[str, Any]]:
    """Return what recall by ``vector`` finds, the vivid ones first."""
    reply = at.get(RECALL, space=at.space, embedding=json.dumps(numbers(vector)), **query)
    if reply.status != 200:
        raise ValueError(f"recall got {reply.status}: {reply.body[:120]!r}")
    return [
        memory
        for group in ("vivid", "associated", "reconstructed")
        for memory in reply.json["memories"][group]
    ]


@check("recall by words: 200, all fields in the answer")
def _(at: Target) -> Pair:
    reply = at.get(RECALL, space=at.space, query="wire check")
    lacking = missing("vivid associated reconstructed", reply.json["memories"])
    return (200, [], []), (reply.status, missing(RECALLED, reply.json), lacking)


@check("recall by embedding: 200, all fields in the answer")
def _(at: Target) -> Pair:
    text = json.dumps(numbers(at.vector()))
    reply = at.get(
        RECALL, space=at.space, embedding=text, max_results=3, threshold=0, include_metadata="true"
    )
    return (200, []), (reply.status, missing(RECALLED, reply.json))


@check("recall: memories have id, content, confidence, activation_level, similarity_score")
def _(at: Target) -> Pair:
    found = recall(at, at.vector())
    fields = "id content confidence activation_level similarity_score"
    return [], sorted({field for memory in found for field in missing(fields, memory)})


@check("recall: no more memories than max_results")
def _(at: Target) -> Pair:
    return True, len(recall(at, at.vector(), max_results=2)) <= 2


@check("recall: vivid are those with a confidence above 0.7")
def _(at: Target) -> Pair:
    vector = at.vector()
    at.remember(embedding=numbers(vector))
    memories = at.get(RECALL, space=at.space, embedding=json.dumps(numbers(vector))).json["memories"]
    levels = [memory["confidence"]["value"] for memory in memories["vivid"]]
    return [], [level for level in levels if level <= 0.7]


@check("recall: modes spreading and hybrid, by embedding: 400")
def _(at: Target) -> Pair:
    text = json.dumps(numbers(at.vector()))
    modes = ("spreading", "hybrid")
    return [400, 400], [at.get(RECALL, space=at.space, embedding=text, mode=mode).status for mode in modes]


@check("recall: without words or embedding: 400")
def _(at: Target) -> Pair:
    return 400, at.get(RECALL, space=at.space).status


@check("recall: an embedding of 767 numbers: 400")
def _(at: Target) -> Pair:
    text = json.dumps(numbers(at.vector())[:767])
    return 400, at.get(RECALL, space=at.space, embedding=text).status


@check("search: 200, memories and total")
def _(at: Target) -> Pair:
    reply = at.get(SEARCH, space=at.space, query="wire")
    return (200, []), (reply.status, missing("memories total", reply.json))


@check("search: memories have id, content, confidence, memory_type, timestamp")
def _(at: Target) -> Pair:
    found = at.get(SEARCH, space=at.space, query="wire", limit=2).json["memories"]
    fields = "id content confidence memory_type timestamp"
    return [], sorted({field for memory in found for field in missing(fields, memory)})


@check("complete: a cue of 200 known numbers is too weak: 422")
def _(at: Target) -> Pair:
    values = numbers(at.vector())[:200] + [None] * 568
    partial = {"known_fields": {"what": "wire"}, "partial_embedding": values, "cue_strength": 0.7}
    config = {"ca1_threshold": 0.7, "num_hypotheses": 3, "max_iterations": 5}
    body = {"partial_episode": partial, "config": config}
    return 422, at.send("POST", COMPLETE, body, X_Memory_Space=at.space).status


@check("complete: without an episode: 422, text/plain")
def _(at: Target) -> Pair:
    return (422, "text/plain"), kind(at.send("POST", COMPLETE, {}, X_Memory_Space=at.space))
