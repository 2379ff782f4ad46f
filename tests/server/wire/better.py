"""What the embedded server owes beyond Engram's wire; a real Engram is known to differ in each."""

from __future__ import annotations

import functools

from tests.server.client import LIST, numbers, packed
from tests.server.wire import OURS, Pair, check
from tests.server.wire.seeking import COMPLETE, recall
from tests.server.wire.target import Target, missing

ours = functools.partial(check, group=OURS)


@ours("memories: id and embedding are kept, as by remember")
def _(at: Target) -> Pair:
    memory_id, vector = at.fresh_id(), at.vector()
    answer = at.post(LIST, id=memory_id, embedding=numbers(vector)).json
    found = [packed(memory["embedding"]) for memory in at.listed(memory_id, include_embeddings="true")]
    return (memory_id, True), (answer["memory_id"], found == [vector.tobytes()])


@ours("remember: near-duplicates are kept")
def _(at: Target) -> Pair:
    vector = at.vector()
    near = vector + 0.01 * at.vector()
    ids = [at.remember(embedding=numbers(found), confidence=0.5)["id"] for found in (vector, near, vector)]
    return [1, 1, 1], [len(at.listed(memory_id)) for memory_id in ids]


@ours("remember: a zero vector: 400")
def _(at: Target) -> Pair:
    return 400, at.post(embedding=[0.0] * 768).status


@ours("remember: numbers beyond float32: 400")
def _(at: Target) -> Pair:
    return 400, at.post(embedding=[1e39, *numbers(at.vector())[1:]]).status


@ours("remember: a confidence outside 0 to 1: 400")
def _(at: Target) -> Pair:
    return [400, 400], [at.post(confidence=value).status for value in (7, -0.1)]


@ours("remember: ids that are made have 128 random bits")
def _(at: Target) -> Pair:
    made = at.post(id=...).json["memory_id"]
    return True, len(made.removeprefix("mem_")) >= 32


@ours("listing: counts are right, also when a memory is replaced")
def _(at: Target) -> Pair:
    body = at.remember()
    before = at.get(LIST, space=at.space, limit=0).json["tier_counts"]["hot"]
    at.remember(id=body["id"])
    after = at.get(LIST, space=at.space, limit=0).json["tier_counts"]["hot"]
    return (before, before), (after, len(at.listing()))


@ours("listing: in the order of insertion")
def _(at: Target) -> Pair:
    ids = [at.remember()["id"] for _ in range(5)]
    return ids, [memory["id"] for memory in at.listing()][-5:]


@ours("recall: a stored vector finds itself first, with similarity 1")
def _(at: Target) -> Pair:
    vector = at.vector()
    body = at.remember(embedding=numbers(vector))
    best = recall(at, vector)[0]
    return (body["id"], 1.0), (best["id"], round(best["similarity_score"], 5))


@ours("recall: mode=exact finds the nearest of all, in their order")
def _(at: Target) -> Pair:
    vector, noise = at.vector(), at.vector()
    near = [at.remember(embedding=numbers(vector + step * noise))["id"] for step in (0.2, 0.1, 0.3)]
    found = [memory["id"] for memory in recall(at, vector, mode="exact", max_results=3)]
    return [near[1], near[0], near[2]], found


@ours("recall: by the id of a memory (like=)")
def _(at: Target) -> Pair:
    body = at.remember()
    reply = at.get(f"{LIST}/recall", space=at.space, like=body["id"])
    return body["id"], reply.json["memories"]["vivid"][0]["id"]


@ours("complete: finds the memory that agrees, all fields in the answer")
def _(at: Target) -> Pair:
    vector = at.vector()
    body = at.remember(embedding=numbers(vector))
    values = [value if index % 2 else None for index, value in enumerate(numbers(vector))]
    partial = {"known_fields": {}, "partial_embedding": values}
    reply = at.send("POST", COMPLETE, {"partial_episode": partial}, X_Memory_Space=at.space)
    fields = "completed_episode completion_confidence source_attribution alternative_hypotheses"
    lacking = missing(f"{fields} metacognitive_confidence reconstruction_stats", reply.json)
    return (200, body["id"], []), (reply.status, reply.json["completed_episode"]["id"], lacking)


@ours("health: names itself in server, and lags of its indexes")
def _(at: Target) -> Pair:
    health = at.get("/health").json
    lacking = missing("server database_id index_lag text_index_lag", health)
    return ([], True), (lacking, str(health.get("server")).startswith("synthgen/"))


@ours("the server describes itself in OpenAPI")
def _(at: Target) -> Pair:
    reply = at.get("/api/v1/openapi.json")
    return (200, "3.1.0"), (reply.status, reply.json["openapi"])
