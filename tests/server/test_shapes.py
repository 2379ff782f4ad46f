"""Shapes of requests at the edges of the wire: what is as if it were absent, and what is of another type."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.client import LIST, REMEMBER, Client, numbers, vectors
from tests.serverproc import ServerProcess

COMPLETE = "/api/v1/complete"


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.port) as client:
        yield client


@pytest.mark.parametrize(
    "time",
    [
        "0001-01-01T00:00:00+14:00",  # the year 0 in UTC: stored, it could never be listed
        "9999-12-31T23:59:59-14:00",
        "9999-12-31T23:59:60Z",
        "2016-12-31T23:59:61Z",
        "2016-12-31T24:00:60Z",
        "2024-02-30T00:00:00Z",
        "2024-01-01T24:30:00Z",
        "2024-01-01",
        "20240101T000000Z",
        "2024-W01-1T00:00:00Z",
        "2024-01-01T00:00Z",
        "2024-01-01T00:00:00",
        "2024-01-01T00:00:00+24:00",
        "٢٠٢٤-01-01T00:00:00Z",
        "",
    ],
)
def test_times_that_are_none_get_422_and_nothing_is_stored(client: Client, time: str) -> None:
    reply = client.remember("times", timestamp=time)
    assert (reply.status, reply.is_text) == (422, True)
    episode = {"when": time, "what": "it rained"}
    assert client.send("POST", "/api/v1/episodes/remember", episode, X_Memory_Space="times").status == 422
    assert client.get(LIST, space="times").json["memories"] == []


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ("2024-02-29t12:00:00.5z", "2024-02-29T12:00:00.500000Z"),
        ("2024-02-29 12:00:00-23:59", "2024-03-01T11:59:00Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2016-12-31t15:59:60.987654321-08:00", "2017-01-01T00:00:00Z"),
        ("9999-12-31T23:59:60+14:00", "9999-12-31T10:00:00Z"),
        ("2024-02-29T12:00:00.123456789Z", "2024-02-29T12:00:00.123456Z"),
    ],
)
def test_times_of_rfc_3339_are_taken_and_shown(client: Client, time: str, shown: str) -> None:
    assert client.remember("clock", id=time, timestamp=time).json["observed_at"] == shown
    listed = client.get(LIST, space="clock", limit=1000).json["memories"]
    assert {memory["id"]: memory["timestamp"] for memory in listed}[time] == shown


@pytest.mark.parametrize(
    "fields", [{"auto_link": 1}, {"auto_link": "yes"}, {"link_threshold": "high"}, {"link_threshold": True}]
)
def test_what_asks_for_links_has_types(client: Client, fields: dict[str, Any]) -> None:
    assert client.remember(**fields).status == 422
    assert client.remember(auto_link=True, link_threshold=0.5).status == 201
    assert client.remember(auto_link=None, link_threshold=None).status == 201


@pytest.mark.parametrize("body", [[], "content", 5, None, {"content": 5}, {}])
def test_the_simple_route_reads_any_json(client: Client, body: Any) -> None:
    reply = client.send("POST", LIST, b"null" if body is None else body)
    assert (reply.status, reply.json["error"]["message"]) == (400, "Missing 'content' field")


@pytest.mark.parametrize("body", [{}, {"id": 5}, {"id": None}, []])
def test_a_space_without_a_name_gets_422(client: Client, body: Any) -> None:
    reply = client.send("POST", "/api/v1/spaces", body)
    assert (reply.status, reply.is_text) == (422, True)


def _cue(**fields: Any) -> dict[str, Any]:
    return {"known_fields": {}, "partial_embedding": numbers(vectors(1, seed=71)[0])} | fields


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"partial_episode": None},
        {"partial_episode": []},
        {"partial_episode": _cue(known_fields=0)},
        {"partial_episode": _cue(partial_embedding="")},
        {"partial_episode": _cue(partial_embedding=False)},
        {"partial_episode": _cue(cue_strength="high")},
        {"partial_episode": _cue(), "config": 0},
        {"partial_episode": _cue(), "config": {"max_iterations": -1}},
        {"partial_episode": _cue(), "config": {"max_iterations": 1.5}},
        {"partial_episode": _cue(), "config": {"num_hypotheses": True}},
        {"partial_episode": _cue(), "memory_space_id": 5},
    ],
)
def test_cues_of_another_shape_get_422_in_plain_text(client: Client, body: Any) -> None:
    reply = client.send("POST", COMPLETE, body)
    assert (reply.status, reply.is_text) == (422, True)


@pytest.mark.parametrize("vector", [[1e39] * 768, [0.0] * 768, [1.0] * 767, None, []])
def test_cues_that_say_nothing_get_422_in_the_envelope(client: Client, vector: Any) -> None:
    reply = client.send("POST", COMPLETE, {"partial_episode": _cue(partial_embedding=vector)})
    assert (reply.status, reply.json["error"]["code"]) == (422, "MEMORY_VALIDATION_ERROR")


def test_null_in_a_cue_is_as_if_it_were_absent(client: Client) -> None:
    client.remember("nulls", id="x", embedding=_cue()["partial_embedding"])
    config = {"ca1_threshold": None, "num_hypotheses": None, "max_iterations": None}
    body = {"partial_episode": _cue(known_fields=None, cue_strength=None), "config": config}
    assert client.send("POST", COMPLETE, body, X_Memory_Space="nulls").status == 200
    assert client.send("POST", COMPLETE, body | {"config": None}, X_Memory_Space="nulls").status == 200


@pytest.mark.parametrize("threshold", ["1_0", "٣", " 1", "0x1", "", "1e", "."])
def test_numbers_in_a_query_are_in_decimal_digits(client: Client, threshold: str) -> None:
    reply = client.get(f"{LIST}/recall", query="x", threshold=threshold)
    assert (reply.status, reply.is_text) == (400, True)


@pytest.mark.parametrize("threshold", ["-1", "+0.5", ".5", "5.", "1e-3", "1E3"])
def test_numbers_in_a_query_may_be_written_in_these_ways(client: Client, threshold: str) -> None:
    assert client.get(f"{LIST}/recall", query="x", threshold=threshold).status == 200


def test_bodies_of_all_kinds_are_taken_where_their_content_is(client: Client) -> None:
    assert client.send("POST", REMEMBER, b' \n{"content":"x"}\t').status == 201


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-Memory-Space": "AB", "Content-Type": "application/json"}, 400),
        ({"Content-Type": "text/plain"}, 415),
    ],
)
@pytest.mark.parametrize("path", [REMEMBER, LIST, "/api/v1/episodes/remember", COMPLETE])
def test_a_refused_request_leaves_the_connection_usable(
    server: ServerProcess, headers: dict[str, str], status: int, path: str
) -> None:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Length: 15"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        time.sleep(0.05)  # an answer that did not wait for the body would leave by now
        connection.sendall(
            b'{"content":"x"}GET /health/alive HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
        )
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]] == [status, 200]
