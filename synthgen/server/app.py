"""The application: routes to handlers, and whatever goes wrong to an answer.

Routes, fields and codes: Engram's wire, measured on orchard9/engram of 2025-11-21.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from synthgen.server.answers import (
    JSON_HEADERS,
    Answer,
    Refusal,
    json_answer,
    memory_not_found,
    refusal,
    wrong_shape,
)
from synthgen.server.closing import ClosedConnections
from synthgen.server.exchange import Request, report
from synthgen.server.likeness import Likeness
from synthgen.server.misbehaving import MisbehavingStore, read_unordered, without_embedding
from synthgen.server.openapi import show_document
from synthgen.server.page import show_page
from synthgen.server.parameters import flag, natural, text
from synthgen.server.reading import MAX_PAGE, Page, find_memory, page_head, page_pieces, page_tail, read_piece
from synthgen.server.requests import (
    Memory,
    check_space,
    parse_episode,
    parse_memory,
    parse_object,
    parse_simple_memory,
    remembered,
)
from synthgen.server.seeking import Seeking
from synthgen.server.state import State
from synthgen.server.status import health, metrics, prometheus, system_health
from synthgen.server.traffic import Traffic

_MEMORIES = "/api/v1/memories"
_ONE_MEMORY = f"{_MEMORIES}/{{id}}"
_TIERS = ("hot", "warm", "cold", "all")
#: Memories of a page that is made whatever else is under way.
SMALL_PAGE = 10
_RETRY: list[tuple[str, str]] = [("retry-after", "1")]

Handler = Callable[[Request], Awaitable[Answer | None]]


class App:
    """RSGI application over one open :class:`State`."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._traffic = Traffic()
        self._quirks = state.quirks
        self._misbehaving = MisbehavingStore(state)
        self._closed = ClosedConnections()
        self._read_piece = read_unordered if state.quirks.unordered_listing else read_piece
        seeking = Seeking(state)
        self._routes: dict[str, dict[str, Handler]] = {
            "/": {"GET": show_page},
            f"{_MEMORIES}/remember": {"POST": self._remember},
            _MEMORIES: {"POST": self._remember_simply, "GET": self._list},
            "/api/v1/episodes/remember": {"POST": self._remember_episode},
            f"{_MEMORIES}/recall": {"GET": Likeness(state, seeking).recall},
            f"{_MEMORIES}/search": {"GET": seeking.search},
            "/api/v1/complete": {"POST": seeking.complete},
            "/api/v1/spaces": {"GET": self._spaces, "POST": self._create_space},
            "/health": {"GET": self._health},
            "/health/alive": {"GET": self._alive},
            "/api/v1/system/health": {"GET": self._system_health},
            "/metrics": {"GET": self._metrics},
            "/metrics/prometheus": {"GET": self._prometheus},
            _ONE_MEMORY: {"GET": self._memory},
            "/api/v1/openapi.json": {"GET": show_document},
            "/openapi.json": {"GET": show_document},
        }

    @property
    def routes(self) -> set[tuple[str, str]]:
        """Path, with ``{id}`` for what varies, and method of all that is served; HEAD goes where GET does."""
        return {(path, method) for path, methods in self._routes.items() for method in methods}

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Answer one request; never raises."""
        if self._quirks.close_after_413 and self._closed.cut(scope.client):
            return
        request = Request(scope, protocol, self._traffic)
        try:
            answer = await request.send_large(await self._answer(request))
        except Refusal as refused:
            answer = refused.answer
            if self._quirks.close_after_413 and answer.status == 413:
                answer = await self._closed.refuse(scope, protocol, answer)
        except Exception as error:
            answer = _failure(request, error)
        if answer is not None:
            request.send(answer)

    async def _answer(self, request: Request) -> Answer | None:
        methods = self._routes.get(request.path)
        if methods is None:
            if not request.path.startswith(f"{_MEMORIES}/"):
                return Answer(404, [], b"")
            methods = self._routes[_ONE_MEMORY]
        # A body is left out of answers to HEAD by the HTTP layer, which keeps their headers.
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            allowed = [*methods, "HEAD"] if "GET" in methods else [*methods]
            return Answer(405, [("allow", ",".join(allowed))], b"")
        if self._quirks.early_ack_ms and request.method == "GET":
            await self._misbehaving.flush()  # what was acknowledged can be read, on the disk or not
        return await handler(request)

    async def _remember(self, request: Request) -> Answer:
        body = await request.json_body()
        return await self._store(parse_memory(body, request.space))

    async def _remember_simply(self, request: Request) -> Answer:
        body = await request.json_body()
        memory = parse_simple_memory(body, request.space)
        if self._quirks.drop_embeddings:
            memory = without_embedding(memory)
        return await self._store(memory)

    async def _remember_episode(self, request: Request) -> Answer:
        body = await request.json_body()
        return await self._store(parse_episode(body, request.space))

    async def _store(self, memory: Memory) -> Answer:
        if self._quirks.alter_stores:
            await self._misbehaving.store(memory)
            return Answer(201, JSON_HEADERS, remembered(memory))
        durable = self._state.writer.store(memory)
        body = remembered(memory)  # while the commit is under way
        await durable
        return Answer(201, JSON_HEADERS, body)

    async def _list(self, request: Request) -> Answer | None:
        page = self._page(request)
        pieces = list(page_pieces(page))
        if page.n_returned <= SMALL_PAGE:
            body = await self._state.read(self._read_piece, page, *pieces[0])
            return Answer(200, JSON_HEADERS, page_head() + body + page_tail(page))
        await request.send_parts(self._parts(page, pieces))
        return None

    async def _parts(self, page: Page, pieces: list[tuple[int, int]]) -> AsyncIterator[bytes]:
        before = page_head()
        for start, stop in pieces:
            yield before + await self._state.read(self._read_piece, page, start, stop)
            before = b","
        yield page_tail(page)

    def _page(self, request: Request) -> Page:
        query = request.query
        tier = text(query, "tier", "hot").lower()
        if tier not in _TIERS:
            raise refusal(
                400, "BAD_REQUEST", f"Invalid tier value: '{tier[:80]}'. Use one of: {', '.join(_TIERS)}."
            )
        space = self._state.space(request.space)
        return Page(
            space=space,
            n_memories=space.n_memories if space else 0,
            offset=natural(query, "offset", 0),
            limit=min(natural(query, "limit", 100), MAX_PAGE),
            include_embeddings=flag(query, "include_embeddings"),
            tier=tier,
            n_overstated=self._misbehaving.n_overstated(space) if self._quirks.overstated_counts else 0,
        )

    async def _memory(self, request: Request) -> Answer:
        memory_id = request.path.removeprefix(f"{_MEMORIES}/")  # granian has decoded it
        space = self._state.space(request.space)
        found = await self._state.read(find_memory, space, memory_id) if space else None
        if found is None:
            raise memory_not_found(memory_id)
        return json_answer(found)

    async def _spaces(self, request: Request) -> Answer:
        spaces = list(self._state.writer.spaces.values())
        return json_answer({"spaces": [self._state.describe(space) for space in spaces]})

    async def _create_space(self, request: Request) -> Answer:
        document = parse_object(await request.json_body())
        name = document.get("id")
        if type(name) is not str:
            raise wrong_shape("id: missing, or not a string")
        space = await self._state.writer.create_space(check_space(name))
        return json_answer(self._state.describe(space), 201)

    async def settle(self) -> None:
        """Store what is not stored yet although it was acknowledged; nothing, without quirks."""
        if self._quirks.early_ack_ms:
            await self._misbehaving.flush()

    async def _health(self, request: Request) -> Answer:
        return health(self._state)

    async def _alive(self, request: Request) -> Answer:
        return Answer(200, [], b"")

    async def _system_health(self, request: Request) -> Answer:
        return system_health(self._state, request.query.get("space"))

    async def _metrics(self, request: Request) -> Answer:
        return metrics(self._state)

    async def _prometheus(self, request: Request) -> Answer:
        return prometheus(self._state)


def _failure(request: Request, error: Exception) -> Answer:
    """Return the answer to what is not the client's fault, and say it on stderr."""
    report(request, error)
    if isinstance(error, sqlite3.Error):
        return _store_failure(error).answer
    return refusal(500, "MEMORY_SYSTEM_ERROR", f"internal error ({type(error).__name__})").answer


def _store_failure(error: sqlite3.Error) -> Refusal:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return refusal(
            500,
            "MEMORY_SYSTEM_ERROR",
            f"The database is damaged ({error}). Stop the server, restore a backup.",
        )
    if name == "SQLITE_FULL":
        return refusal(
            507,
            "MEMORY_SYSTEM_ERROR",
            "Nothing was stored: the disk is full. Free room; the server stays up.",
            _RETRY,
        )
    return refusal(
        503, "MEMORY_SYSTEM_ERROR", f"Nothing was stored: the store failed ({error}). Try again.", _RETRY
    )
