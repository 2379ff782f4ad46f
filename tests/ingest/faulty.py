"""A real HTTP server on loopback that misbehaves as told, stores into a dict, and can list it.

It runs an asyncio loop in a thread. ``misbehave(n, row)`` is asked what to do to the n-th POST (0-based,
counted over all connections), before its body is read (row -1) and after; None means to behave. ``lie``
distorts what is stored or listed, in ways that `synthgen serve --quirks` does not (see test_quirks.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Misbehave = Callable[[int, int], "str | None"]
_REASONS = {201: "Created", 200: "OK"}


def behave(n: int, row: int) -> str | None:
    return None


def sometimes(share: float, *actions: str, seed: int = 0, first: int = 0) -> Misbehave:
    """Do one of ``actions`` to a share of the requests from number ``first`` on, by a seeded schedule."""

    def misbehave(n: int, row: int) -> str | None:
        rng = random.Random(f"{seed} {n}")
        return rng.choice(actions) if n >= first and rng.random() < share else None

    return misbehave


def during(first: int, stop: int, *actions: str) -> Misbehave:
    """Do ``actions`` in turn to the requests from number ``first`` to ``stop``."""
    return lambda n, row: actions[n % len(actions)] if first <= n < stop else None


def to_rows(actions: dict[int, str]) -> Misbehave:
    """Do something to certain rows, whenever they come."""
    return lambda n, row: actions.get(row)


@dataclass(frozen=True)
class _Request:
    target: str
    fields: dict[str, str]
    body: bytes


@dataclass
class FaultyServer:
    """See the module. ``stored``: memories by space and id, in order of arrival."""

    misbehave: Misbehave = behave
    lie: str = ""
    routes: tuple[str, ...] = ("/api/v1/memories/remember",)
    service: str = "engram"
    token: str = ""
    page_limit: int = 1_000
    max_body_bytes: int = 2**40
    host: str = "127.0.0.1"
    slow_until: int = 0
    stored: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    n_posts: int = 0
    n_stores: int = 0
    n_connections: int = 0
    n_pages: int = 0
    heads: list[str] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._rng = random.Random(1)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ids(self, space: str = "default") -> set[str]:
        return set(self.stored.get(space, {}))

    def ids_in_order(self) -> list[str]:
        return list(self.stored["default"])

    # --- life

    def listen(self) -> None:
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def vanish(self) -> None:
        """Stop listening and reset every connection; what is stored stays."""
        asyncio.run_coroutine_threadsafe(self._vanish(), self._loop).result()

    def vanish_for(self, seconds: float) -> None:
        """Vanish now and come back by itself; to be called within the loop's thread."""
        self._keep(self._vanish_for(seconds))

    async def _vanish_for(self, seconds: float) -> None:
        await self._vanish()
        await asyncio.sleep(seconds)
        await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.host, self.port, limit=2**24, backlog=200)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _vanish(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            _reset(writer)

    def _keep(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- one connection

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.n_connections += 1
        self._writers.add(writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._one(reader, writer):
                    pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, _ = head.split(" ", 2)
        fields = {
            name.lower(): value
            for name, _, value in (line.partition(": ") for line in head.split("\r\n")[1:])
            if value
        }
        length = int(fields.get("content-length", "0"))
        if method == "GET":
            self._answer(writer, *self._get(target, fields))
            return True
        self.heads.append(head)
        n, self.n_posts = self.n_posts, self.n_posts + 1
        if length > self.max_body_bytes:  # answered and closed with most of the body unread
            self._answer(writer, 413, {"error": {"code": "SCRIPTED", "message": "413"}})
            return _close(writer)
        early = self.misbehave(n, -1)
        if early == "reset before body":
            return _reset(writer)
        if early == "reset during body":
            await reader.readexactly(length // 2)
            return _reset(writer)
        slowly = early == "read slowly"
        body = await (self._read_slowly(reader, length) if slowly else reader.readexactly(length))
        request = _Request(target, fields, body)
        action = None if slowly else self.misbehave(n, _row_of(body))
        if action is None:
            return self._store_and_answer(request, writer)
        return await self._act(action, request, writer)

    async def _read_slowly(self, reader: asyncio.StreamReader, length: int) -> bytes:
        """At about 1 kB/s; the last part when ``slow_until`` memories were stored."""
        body = b""
        while (left := length - len(body)) > 0:
            if left > 100 or self.n_stores >= self.slow_until:
                body += await reader.readexactly(min(100, left))
            await asyncio.sleep(0.1)
        return body

    async def _act(self, action: str, request: _Request, writer: asyncio.StreamWriter) -> bool:
        kind, _, argument = action.partition(" ")
        if kind.isdigit():
            extra = f"Retry-After: {argument}\r\n" if argument else ""
            self._answer(writer, int(kind), {"error": {"code": "SCRIPTED", "message": action}}, extra)
            return kind != "413" or _close(writer)
        if action == "vanish":
            self.vanish_for(0.7)
            return False
        if action == "silence":
            await asyncio.sleep(3600)
        if action == "reset after body":
            return _reset(writer)
        if action == "reset after storing":
            self._store(request)
            return _reset(writer)
        if action == "close when idle":
            self._store_and_answer(request, writer)
            return _close(writer)
        if action == "say close and go deaf":
            self._store(request)
            writer.write(b"HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
            await asyncio.sleep(3600)
        return await self._garble(action, request, writer)

    async def _garble(self, action: str, request: _Request, writer: asyncio.StreamWriter) -> bool:
        self._store(request)
        sound = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
        raw = {
            "truncated head": sound[:30],
            "truncated body": sound.replace(b"h: 2", b"h: 200"),
            "malformed": b"ICY 200 OK\r\nrhubarb\r\n\r\n",
            "too short a length": sound.replace(b"h: 2", b"h: 1"),
            "too long a length": sound.replace(b"h: 2", b"h: 7"),
            "two answers": sound * 2,
            "endless body": b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n",
            "endless head": b"HTTP/1.1 201 Created\r\n",
        }[action]
        writer.write(raw)
        if action.startswith("endless"):
            piece = (
                b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n" if action == "endless body" else b"X-Pad: " + b"y" * 999
            )
            while True:
                writer.write(piece + b"\r\n" if action == "endless head" else piece)
                await writer.drain()
        if action == "too long a length":
            await asyncio.sleep(3600)
        return _close(writer) if action.startswith("truncated") else True

    # --- what it keeps

    def _store_and_answer(self, request: _Request, writer: asyncio.StreamWriter) -> bool:
        if self.token and request.fields.get("authorization") != f"Bearer {self.token}":
            self._answer(writer, 401, {"error": {"code": "UNAUTHORIZED", "message": "no"}})
        elif urlsplit(request.target).path not in self.routes:
            self._answer(writer, 404, {"error": {"code": "NO_ROUTE", "message": "no such route"}})
        else:
            memory_id = self._store(request)
            self._answer(writer, 201, {"memory_id": memory_id})
        return True

    def _store(self, request: _Request) -> str:
        fields, body = request.fields, request.body
        memory = json.loads(body)
        self.n_stores += 1
        if self.lie == "drops embeddings":
            memory["embedding"] = [0.5] * len(memory["embedding"])
        if self.lie == "drops ids":
            memory["id"] = f"mem_{self.n_stores}"
        self.stored.setdefault(fields.get("x-memory-space", "default"), {})[memory["id"]] = memory
        return str(memory["id"])

    def _get(self, target: str, fields: dict[str, str]) -> tuple[int, dict[str, Any]]:
        url = urlsplit(target)
        memories = self.stored.get(fields.get("x-memory-space", "default"), {})
        if url.path == "/health":
            return 200, {"status": "healthy", "service": self.service, "version": "0"}
        if url.path != "/api/v1/memories":
            memory = memories.get(unquote(url.path.rsplit("/", 1)[1]))
            return (200, _without_embedding(memory)) if memory else (404, {})
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        return 200, self._listing(list(memories.values()), query)

    def _listing(self, memories: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
        total = len(memories)
        self.n_pages += 1
        if self.lie == "lists in any order":
            self._rng.shuffle(memories)  # anew for each page: repeats and gaps between pages
        if self.lie == "lists one twice":
            memories = [*memories, *memories[3:4]]
        offset = 0 if self.lie == "ignores the offset" else int(query.get("offset", "0"))
        limit = min(int(query.get("limit", "100")), self.page_limit)
        page = memories[offset : offset + (1 if self.lie == "lists one a page" else limit)]
        if query.get("include_embeddings") != "true" or self.lie == "lists no embeddings":
            page = [_without_embedding(memory) for memory in page]
        counts = {"hot": total, "total": total}
        return {"memories": page, "count": len(page), "tier_counts": counts}

    def _answer(
        self, writer: asyncio.StreamWriter, status: int, document: dict[str, Any], extra: str = ""
    ) -> None:
        body = json.dumps(document).encode()
        head = f"HTTP/1.1 {status} {_REASONS.get(status, 'Scripted')}\r\n{extra}"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    # --- the thread

    def run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def end(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _end(self) -> None:
        await self._vanish()
        mine = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not mine]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def close_loop(self) -> None:
        self._loop.close()


@contextlib.contextmanager
def faulty_server(**settings: Any) -> Iterator[FaultyServer]:
    """Run a server while the block lasts."""
    server = FaultyServer(**settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    server.listen()
    try:
        yield server
    finally:
        server.end()
        thread.join()
        server.close_loop()


def _without_embedding(memory: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in memory.items() if name != "embedding"}


def _row_of(body: bytes) -> int:
    try:
        return int(json.loads(body)["id"].rsplit("-", 1)[1])
    except (ValueError, KeyError, TypeError, IndexError):
        return -2


def _reset(writer: asyncio.StreamWriter) -> bool:
    connection = writer.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


def _close(writer: asyncio.StreamWriter) -> bool:
    writer.close()
    return False
