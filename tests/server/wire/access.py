"""Who is let in, on a server that requires a key: run where SYNTHGEN_API_KEY holds that key."""

from __future__ import annotations

import secrets

from tests.server.client import LIST, REMEMBER
from tests.server.wire import OURS, Pair, check
from tests.server.wire.target import Target, missing

_ROUTES = (
    ("GET", LIST),
    ("POST", REMEMBER),
    ("POST", LIST),
    ("GET", f"{LIST}/x"),
    ("GET", f"{LIST}/recall?query=x"),
    ("GET", f"{LIST}/search?query=x"),
    ("GET", "/api/v1/spaces"),
    ("POST", "/api/v1/complete"),
)


def _statuses(at: Target, credentials: str | None) -> set[int]:
    return {
        at.send_as(credentials, method, path, at.body() if method == "POST" else None).status
        for method, path in _ROUTES
    }


@check("access: no key: 401, on all routes of memories and spaces", needs_key=True)
def _(at: Target) -> Pair:
    return {401}, _statuses(at, None)


@check("access: another key: 403, on all routes of memories and spaces", needs_key=True)
def _(at: Target) -> Pair:
    return {403}, _statuses(at, f"Bearer engram_key_wire_{secrets.token_hex(16)}")


@check("access: what is refused is not stored", needs_key=True)
def _(at: Target) -> Pair:
    body = at.body()
    refused = at.send_as(None, "POST", REMEMBER, body).status
    return (401, 404), (refused, at.one(body["id"]).status)


@check(
    "access: health needs no key; refusals are in the envelope, with WWW-Authenticate", OURS, needs_key=True
)
def _(at: Target) -> Pair:
    refused = at.send_as(None, "GET", LIST)
    found = missing("error documentation", refused.json), refused.headers.get("www-authenticate")
    return ([], "Bearer", 200), (*found, at.send_as(None, "GET", "/health").status)
