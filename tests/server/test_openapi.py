from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from typing import Any

import openapi_spec_validator
import pytest

from synthgen.server.app import App
from synthgen.server.openapi import document
from synthgen.server.state import State
from synthgen.server.store import prepare_database
from synthgen.server.texts import MAX_QUERY_WORDS
from synthgen.server.traffic import Traffic
from tests.server.client import LIST, REMEMBER, Client, Reply, numbers, vectors
from tests.server.conformance import Conformance
from tests.serverproc import ServerProcess

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.port) as client:
        yield client


def _documented() -> set[tuple[str, str]]:
    return {(path, method.upper()) for path, methods in document()["paths"].items() for method in methods}


def _check_routes(served: set[tuple[str, str]]) -> None:
    assert served - _documented() == set(), "served, but not in synthgen/server/openapi.py"
    assert _documented() - served == set(), "in synthgen/server/openapi.py, but not served"


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    database = tmp_path_factory.mktemp("routes") / "memories.db"

    async def found() -> set[tuple[str, str]]:
        prepare_database(database)
        state = State(database, asyncio.get_running_loop())
        state.start()
        try:
            return App(state, Traffic(1)).routes
        finally:
            state.close()

    return asyncio.run(found())


def test_the_document_names_the_routes_of_the_application_and_no_others(routes: set[tuple[str, str]]) -> None:
    _check_routes(routes)


def test_a_route_that_only_one_of_them_has_is_seen(routes: set[tuple[str, str]]) -> None:
    with pytest.raises(AssertionError, match="served, but not in"):
        _check_routes(routes | {("/new", "GET")})
    with pytest.raises(AssertionError, match="but not served"):
        _check_routes(routes - {("/api/v1/memories", "GET")})


@pytest.mark.parametrize("path", ["/api/v1/openapi.json", "/openapi.json"])
def test_the_document_is_served(client: Client, path: str) -> None:
    reply = client.get(path)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json == document()


def test_the_document_is_valid() -> None:
    openapi_spec_validator.validate(document())


def test_a_broken_document_is_seen() -> None:
    broken = document()
    broken["paths"]["/health"]["get"]["responses"]["200"]["content"]["application/json"] = {
        "schema": {"$ref": "#/components/schemas/Nowhere"}
    }
    with pytest.raises(Exception, match="Nowhere"):
        openapi_spec_validator.validate(broken)


def test_methods_that_are_not_named_get_405(client: Client) -> None:
    for path, methods in document()["paths"].items():
        named = {method.upper() for method in methods}
        named |= {"HEAD"} if "GET" in named else set()
        for method in set(METHODS) - named:
            reply = client.send(method, path.replace("{id}", "x"))
            assert (reply.status, set(reply.headers["allow"].split(","))) == (405, named)


def test_head_answers_as_get_without_the_body(client: Client) -> None:
    vector = numbers(vectors(1)[0])
    for row in range(120):  # more than a piece of the listing, so that the answer comes in parts
        client.remember("head", id=str(row), embedding=vector)
    for path in ("/health/alive", "/openapi.json", f"{LIST}/0?space=head", f"{LIST}?space=head&limit=120"):
        got, head = client.send("GET", path), client.send("HEAD", path)
        assert (head.status, head.body, len(got.body) > 0) == (200, b"", path != "/health/alive")
        assert head.headers.get("content-type") == got.headers.get("content-type")
        assert head.headers.get("content-length") in {None, str(len(got.body))}
    assert client.send("HEAD", f"{LIST}/nobody").status == 404


def _successes(client: Client) -> Iterator[tuple[str, str, Reply]]:
    """Return one good answer of each operation that has one, with everything in it that it can have."""
    space, vector = "conforming", numbers(vectors(1)[0])
    memory = {"id": "m", "content": "walrus", "embedding": vector, "tags": ["a"]}
    partial = {"known_fields": {"what": "walrus"}, "partial_embedding": vector}
    posts = {
        REMEMBER: memory,
        LIST: memory | {"id": "n"},
        "/api/v1/episodes/remember": {"when": "2024-01-01T00:00:00Z", "what": "it rained"},
        "/api/v1/complete": {"partial_episode": partial},
        "/api/v1/spaces": {"id": space},
    }
    for path, body in posts.items():
        yield path, "POST", client.send("POST", path, body, X_Memory_Space=space)
    queries = {
        LIST: {"include_embeddings": "true"},
        f"{LIST}/recall": {"like": "m", "include_metadata": "true"},
        f"{LIST}/search": {"query": "walrus"},
    }
    for path, methods in document()["paths"].items():
        if "get" in methods:
            query = queries.get(path, {}) | ({"space": space} if path.startswith(LIST) else {})
            yield path, "GET", client.get(path.replace("{id}", "m"), **query)


def test_good_answers_are_as_described_and_have_no_other_fields(client: Client) -> None:
    described = Conformance(document())
    seen = set()
    for path, method, reply in _successes(client):
        assert reply.status in {200, 201}, (path, reply.body)
        kind = reply.headers.get("content-type", "")
        assert described.findings(path, method, reply.status, kind, reply.body) == [], (path, method)
        seen.add((path, method))
    assert seen == _documented()


def test_what_engram_does_otherwise_or_may_surprise_is_described() -> None:
    operations = document()["paths"]
    recall, search = (
        {parameter["name"]: parameter.get("description", "") for parameter in found["get"]["parameters"]}
        for found in (operations[f"{LIST}/recall"], operations[f"{LIST}/search"])
    )
    assert "0.5" in recall["threshold"]
    assert "passed over" in recall["query"]
    assert all(str(MAX_QUERY_WORDS) in words for words in (recall["query"], search["query"]))


@pytest.mark.parametrize(
    ("status", "target", "headers"),
    [
        (414, f"?x={'a' * 70_000}", {}),
        (431, "", {"X_Long": "a" * 140_000}),
        (501, "", {"Transfer_Encoding": "gzip"}),
    ],
)
def test_refusals_of_any_operation_are_described(
    client: Client, status: int, target: str, headers: dict[str, str]
) -> None:
    described = Conformance(document())
    for path, method in _documented():
        reply = client.send(method, path.replace("{id}", "m") + target, **headers)
        kind = reply.headers["content-type"]
        assert (reply.status, reply.headers["connection"]) == (status, "close")
        assert described.findings(path, method, reply.status, kind, reply.body) == []


def _without_field(changed: dict[str, Any]) -> None:
    del changed["components"]["schemas"]["Memory"]["properties"]["memory_type"]


def _with_field(changed: dict[str, Any]) -> None:
    changed["components"]["schemas"]["Memory"]["required"].append("embedding")


def _with_type(changed: dict[str, Any]) -> None:
    changed["components"]["schemas"]["Memory"]["properties"]["id"] = {"type": "integer"}


def _without_status(changed: dict[str, Any]) -> None:
    del changed["paths"][f"{LIST}/{{id}}"]["get"]["responses"]["200"]


def _with_media_type(changed: dict[str, Any]) -> None:
    answer = changed["paths"][f"{LIST}/{{id}}"]["get"]["responses"]["200"]
    answer["content"] = {"text/html": {"schema": {"type": "string"}}}


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (_without_field, "memory_type"),
        (_with_field, "embedding"),
        (_with_type, "integer"),
        (_without_status, "status 200"),
        (_with_media_type, "content type"),
    ],
)
def test_a_difference_between_document_and_answer_is_seen(client: Client, change: Any, finding: str) -> None:
    changed = copy.deepcopy(document())
    change(changed)
    client.remember("changed", id="m")
    reply = client.get(f"{LIST}/m", space="changed")
    found = Conformance(changed).findings(
        f"{LIST}/{{id}}", "GET", reply.status, reply.headers["content-type"], reply.body
    )
    assert len(found) == 1
    assert finding in found[0]
