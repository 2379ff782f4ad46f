"""A server that is asked: one connection, spaces, ids and vectors of its own."""

from __future__ import annotations

import itertools
import os
import secrets
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
from numpy.typing import NDArray

from synthgen.specs import API_KEY_VARIABLE
from tests.server.client import LIST, REMEMBER, Client, Reply, numbers

DIMENSION = 768
#: More than all checks store: a listing that has more does not heed its offset.
MAX_LISTED = 1_000


class Target:
    """The server at ``endpoint`` (http://host:port); SYNTHGEN_API_KEY goes along as a bearer token.

    ``space`` and ``other`` are names that no server has seen before.
    """

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError("expected http://host:port")
        self.host, self.port = parts.hostname, parts.port or 80
        token = secrets.token_hex(4)
        self.space, self.other = f"wire-{token}", f"wire-{token}-other"
        self._prefix = token
        self._numbers = itertools.count()
        self._random = np.random.default_rng(int(token, 16))
        self._client = Client(self.port, host=self.host)

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._client.close()

    @property
    def secret_headers(self) -> dict[str, str]:
        """The header that says who asks, if the environment has a key."""
        key = os.environ.get(API_KEY_VARIABLE)
        return {"Authorization": f"Bearer {key}"} if key else {}

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """Send one request; after an error the next one has a connection of its own."""
        return self.send_as(self.secret_headers.get("Authorization"), method, path, body, **headers)

    def send_as(
        self, credentials: str | None, method: str, path: str, body: Any = None, **headers: str
    ) -> Reply:
        """Send one request with ``credentials``, or None, in place of the environment's."""
        if credentials is not None:
            headers["Authorization"] = credentials
        try:
            return self._client.send(method, path, body, **headers)
        except Exception:
            self._client.close()
            raise

    def get(self, path: str, **query: Any) -> Reply:
        text = "&".join(f"{name}={quote(str(value))}" for name, value in query.items())
        return self.send("GET", f"{path}?{text}" if text else path)

    def fresh_id(self) -> str:
        return f"wire-{self._prefix}-{next(self._numbers):04d}"

    def vector(self) -> NDArray[np.float32]:
        """Return a vector like none before: near-duplicates are nothing that Engram stores."""
        return self._random.standard_normal(DIMENSION).astype(np.float32)

    def body(self, **fields: Any) -> dict[str, Any]:
        """Return a good memory, with ``fields`` in place of its own; those that are ``...`` are left out."""
        memory = {
            "id": self.fresh_id(),
            "content": f"wire check {secrets.token_hex(4)}",
            "embedding": numbers(self.vector()),
            "memory_space_id": self.space,
        }
        return {name: value for name, value in (memory | fields).items() if value is not ...}

    def post(self, path: str = REMEMBER, **fields: Any) -> Reply:
        return self.send("POST", path, self.body(**fields))

    def remember(self, **fields: Any) -> dict[str, Any]:
        """Store a memory and return its body; raises when that is refused."""
        body = self.body(**fields)
        reply = self.send("POST", REMEMBER, body)
        if reply.status != 201:
            raise ValueError(f"a good memory got {reply.status}: {reply.body[:120]!r}")
        return body

    def one(self, memory_id: str, **query: Any) -> Reply:
        return self.get(f"{LIST}/{quote(memory_id, safe='')}", **({"space": self.space} | query))

    def listing(self, **query: Any) -> list[dict[str, Any]]:
        """Return all memories of the space, page by page."""
        found: list[dict[str, Any]] = []
        while len(found) < MAX_LISTED:
            asked = {"space": self.space, "tier": "all", "limit": 100, "offset": len(found)} | query
            page = self.get(LIST, **asked).json["memories"]
            found += page
            if not page:
                return found
        raise ValueError("the listing does not end")

    def listed(self, memory_id: str, **query: Any) -> list[dict[str, Any]]:
        return [memory for memory in self.listing(**query) if memory["id"] == memory_id]


def missing(fields: str, document: Any) -> list[str]:
    """Return which of ``fields``, with blanks between, ``document`` lacks."""
    return sorted(set(fields.split()) - set(document))


def kind(reply: Reply) -> tuple[int, str]:
    """Return status and media type of an answer."""
    return reply.status, reply.headers.get("content-type", "").partition(";")[0]
