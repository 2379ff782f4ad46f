from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.client import LIST, Client
from tests.serverproc import ServerProcess, running_server


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.port) as client:
        yield client


def _search(client: Client, space: str, query: str, **more: Any) -> list[str]:
    reply = client.get(f"{LIST}/search", space=space, query=query, **more)
    assert reply.status == 200
    assert reply.json["total"] == len(reply.json["memories"])
    return [memory["id"] for memory in reply.json["memories"]]


def test_what_was_just_stored_is_found_at_once(client: Client) -> None:
    for number in range(30):
        client.remember("fresh", id=f"m{number}", content=f"a plain sentence with the word walrus{number}")
        assert _search(client, "fresh", f"walrus{number}") == [f"m{number}"]


def test_more_and_rarer_words_come_first(client: Client) -> None:
    contents = ["apple banana", "apple cherry", "apple", "durian", "apple durian"]
    for number, content in enumerate(contents):
        client.remember("ranked", id=str(number), content=content)
    assert _search(client, "ranked", "apple durian")[:2] == ["4", "3"]
    assert len(_search(client, "ranked", "apple", limit=2)) == 2
    assert _search(client, "ranked", "elderberry") == []


@pytest.mark.parametrize(
    "query", ['"', "AND", "a* OR (", "content:x", "-", "", "ü\u0000", "NEAR(", "x" * 5_000]
)
def test_no_query_breaks_the_search(client: Client, query: str) -> None:
    client.remember("odd", id="only", content="nothing of the kind")
    assert client.get(f"{LIST}/search", space="odd", query=query).status == 200


def test_replaced_words_are_forgotten(client: Client) -> None:
    client.remember("forgetful", id="x", content="walrus")
    assert _search(client, "forgetful", "walrus") == ["x"]
    client.remember("forgetful", id="x", content="penguin")
    assert _search(client, "forgetful", "walrus") == []
    assert _search(client, "forgetful", "penguin") == ["x"]


def test_recall_by_words(client: Client) -> None:
    client.remember("words", id="x", content="the quick brown fox")
    found = client.get(f"{LIST}/recall", space="words", query="brown fox").json["memories"]
    assert [memory["id"] for memory in [*found["vivid"], *found["associated"]]] == ["x"]


def test_a_search_needs_a_query(client: Client) -> None:
    assert client.get(f"{LIST}/search").status == 400


def test_the_index_goes_on_after_a_kill(tmp_path: Any) -> None:
    data = tmp_path / "data"
    with running_server(data) as server, Client(server.port) as client:
        client.remember(id="before", content="walrus")
        assert _search(client, "default", "walrus") == ["before"]
        client.remember(id="between", content="walrus")
        server.kill()
    with running_server(data) as server, Client(server.port) as client:
        client.remember(id="after", content="walrus")
        assert sorted(_search(client, "default", "walrus")) == ["after", "before", "between"]
