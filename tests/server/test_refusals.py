from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.client import LIST, REMEMBER, Client
from tests.serverproc import ServerProcess

NUMBERS = [0.5] * 768
LIMIT_BYTES = 2 * 1024 * 1024


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.port) as client:
        yield client


@pytest.mark.parametrize(
    "fields",
    [
        {"embedding": NUMBERS[:767]},
        {"embedding": [*NUMBERS, 0.5]},
        {"embedding": []},
        {"embedding": [0.0] * 768},
        {"embedding": [1e-50] * 768},
        {"embedding": [-0.0] * 768},
        {"embedding": [1e39, *NUMBERS[1:]]},
        {"confidence": 7},
        {"confidence": -0.1},
        {"content": ""},
        {"content": " \n\t "},
        {"content": "x" * 100_001},
        {"content": "é" * 50_001},
        {"id": ""},
        {"id": "x" * 1_025},
    ],
)
def test_values_that_cannot_be_taken_get_400_in_the_envelope(client: Client, fields: dict[str, Any]) -> None:
    reply = client.remember("refused", **fields)
    assert (reply.status, reply.json["error"]["code"]) == (400, "INVALID_MEMORY_INPUT")
    assert client.count("refused") == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"embedding": [1e30] * 768},
        {"embedding": [1e-30] * 768},
        {"embedding": [1, *NUMBERS[1:]]},
        {"confidence": 0},
        {"confidence": 1},
        {"content": "é" * 50_000},
        {"id": "x" * 1_024},
        {"id": None, "embedding": None, "confidence": None, "unknown": {"deep": [1]}},
    ],
)
def test_values_at_the_edge_are_taken(client: Client, fields: dict[str, Any]) -> None:
    assert client.remember("edges", **fields).status == 201


@pytest.mark.parametrize(
    "body",
    [
        {"id": "no content"},
        {"content": None},
        {"content": 5},
        {"content": "x", "id": 5},
        {"content": "x", "embedding": [None, *NUMBERS[1:]]},
        {"content": "x", "embedding": ["0.5", *NUMBERS[1:]]},
        {"content": "x", "embedding": [True, *NUMBERS[1:]]},
        {"content": "x", "embedding": "0.5"},
        {"content": "x", "confidence": "high"},
        {"content": "x", "confidence": True},
        {"content": "x", "timestamp": "yesterday"},
        {"content": "x", "timestamp": "2024-01-01T00:00:00"},
        {"content": "x", "tags": "a"},
        ["content"],
        "content",
    ],
)
def test_wrong_types_get_422_in_plain_text(client: Client, body: Any) -> None:
    reply = client.send("POST", REMEMBER, body)
    assert (reply.status, reply.is_text) == (422, True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"content":',
        b'{"content":"x"}}',
        b'{"content":"x","confidence":NaN}',
        b'{"content":"x","confidence":1e999}',
        b'{"content":"\xff\xfe"}',
        b'{"content":"\xed\xa0\x80"}',
        b'{"content":"\\ud800"}',
        b'{"content":"x","deep":' + b"[" * 100_000,
        b'{"content":"x","deep":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    ],
)
def test_broken_json_gets_400_in_plain_text(client: Client, body: bytes) -> None:
    reply = client.send("POST", REMEMBER, body)
    assert (reply.status, reply.is_text) == (400, True)
    assert client.get("/health").json["status"] == "healthy"


def test_the_simple_route_has_its_own_words_for_missing_content(client: Client) -> None:
    reply = client.send("POST", LIST, {"id": "no content"})
    assert (reply.status, reply.json["error"]["message"]) == (400, "Missing 'content' field")


@pytest.mark.parametrize("kind", ["text/plain", "application/jsonx", ""])
def test_other_content_types_get_415(client: Client, kind: str) -> None:
    reply = client.send("POST", REMEMBER, b'{"content":"x"}', Content_Type=kind)
    assert (reply.status, reply.is_text) == (415, True)


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip", "GZIP", "x"])
def test_compressed_bodies_get_415(client: Client, coding: str) -> None:
    for body in (gzip.compress(b'{"content":"x"}'), b'{"content":"x"}'):
        for path in (REMEMBER, LIST, "/api/v1/complete", "/api/v1/spaces"):
            reply = client.send("POST", path, body, Content_Encoding=coding)
            assert (reply.status, reply.headers["accept-encoding"]) == (415, "identity")
            assert b"`Content-Encoding`" in reply.body


@pytest.mark.parametrize("coding", ["identity", "Identity", "", "identity, identity"])
def test_bodies_said_to_be_as_they_are_are_taken(client: Client, coding: str) -> None:
    assert client.send("POST", REMEMBER, b'{"content":"x"}', Content_Encoding=coding).status == 201


def test_json_content_types_with_parameters_are_taken(client: Client) -> None:
    for kind in ("application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"):
        assert client.send("POST", REMEMBER, b'{"content":"x"}', Content_Type=kind).status == 201


@pytest.mark.parametrize(
    "query", ["limit=-1", "limit=x", "offset=1.5", "include_embeddings=yes", "tier=warmish"]
)
def test_bad_parameters_of_the_listing_get_400(client: Client, query: str) -> None:
    assert client.get(f"{LIST}?{query}").status == 400


def _exchange(server: ServerProcess, request: bytes, *, end: bool = False) -> bytes:
    """Send raw bytes; return all that comes back until the server closes or falls silent."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(request)
        if end:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
        return answer


def _head(*headers: str) -> bytes:
    lines = [f"POST {REMEMBER} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def test_an_announced_body_above_the_limit_is_refused_unread(server: ServerProcess) -> None:
    answer = _exchange(server, _head(f"Content-Length: {LIMIT_BYTES + 1}"))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"text/plain" in answer


def test_a_body_of_the_limit_is_taken(client: Client) -> None:
    frame = json.dumps({"content": "x", "padding": ""}).encode()
    body = frame[:-2] + b"p" * (LIMIT_BYTES - len(frame)) + frame[-2:]
    assert len(body) == LIMIT_BYTES
    assert client.send("POST", REMEMBER, body).status == 201


def test_an_endless_body_is_cut_off(server: ServerProcess) -> None:
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(_head("Transfer-Encoding: chunked"))
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            for _ in range(2_000):  # 131 MB, were it read
                connection.sendall(chunk)


def test_a_chunked_body_is_taken(server: ServerProcess) -> None:
    chunks = b'11\r\n{"content":"chu"}\r\n0\r\n\r\n'
    answer = _exchange(server, _head("Transfer-Encoding: chunked", "Connection: close") + chunks)
    assert answer.startswith(b"HTTP/1.1 201 ")


def test_a_body_shorter_than_announced_stores_nothing(server: ServerProcess, client: Client) -> None:
    body = b'{"content":"x","memory_space_id":"short-body"}'
    answer = _exchange(server, _head(f"Content-Length: {len(body) + 10}") + body, end=True)
    assert b" 201 " not in answer.partition(b"\r\n")[0]
    assert client.count("short-body") == 0


def test_a_body_longer_than_announced_is_cut_there(server: ServerProcess, client: Client) -> None:
    body = b'{"content":"x","memory_space_id":"long-body"}'
    answer = _exchange(server, _head(f"Content-Length: {len(body)}") + body + b"and more\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert b"HTTP/1.1 400 " in answer
    assert client.count("long-body") == 1


@pytest.mark.parametrize("length", ["-5", "99999999999999999999999", "1e3", "five"])
def test_lengths_that_are_none_are_refused(server: ServerProcess, length: str) -> None:
    assert _exchange(server, _head(f"Content-Length: {length}")).startswith(b"HTTP/1.1 400 ")
