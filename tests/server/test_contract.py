from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from tests.server.client import LIST, REMEMBER, Client, numbers, vectors
from tests.serverproc import ServerProcess


@pytest.fixture
def client(server: ServerProcess) -> Client:
    with Client(server.port) as client:
        yield client


def test_health_says_engram_and_names_itself(client: Client) -> None:
    health = client.get("/health").json
    assert health["status"] == "healthy"
    assert health["service"] == "engram"
    assert health["server"].startswith("synthgen/")
    assert client.get("/health/alive").status == 200


def test_remember_answers_all_fields(client: Client) -> None:
    reply = client.remember(
        "fields",
        id="one",
        confidence=0.9,
        confidence_reasoning="because",
        timestamp="2024-02-29T12:00:00+02:00",
    )
    assert reply.status == 201
    assert set(reply.json) == {
        "memory_id",
        "storage_confidence",
        "consolidation_state",
        "observed_at",
        "stored_at",
        "links",
        "auto_links",
        "system_message",
    }
    assert reply.json["memory_id"] == "one"
    assert reply.json["storage_confidence"] == {"value": 0.9, "category": "High", "reasoning": "because"}
    assert reply.json["observed_at"] == "2024-02-29T10:00:00Z"


@pytest.mark.parametrize("path", [REMEMBER, LIST])
def test_both_routes_keep_id_content_confidence_and_embedding(client: Client, path: str) -> None:
    space = "both-" + path.rsplit("/", 1)[1]
    vector = vectors(1)[0]
    memory = {
        "id": "ü/%41 \u0000x",
        "content": "Grüße, 世界 🌍",
        "confidence": 1 / 3,
        "embedding": numbers(vector),
    }
    reply = client.send("POST", path, memory, X_Memory_Space=space)
    assert (reply.status, reply.json["memory_id"]) == (201, memory["id"])
    (listed,) = client.get(LIST, space=space, include_embeddings="true").json["memories"]
    assert (listed["id"], listed["content"]) == (memory["id"], memory["content"])
    assert listed["confidence"] == memory["confidence"]
    assert np.array(listed["embedding"], np.float32).tobytes() == vector.tobytes()


def test_embeddings_come_back_bit_for_bit(client: Client) -> None:
    bits = np.random.default_rng(7).integers(0, 2**32, 768 * 40, dtype=np.uint64).astype(np.uint32)
    found = bits.view(np.float32)
    sent = np.where(np.isfinite(found), found, np.float32(-0.0)).reshape(-1, 768)
    for row in range(len(sent)):
        assert client.remember("bits", id=str(row), embedding=numbers(sent[row])).status == 201
    listed = client.get(LIST, space="bits", include_embeddings="true").json["memories"]
    returned = np.array([memory["embedding"] for memory in listed]).astype(np.float32)
    assert returned.tobytes() == sent.tobytes()


def test_numbers_are_rounded_to_the_nearest_float32(client: Client) -> None:
    values = [0.1, 1.00000005960464477, -0.012345678901] * 256
    client.remember("rounded", embedding=values)
    (listed,) = client.get(LIST, space="rounded", include_embeddings="true").json["memories"]
    assert (
        np.array(listed["embedding"]).astype(np.float32).tobytes() == np.array(values, np.float32).tobytes()
    )


def test_blank_padded_numbers_are_taken(client: Client) -> None:
    padded = ",".join([" 0.012345", "-0.012345"] * 384)
    body = f'{{"id":"padded","content":"x","memory_space_id":"padded","embedding":[{padded}]}}'.encode()
    assert client.send("POST", REMEMBER, body).status == 201
    (listed,) = client.get(LIST, space="padded", include_embeddings="true").json["memories"]
    assert listed["embedding"] == [0.012345, -0.012345] * 384


def test_a_memory_without_embedding_is_listed_without_one(client: Client) -> None:
    assert client.remember("bare").status == 201
    (listed,) = client.get(LIST, space="bare", include_embeddings="true").json["memories"]
    assert set(listed) == {"id", "content", "confidence", "timestamp"}


def test_generated_ids_are_long_and_differ(client: Client) -> None:
    ids = {client.remember("generated").json["memory_id"] for _ in range(20)}
    assert len(ids) == 20
    assert min(map(len, ids)) >= 36
    assert client.count("generated") == 20


def test_episode(client: Client) -> None:
    body = {"when": "2024-01-01T00:00:00Z", "what": "it rained", "importance": 0.25, "id": "e", "who": ["me"]}
    reply = client.send("POST", "/api/v1/episodes/remember", body, X_Memory_Space="episodes")
    assert reply.status == 201
    found = client.get(f"{LIST}/e", space="episodes").json
    assert found == {
        "id": "e",
        "content": "it rained",
        "confidence": 0.25,
        "timestamp": "2024-01-01T00:00:00Z",
        "memory_type": "episodic",
    }
    assert client.send("POST", "/api/v1/episodes/remember", {"what": "no time"}).status == 422


def test_one_memory_by_id(client: Client) -> None:
    client.remember("single", id="a%2Fb", content="found")
    assert client.get(f"{LIST}/a%252Fb", space="single").json["content"] == "found"
    missing = client.get(f"{LIST}/count", space="single")
    assert (missing.status, missing.json["error"]["code"]) == (404, "MEMORY_NOT_FOUND")
    assert set(missing.json["error"]) == {"code", "message", "educational_context", "cognitive_guidance"}
    assert missing.json["documentation"]["api_guide"]


def test_header_overrules_query_overrules_body(client: Client) -> None:
    body = {"content": "x", "memory_space_id": "from-body"}
    client.send("POST", f"{REMEMBER}?space=from-query", body, X_Memory_Space="from-header")
    assert [client.count(f"from-{part}") for part in ("header", "query", "body")] == [1, 0, 0]
    client.send("POST", f"{REMEMBER}?space=from-query", body)
    assert [client.count(f"from-{part}") for part in ("header", "query", "body")] == [1, 1, 0]
    client.send("POST", REMEMBER, body)
    assert [client.count(f"from-{part}") for part in ("header", "query", "body")] == [1, 1, 1]


def test_spaces_are_isolated(client: Client) -> None:
    vector = numbers(vectors(1)[0])
    client.remember("left", id="same", content="walrus left", embedding=vector)
    client.remember("right", id="same", content="walrus right", embedding=vector)
    client.remember("left", id="only-left", content="only walrus")
    assert client.get(f"{LIST}/same", space="left").json["content"] == "walrus left"
    assert client.get(f"{LIST}/same", space="right").json["content"] == "walrus right"
    assert client.get(f"{LIST}/only-left", space="right").status == 404
    assert (client.count("left"), client.count("right")) == (2, 1)
    found = client.get(f"{LIST}/search", query="walrus", space="right").json
    assert [memory["content"] for memory in found["memories"]] == ["walrus right"]


def test_spaces_can_be_made_and_listed(client: Client) -> None:
    made = client.send("POST", "/api/v1/spaces", {"id": "made-here"})
    again = client.send("POST", "/api/v1/spaces", {"id": "made-here"})
    assert (made.status, again.status) == (201, 201)
    assert made.json == again.json
    assert set(made.json) == {"id", "persistence_root", "created_at"}
    listed = client.get("/api/v1/spaces").json["spaces"]
    assert [space["id"] for space in listed].count("made-here") == 1
    assert "default" in {space["id"] for space in listed}


@pytest.mark.parametrize("name", ["ab", "Upper", "a" * 65, "sp ace", "ünder", ""])
def test_bad_space_names_are_refused_everywhere(client: Client, name: str) -> None:
    assert client.get(LIST, space=name).status == 400
    assert client.send("POST", "/api/v1/spaces", {"id": name}).status == 400
    assert client.send("POST", REMEMBER, {"content": "x", "memory_space_id": name}).status == 400


def test_metrics_and_system_health_count_the_same(client: Client) -> None:
    client.remember("counted")
    client.remember("counted")
    (space,) = client.get("/api/v1/system/health", space="counted").json["spaces"]
    assert space["memories"] == 2
    assert client.get("/metrics").json["snapshot"]["memories_by_space"]["counted"] == 2
    assert 'synthgen_space_memories{space="counted"} 2' in client.get("/metrics/prometheus").body.decode()


def test_metrics_for_prometheus_say_what_they_are(client: Client) -> None:
    client.remember("counted")
    described: dict[str, set[str]] = {}
    for line in client.get("/metrics/prometheus").body.decode().splitlines():
        if line.startswith("# "):
            _, kind, name, rest = line.split(" ", 3)
            described.setdefault(name, set()).add(kind)
            assert kind == "HELP" or rest == ("counter" if name.endswith("_total") else "gauge")
        else:
            name = line.partition(" ")[0].partition("{")[0]
            assert described[name] == {"HELP", "TYPE"}, "before the first figure"
    assert described.keys() >= {"synthgen_memories", "synthgen_commits_total", "synthgen_space_memories"}


def test_the_database_can_be_read_beside_the_server(server: ServerProcess, client: Client) -> None:
    client.remember("beside", id="a", content="first", embedding=numbers(vectors(1)[0]))
    client.remember("beside", id="b", content="second", timestamp="2024-01-01T00:00:00Z")
    connection = sqlite3.connect(f"file:{server.data_dir / 'memories.db'}?mode=ro", uri=True)
    rows = connection.execute(
        "SELECT ordinal, id, content, dimension FROM memories WHERE space = 'beside' ORDER BY ordinal"
    ).fetchall()
    (observed,) = connection.execute(
        "SELECT observed_at FROM memories WHERE id = 'b' AND space = 'beside'"
    ).fetchone()
    connection.close()
    assert rows == [(0, "a", "first", 768), (1, "b", "second", None)]
    assert observed == "2024-01-01T00:00:00.000Z"


def test_unknown_routes_and_methods(client: Client) -> None:
    assert client.get("/nowhere").status == 404
    reply = client.send("DELETE", LIST)
    assert (reply.status, set(reply.headers["allow"].split(","))) == (405, {"GET", "HEAD", "POST"})
