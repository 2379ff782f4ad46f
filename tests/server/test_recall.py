from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from synthgen.server.reading import Readers
from synthgen.server.recall import BLOCK_ROWS, nearest
from synthgen.server.requests import Memory
from synthgen.server.store import load_spaces, prepare_database
from synthgen.server.writer import Writer
from tests.server.client import LIST, Client, numbers, vectors
from tests.serverproc import ServerProcess

RECALL = f"{LIST}/recall"


@pytest.fixture(scope="module")
def stored(server: ServerProcess) -> NDArray[np.float32]:
    sent = vectors(300, seed=11)
    sent[200] = sent[17]  # equal cosines come in the order of the listing
    sent[5] *= np.float32(1e25)  # squares that overflow in float32
    sent[6] *= np.float32(1e-25)
    with Client(server.port) as client:
        for row in range(len(sent)):
            client.remember("vectors", id=str(row), content=f"memory {row}", embedding=numbers(sent[row]))
            if row == 100:
                client.remember("vectors", id="bare")
    return sent


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.port) as client:
        yield client


def _recall(client: Client, vector: NDArray[Any], **query: Any) -> list[dict[str, Any]]:
    text = json.dumps(numbers(vector))
    found = client.get(RECALL, space="vectors", embedding=text, **query).json["memories"]
    return [*found["vivid"], *found["associated"], *found["reconstructed"]]


def _brute_force(stored: NDArray[np.float32], vector: NDArray[Any]) -> tuple[list[str], NDArray[np.float64]]:
    exact = stored.astype(np.float64)
    exact /= np.abs(exact).max(axis=1, keepdims=True)
    sought = vector.astype(np.float32).astype(np.float64)
    cosines = exact @ sought / np.linalg.norm(exact, axis=1) / np.linalg.norm(sought)
    order = np.lexsort((np.arange(len(exact)), -np.round(cosines, 12)))
    return [str(row) for row in order], cosines[order]


@pytest.mark.parametrize("limit", [1, 10, 100])
def test_recall_equals_brute_force(client: Client, stored: NDArray[np.float32], limit: int) -> None:
    for query in [*vectors(4, seed=5), stored[17], stored[5], -stored[3]]:
        ids, cosines = _brute_force(stored, query)
        found = _recall(client, query, max_results=limit, mode="exact")
        assert [memory["id"] for memory in found] == ids[:limit]
        scores = [memory["similarity_score"] for memory in found]
        assert scores == pytest.approx(cosines[:limit], abs=1e-9)


def test_a_stored_vector_finds_itself_first_and_vividly(client: Client, stored: NDArray[np.float32]) -> None:
    text = json.dumps(numbers(stored[6]))
    reply = client.get(RECALL, space="vectors", embedding=text, max_results=3, include_metadata="true").json
    (vivid,) = reply["memories"]["vivid"]
    assert (vivid["id"], vivid["content"]) == ("6", "memory 6")
    assert vivid["similarity_score"] == pytest.approx(1.0)
    assert len(reply["memories"]["associated"]) == 2
    assert reply["metadata"]["total_memories_searched"] == len(stored) + 1


def test_a_threshold_counts_where_it_is_given(client: Client, stored: NDArray[np.float32]) -> None:
    assert len(_recall(client, stored[9], max_results=10)) == 10
    assert [memory["id"] for memory in _recall(client, stored[9], threshold=0.5)] == ["9"]


def test_a_stored_vector_reaches_a_threshold_of_1(client: Client, stored: NDArray[np.float32]) -> None:
    for row in range(20, 60):
        found = _recall(client, stored[row], threshold=1, mode="exact")
        assert [memory["id"] for memory in found] == [str(row)]
        partial = {"known_fields": {}, "partial_embedding": numbers(stored[row])}
        body = {"partial_episode": partial, "config": {"ca1_threshold": 1.0}}
        reply = client.send("POST", "/api/v1/complete", body, X_Memory_Space="vectors")
        assert (reply.status, reply.json["completed_episode"]["id"]) == (200, str(row))


def test_words_win_over_an_embedding_as_on_engram(client: Client, stored: NDArray[np.float32]) -> None:
    cues = {"query": "memory", "embedding": json.dumps(numbers(stored[9]))}
    recalled, by_words = (
        client.get(RECALL, space="vectors", **found).json for found in (cues, {"query": "memory"})
    )
    assert recalled == by_words


def test_without_a_threshold_far_ones_are_recalled_too(client: Client, stored: NDArray[np.float32]) -> None:
    assert min(memory["similarity_score"] for memory in _recall(client, stored[9], max_results=300)) < 0


def test_a_replaced_vector_is_found_at_once(client: Client, stored: NDArray[np.float32]) -> None:
    first, second = vectors(2, seed=99)
    for vector in (first, second):
        client.remember("swap", id="x", embedding=numbers(vector))
        reply = client.get(RECALL, space="swap", embedding=json.dumps(numbers(vector))).json
        assert reply["memories"]["vivid"][0]["similarity_score"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "query",
    [{}, {"embedding": "[1,2]"}, {"embedding": "nonsense"}, {"query": "x", "mode": "spreading"}],
)
def test_recalls_without_a_usable_cue_get_400(client: Client, query: dict[str, str]) -> None:
    reply = client.get(RECALL, **query)
    assert (reply.status, reply.json["error"]["code"]) == (400, "INVALID_MEMORY_INPUT")


def test_completion_finds_the_memory_that_agrees(client: Client, stored: NDArray[np.float32]) -> None:
    partial = [value if index % 3 else None for index, value in enumerate(numbers(stored[42]))]
    body = {
        "partial_episode": {"known_fields": {}, "partial_embedding": partial},
        "memory_space_id": "vectors",
    }
    reply = client.send("POST", "/api/v1/complete", body)
    assert reply.status == 200
    assert (reply.json["completed_episode"]["id"], reply.json["completed_episode"]["what"]) == (
        "42",
        "memory 42",
    )
    assert reply.json["completion_confidence"]["value"] == pytest.approx(1.0)
    assert len(reply.json["alternative_hypotheses"]) == 3
    best = reply.json["alternative_hypotheses"][0]
    known = np.arange(768) % 3 != 0
    ids, _ = _brute_force(stored[:, known], stored[42][known])
    assert best["episode"]["id"] == ids[1]


def _complete(client: Client, vector: NDArray[Any], known: dict[str, Any], **config: Any) -> Any:
    """Return the answer to a cue that has the first 400 components of ``vector``."""
    partial = {"known_fields": known, "partial_embedding": numbers(vector[:400]) + [None] * 368}
    body = {"partial_episode": partial, "config": config}
    return client.send("POST", "/api/v1/complete", body, X_Memory_Space="alike").json


@pytest.fixture(scope="module")
def alike(server: ServerProcess) -> NDArray[np.float32]:
    """Meetings in 12 cities that agree in 400 components: more than are read at first."""
    sent = vectors(12, seed=31)
    sent[:, :400] = sent[0, :400]
    sent[-1, :400] *= np.float32(1.7)  # a cosine that is equal but for rounding
    with Client(server.port) as client:
        for city, vector in enumerate(sent):
            client.remember("alike", id=str(city), content=f"meeting in {city}", embedding=numbers(vector))
        episode = {"when": "2024-01-01T00:00:00Z", "what": "it rained", "id": "rain", "who": ["me"]}
        episode |= {"where_location": "Rome", "embedding": numbers(-sent[0])}
        client.send("POST", "/api/v1/episodes/remember", episode, X_Memory_Space="alike")
    return sent


@pytest.mark.parametrize("n_hypotheses", [0, 3, 20])
def test_of_memories_that_agree_equally_the_known_one_is_taken(
    client: Client, alike: NDArray[np.float32], n_hypotheses: int
) -> None:
    for city in (0, 1, 5, 11):
        reply = _complete(client, alike[0], {"what": f"meeting in {city}"}, num_hypotheses=n_hypotheses)
        assert reply["completed_episode"]["id"] == str(city)
        others = [other["episode"]["id"] for other in reply["alternative_hypotheses"]]
        assert len(set(others) - {str(city)}) == len(others) == min(n_hypotheses, 12)
    assert _complete(client, alike[0], {})["completed_episode"]["id"] in {"0", "11"}


def test_what_a_cue_knows_is_answered_and_told_from_what_the_memory_does(
    client: Client, alike: NDArray[np.float32]
) -> None:
    recalled = {"source": "recalled", "confidence": 1.0}
    known = {"what": "meeting in 1", "who": "x", "mood": "gay", "where": None}
    reply = _complete(client, alike[0], known)
    assert reply["source_attribution"] == {"what": recalled, "who": recalled}
    shown = ("id", "what", "who", "where_location")
    assert [reply["completed_episode"][name] for name in shown] == ["1", "meeting in 1", ["x"], None]

    reply = _complete(client, -alike[0], {"where": "Paris"})
    sources = reply["source_attribution"]
    assert {name: source["source"] for name, source in sources.items()} == {
        "what": "reconstructed",
        "where": "recalled",
        "who": "reconstructed",
    }
    assert [reply["completed_episode"][name] for name in shown] == ["rain", "it rained", ["me"], "Paris"]
    assert sources["who"]["confidence"] == pytest.approx(1.0)


@pytest.mark.parametrize("known", [{"what": 5}, {"who": [1]}, {"where": ["Rome"]}])
def test_known_fields_of_other_types_get_422(client: Client, known: dict[str, Any]) -> None:
    partial = {"known_fields": known, "partial_embedding": numbers(vectors(1)[0])}
    reply = client.send("POST", "/api/v1/complete", {"partial_episode": partial})
    assert (reply.status, reply.is_text) == (422, True)


@pytest.mark.parametrize("n_known", [0, 200])
def test_a_weak_cue_gets_422(client: Client, stored: NDArray[np.float32], n_known: int) -> None:
    partial = numbers(stored[42])[:n_known] + [None] * (768 - n_known)
    body = {"partial_episode": {"known_fields": {"what": "x"}, "partial_embedding": partial}}
    reply = client.send("POST", "/api/v1/complete", body, X_Memory_Space="vectors")
    assert (reply.status, reply.json["error"]["code"]) == (422, "MEMORY_VALIDATION_ERROR")


def test_a_cue_unlike_anything_gets_422(client: Client, stored: NDArray[np.float32]) -> None:
    body = {"partial_episode": {"known_fields": {}, "partial_embedding": numbers(vectors(1, seed=77)[0])}}
    assert client.send("POST", "/api/v1/complete", body, X_Memory_Space="vectors").status == 422


def _memories(sent: NDArray[np.float32]) -> Iterator[Memory]:
    for row in range(len(sent)):
        yield Memory("default", str(row), "x", 0.5, 0, 0, "semantic", None, sent[row].tobytes())


async def _store(database: Path, sent: NDArray[np.float32]) -> None:
    writer = Writer(database, asyncio.get_running_loop())
    writer.start()
    await asyncio.gather(*(writer.store(memory) for memory in _memories(sent)))
    writer.close()


def test_a_scan_of_several_blocks_equals_brute_force(tmp_path: Path) -> None:
    sent = vectors(2 * BLOCK_ROWS + 100, seed=21)
    sent[4_000] = sent[17]  # in another block
    prepare_database(tmp_path / "memories.db")
    asyncio.run(_store(tmp_path / "memories.db", sent))
    readers = Readers(tmp_path / "memories.db")
    (space,) = load_spaces(readers.connection()).values()
    for query in (sent[17], sent[4_150], *vectors(3, seed=22)):
        found = nearest(readers, space, len(sent), query.astype(np.float64), 20)
        ids, cosines = _brute_force(sent, query)
        assert [str(match.row - space.first_row) for match in found] == ids[:20]
        assert [match.cosine for match in found] == pytest.approx(cosines[:20], abs=1e-9)
    readers.close()
