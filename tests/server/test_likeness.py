"""Recall by the vector of a stored memory: ``?like=ID``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.server.client import LIST, Client, numbers, vectors
from tests.serverproc import ServerProcess

RECALL = f"{LIST}/recall"
ODD_ID = "ü/%41 \u0000x#&=+?"


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.port) as client:
        yield client


@pytest.fixture(scope="module")
def stored(server: ServerProcess) -> NDArray[np.float32]:
    sent = vectors(60, seed=31)
    sent[5] *= np.float32(1e25)
    with Client(server.port) as client:
        for row in range(len(sent)):
            client.remember("alike", id=str(row), content=f"memory {row}", embedding=numbers(sent[row]))
        client.remember("alike", id="bare")
    return sent


def _recall(client: Client, space: str, **query: Any) -> list[dict[str, Any]]:
    reply = client.get(RECALL, space=space, **query)
    assert reply.status == 200
    found = reply.json["memories"]
    return [*found["vivid"], *found["associated"], *found["reconstructed"]]


@pytest.mark.parametrize("row", [0, 5, 59])
def test_like_answers_what_its_embedding_would(client: Client, stored: NDArray[np.float32], row: int) -> None:
    by_id = _recall(client, "alike", like=str(row), max_results=20)
    by_vector = _recall(client, "alike", embedding=json.dumps(numbers(stored[row])), max_results=20)
    assert by_id == by_vector
    assert (len(by_id), by_id[0]["id"]) == (20, str(row))
    assert by_id[0]["similarity_score"] == pytest.approx(1.0)


def test_other_parameters_count_as_ever(client: Client, stored: NDArray[np.float32]) -> None:
    assert [memory["id"] for memory in _recall(client, "alike", like="7", threshold=0.5)] == ["7"]
    assert len(_recall(client, "alike", like="7", max_results=3, mode="exact")) == 3
    assert client.get(RECALL, space="alike", like="7", mode="spreading").status == 400


def test_a_replaced_vector_counts_at_once(client: Client, stored: NDArray[np.float32]) -> None:
    first, second = vectors(2, seed=32)
    for vector, neighbour in ((first, "near-first"), (second, "near-second")):
        client.remember("moved", id=neighbour, embedding=numbers(vector))
    for vector, neighbour in ((first, "near-first"), (second, "near-second")):
        client.remember("moved", id=ODD_ID, embedding=numbers(vector))
        best = _recall(client, "moved", like=ODD_ID, max_results=2)
        assert {memory["id"] for memory in best} == {ODD_ID, neighbour}


def test_an_unknown_memory_or_space_gets_404(client: Client, stored: NDArray[np.float32]) -> None:
    for space, memory_id in (("alike", "60"), ("moved-away", "0"), ("default", "0"), ("alike", "")):
        reply = client.get(RECALL, space=space, like=memory_id)
        assert (reply.status, reply.json["error"]["code"]) == (404, "MEMORY_NOT_FOUND")


def test_a_memory_without_a_vector_gets_400(client: Client, stored: NDArray[np.float32]) -> None:
    reply = client.get(RECALL, space="alike", like="bare")
    assert (reply.status, reply.json["error"]["code"]) == (400, "INVALID_MEMORY_INPUT")
    assert "without an embedding" in reply.json["error"]["message"]


@pytest.mark.parametrize("other", [{"query": "memory"}, {"embedding": "[1,2]"}])
def test_two_cues_get_400(client: Client, stored: NDArray[np.float32], other: dict[str, str]) -> None:
    reply = client.get(RECALL, space="alike", like="0", **other)
    assert (reply.status, reply.json["error"]["code"]) == (400, "INVALID_MEMORY_INPUT")
