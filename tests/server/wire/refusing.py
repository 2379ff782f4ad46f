"""What is refused, with which status, and in which shape."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

from tests.server.client import LIST, REMEMBER, numbers
from tests.server.wire import Pair, check
from tests.server.wire.storing import CONTENT_LIMIT_BYTES, EPISODES
from tests.server.wire.target import Target, kind, missing

TEXT = "text/plain"
JSON = "application/json"
BODY_LIMIT_BYTES = 2 * 1024 * 1024
BAD_NAMES = ("ab", "Upper", "a" * 65, "sp ace")


def _refuses(what: str, expected: tuple[int, str], **fields: Any) -> None:
    @check(f"remember: {what}: {expected[0]}, {expected[1]}")
    def _(at: Target) -> Pair:
        return expected, kind(at.post(**fields))


_SOME = [(-1) ** index * (index % 7 + 1) / 8 for index in range(768)]
_refuses("767 numbers", (400, JSON), embedding=_SOME[:767])
_refuses("769 numbers", (400, JSON), embedding=[*_SOME, 0.5])
_refuses("null among the numbers", (422, TEXT), embedding=[None, *_SOME[1:]])
_refuses("no content", (422, TEXT), content=...)
_refuses("content null", (422, TEXT), content=None)
_refuses("content a number", (422, TEXT), content=5)
_refuses("confidence a string", (422, TEXT), confidence="high")
_refuses("blank content", (400, JSON), content=" \n ")
_refuses("content of 100,001 bytes", (400, JSON), content="x" * (CONTENT_LIMIT_BYTES + 1))


@check("remember: broken JSON: 400, text/plain")
def _(at: Target) -> Pair:
    return (400, TEXT), kind(at.send("POST", REMEMBER, b'{"content":'))


@check("remember: no Content-Type: 415, text/plain")
def _(at: Target) -> Pair:
    body = json.dumps(at.body()).encode()
    reply = _exchange(at, len(body), body, announced_as_json=False)
    return (415, TEXT), reply[:2]


@check("remember: another Content-Type: 415, text/plain")
def _(at: Target) -> Pair:
    reply = at.send("POST", REMEMBER, json.dumps(at.body()).encode(), Content_Type="text/plain")
    return (415, TEXT), kind(reply)


@check("remember: a body of 2 MB is taken")
def _(at: Target) -> Pair:
    frame = json.dumps(at.body() | {"padding": ""}).encode()
    body = frame[:-2] + b"p" * (BODY_LIMIT_BYTES - len(frame)) + frame[-2:]
    return 201, at.send("POST", REMEMBER, body).status


@check("remember: a body above 2 MB: 413, text/plain, and the connection is closed")
def _(at: Target) -> Pair:
    return (413, TEXT, True), _exchange(at, BODY_LIMIT_BYTES + 1, b"x" * (BODY_LIMIT_BYTES + 1))


def _exchange(
    at: Target, n_bytes: int, body: bytes, *, announced_as_json: bool = True
) -> tuple[int, str, bool]:
    """Send a body; return status, media type, and whether the connection is of no use then."""
    head = {"Host": at.host, "Content-Length": str(n_bytes), **at.secret_headers}
    head |= {"Content-Type": JSON} if announced_as_json else {"Connection": "close"}
    lines = [f"POST {REMEMBER} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    with socket.create_connection((at.host, at.port), timeout=20) as connection:
        connection.sendall("\r\n".join(lines).encode())
        with contextlib.suppress(OSError):  # it may answer and close before it has read all
            connection.sendall(body)
        return *_read_head(connection), _is_closed(connection)


def _read_head(connection: socket.socket) -> tuple[int, str]:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65_536) or b"\r\n\r\n"
    first, *lines = received.partition(b"\r\n\r\n")[0].decode().lower().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    return int(first.split()[1]), fields.get("content-type", "").partition(";")[0]


def _is_closed(connection: socket.socket) -> bool:
    """Return whether the next request on the connection goes unanswered."""
    received = b""
    connection.settimeout(3)
    with contextlib.suppress(OSError):
        connection.sendall(b"GET /health/alive HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while part := connection.recv(65_536):
            received += part
    return b"HTTP/1." not in received


@check("refusals in JSON: code INVALID_MEMORY_INPUT and all fields of the envelope")
def _(at: Target) -> Pair:
    answer = at.post(embedding=numbers(at.vector())[:767]).json
    lacking = missing("code message educational_context cognitive_guidance", answer["error"])
    return ("INVALID_MEMORY_INPUT", [], []), (
        answer["error"].get("code"),
        lacking,
        missing("error documentation", answer),
    )


@check("episodes: without what: 422, text/plain")
def _(at: Target) -> Pair:
    return (422, TEXT), kind(at.post(EPISODES, when="2024-01-01T00:00:00Z", content=...))


@check("memories: without content: 400")
def _(at: Target) -> Pair:
    return 400, at.post(LIST, content=...).status


@check("memories: any JSON is read, an array has no content: 400")
def _(at: Target) -> Pair:
    return 400, at.send("POST", LIST, []).status


@check("spaces: bad names are refused in body, query, header and when made: 400")
def _(at: Target) -> Pair:
    found = {name: _statuses(at, name) for name in BAD_NAMES}
    return {name: [400] * 4 for name in BAD_NAMES}, found


def _statuses(at: Target, name: str) -> list[int]:
    body = at.body()
    return [
        at.send("POST", REMEMBER, body | {"memory_space_id": name}).status,
        at.get(LIST, space=name, limit=0).status,
        at.send("POST", REMEMBER, body, X_Memory_Space=name).status,
        at.send("POST", "/api/v1/spaces", {"id": name}).status,
    ]
