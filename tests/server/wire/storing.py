"""What storing answers, and what of a memory comes back."""

from __future__ import annotations

from datetime import datetime

from tests.server.client import LIST, REMEMBER, numbers, packed
from tests.server.wire import Pair, check
from tests.server.wire.target import Target, kind, missing

EPISODES = "/api/v1/episodes/remember"
REMEMBERED = (
    "memory_id storage_confidence consolidation_state observed_at stored_at links auto_links system_message"
)
CONTENT_LIMIT_BYTES = 100_000


@check("remember: 201, JSON")
def _(at: Target) -> Pair:
    return (201, "application/json"), kind(at.post())


@check("remember: all fields in the answer")
def _(at: Target) -> Pair:
    return [], missing(REMEMBERED, at.post().json)


@check("remember: storage_confidence has value, category, reasoning")
def _(at: Target) -> Pair:
    return [], missing("value category reasoning", at.post().json["storage_confidence"])


@check("remember: memory_id is the id that was sent")
def _(at: Target) -> Pair:
    memory_id = at.fresh_id()
    return memory_id, at.post(id=memory_id).json["memory_id"]


@check("remember: an id is made where none is sent")
def _(at: Target) -> Pair:
    first, second = (at.post(id=...).json["memory_id"] for _ in range(2))
    return (True, True), (bool(first), first != second)


@check("remember: confidence is 0.7 unless sent")
def _(at: Target) -> Pair:
    sent = (at.post().json, at.post(confidence=0.25).json)
    return [0.7, 0.25], [round(answer["storage_confidence"]["value"], 6) for answer in sent]


@check("remember: observed_at is the timestamp that was sent")
def _(at: Target) -> Pair:
    answer = at.post(timestamp="2024-02-29T12:00:00+02:00").json
    return "2024-02-29T10:00:00+00:00", datetime.fromisoformat(answer["observed_at"]).isoformat()


@check("remember: other fields are taken")
def _(at: Target) -> Pair:
    more = {"confidence_reasoning": "seen", "tags": ["a", "b"], "memory_type": "semantic"}
    return 201, at.post(**more, auto_link=False, link_threshold=0.9).status


@check("remember: the embedding is kept, in float32 exactly")
def _(at: Target) -> Pair:
    vector = at.vector()
    body = at.remember(embedding=numbers(vector))
    (listed,) = at.listed(body["id"], include_embeddings="true")
    return True, packed(listed["embedding"]) == vector.tobytes()


@check("remember: content and confidence are kept")
def _(at: Target) -> Pair:
    body = at.remember(content="Grüße, 世界 🌍", confidence=0.5)
    (listed,) = at.listed(body["id"])
    return ("Grüße, 世界 🌍", 0.5), (listed["content"], round(listed["confidence"], 6))


@check("remember: blank-padded numbers are taken")
def _(at: Target) -> Pair:
    text = ",".join(f"{value: .6f}" for value in at.vector())
    head = f'{{"id":"{at.fresh_id()}","content":"padded","memory_space_id":"{at.space}","embedding":['
    return 201, at.send("POST", REMEMBER, f"{head}{text}]}}".encode()).status


@check("remember: numbers up to 1e30 are taken")
def _(at: Target) -> Pair:
    vector = numbers(at.vector())
    scale = 1e30 / max(map(abs, vector))
    return 201, at.post(embedding=[scale * value for value in vector]).status


@check("remember: content of 100,000 bytes is taken")
def _(at: Target) -> Pair:
    return 201, at.post(content="é" * (CONTENT_LIMIT_BYTES // 2)).status


@check("remember: same id and vector again is taken and listed once")
def _(at: Target) -> Pair:
    body = at.remember()
    again = at.send("POST", REMEMBER, body)
    return (201, 1), (again.status, len(at.listed(body["id"])))


@check("remember: same id with another vector: the listing shows the newer one")
def _(at: Target) -> Pair:
    newer = at.vector()
    body = at.remember()
    at.remember(id=body["id"], embedding=numbers(newer))
    (listed,) = at.listed(body["id"], include_embeddings="true")
    return True, packed(listed["embedding"]) == newer.tobytes()


@check("memories: 201, all fields in the answer")
def _(at: Target) -> Pair:
    reply = at.post(LIST)
    return (201, []), (reply.status, missing(REMEMBERED, reply.json))


@check("episodes: 201, all fields in the answer")
def _(at: Target) -> Pair:
    reply = at.post(EPISODES, when="2024-01-01T00:00:00Z", what="it rained", importance=0.25, content=...)
    return (201, []), (reply.status, missing(REMEMBERED, reply.json))


@check("spaces: made, 201; made again, 201")
def _(at: Target) -> Pair:
    made = [at.send("POST", "/api/v1/spaces", {"id": at.other}).status for _ in range(2)]
    return [201, 201], made


@check("spaces: listed with id, persistence_root, created_at")
def _(at: Target) -> Pair:
    listed = at.get("/api/v1/spaces").json["spaces"]
    (found,) = (space for space in listed if space["id"] == at.other)
    return [], missing("id persistence_root created_at", found)


def _found_in(at: Target, body: dict[str, object], path: str, **headers: str) -> list[bool]:
    """Send a memory; return whether it is in ``at.space`` and whether it is in ``at.other``."""
    at.send("POST", path, body, **headers)
    return [at.one(str(body["id"]), space=space).status == 200 for space in (at.space, at.other)]


@check("spaces: a header overrules query and body")
def _(at: Target) -> Pair:
    body = at.body(memory_space_id=at.other)
    return [True, False], _found_in(at, body, f"{REMEMBER}?space={at.other}", X_Memory_Space=at.space)


@check("spaces: a query overrules the body")
def _(at: Target) -> Pair:
    return [True, False], _found_in(at, at.body(memory_space_id=at.other), f"{REMEMBER}?space={at.space}")


@check("spaces: the body chooses")
def _(at: Target) -> Pair:
    return [False, True], _found_in(at, at.body(memory_space_id=at.other), REMEMBER)


@check("spaces: without any it is the default one")
def _(at: Target) -> Pair:
    body = at.body(memory_space_id=...)
    found = [*_found_in(at, body, REMEMBER), at.get(f"{LIST}/{body['id']}").status]
    return [False, False, 200], found
