from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.client import LIST, Client, numbers, packed, vectors
from tests.serverproc import ServerProcess


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.port) as client:
        yield client


def _fill(client: Client, space: str, n_rows: int, **fields: Any) -> list[str]:
    ids = [f"{space}-{row * 7919 % n_rows:05d}" for row in range(n_rows)]  # not in the order of their names
    for memory_id in ids:
        assert client.remember(space, id=memory_id, **fields).status == 201
    return ids


def _ids(client: Client, space: str, **query: Any) -> list[str]:
    return [memory["id"] for memory in client.get(LIST, space=space, **query).json["memories"]]


def test_pages_come_in_the_order_of_insertion(client: Client) -> None:
    ids = _fill(client, "ordered", 253)
    assert _ids(client, "ordered", limit=1000) == ids
    assert _ids(client, "ordered") == ids[:100]
    pages = [_ids(client, "ordered", offset=offset, limit=60) for offset in range(0, 300, 60)]
    assert pages == [ids[offset : offset + 60] for offset in range(0, 300, 60)]


def test_a_page_says_what_it_is(client: Client) -> None:
    _fill(client, "described", 7)
    page = client.get(LIST, space="described", offset=5, limit=4).json
    assert (page["count"], page["pagination"]) == (2, {"offset": 5, "limit": 4, "returned": 2})
    assert page["tier_counts"] == {"hot": 7, "warm": 0, "cold": 0, "total": 7}
    assert client.get(LIST, space="described", limit=5_000).json["pagination"]["limit"] == 1_000


@pytest.mark.parametrize("offset", [7, 8, 1_000_000, 2**63, 10**19])
def test_beyond_the_end_there_is_an_empty_page(client: Client, offset: int) -> None:
    if client.count("beyond") == 0:
        _fill(client, "beyond", 7)
    page = client.get(LIST, space="beyond", offset=offset).json
    assert (page["memories"], page["count"], page["tier_counts"]["hot"]) == ([], 0, 7)


def test_all_is_hot_and_the_other_tiers_are_empty(client: Client) -> None:
    ids = _fill(client, "tiers", 3)
    assert _ids(client, "tiers", tier="all") == _ids(client, "tiers", tier="HOT") == ids
    assert _ids(client, "tiers", tier="warm") == _ids(client, "tiers", tier="cold") == []


def test_the_same_id_replaces_and_keeps_its_place(client: Client) -> None:
    ids = _fill(client, "replaced", 5)
    vector = vectors(1)[0]
    reply = client.remember(
        "replaced", id=ids[2], content="newer", confidence=0.25, embedding=numbers(vector)
    )
    assert reply.status == 201
    listed = client.get(LIST, space="replaced", include_embeddings="true").json["memories"]
    assert [memory["id"] for memory in listed] == ids
    assert (listed[2]["content"], listed[2]["confidence"]) == ("newer", 0.25)
    assert packed(listed[2]["embedding"]) == vector.tobytes()
    assert client.count("replaced") == 5
    client.remember("replaced", id="after")
    assert _ids(client, "replaced") == [*ids, "after"]


def test_a_large_page_is_whole(client: Client) -> None:
    sent = vectors(1_003, seed=3)
    for row in range(len(sent)):
        client.remember("large", id=str(row), embedding=numbers(sent[row]))
    page = client.get(LIST, space="large", limit=1000, include_embeddings="true").json
    assert page["count"] == len(page["memories"]) == 1_000
    for row, memory in enumerate(page["memories"]):
        assert (memory["id"], packed(memory["embedding"])) == (str(row), sent[row].tobytes())


def test_reading_an_unknown_space_does_not_make_it(client: Client) -> None:
    assert client.count("never-made") == 0
    assert "never-made" not in {space["id"] for space in client.get("/api/v1/spaces").json["spaces"]}
