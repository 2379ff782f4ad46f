"""The application: routes to handlers, and whatever goes wrong to an answer.

Routes, fields and codes: Engram's wire, measured on orchard9/engram of 2025-11-21.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable

from synthgen.server.answers import (
    JSON_HEADERS,
    Answer,
    Refusal,
    busy,
    json_answer,
    memory_not_found,
    refusal,
    wrong_shape,
)
from synthgen.server.exchange import Gone, Request, report
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
from synthgen.server.status import health, metrics, prometheus, ruin_of, system_health, tells_damage
from synthgen.server.store import FilesLostError
from synthgen.server.traffic import SMALL_BYTES, Interrupted, Traffic

_MEMORIES = "/api/v1/memories"
_ONE_MEMORY = f"{_MEMORIES}/{{id}}"
#: Where paths begin that tell what is stored.
_TELLING = (_MEMORIES, "/api/v1/complete", "/api/v1/spaces")
_TIERS = ("hot", "warm", "cold", "all")
#: Memories of a page that is made whatever else is under way.
SMALL_PAGE = 10
#: A memory in a page, about, with its embedding and without.
_LISTED_VECTOR_BYTES, _LISTED_BYTES = 8_500, 300
_RETRY: list[tuple[str, str]] = [("retry-after", "1")]

Handler = Callable[[Request], Awaitable[Answer | None]]
Parser = Callable[[bytes, str | None], Memory]


class App:
    """What is served, over one open :class:`State`."""

    def __init__(self, state: State, traffic: Traffic) -> None:
        self._state = state
        self._traffic = traffic
        self._quirks = state.quirks
        #: Why the store can no longer be trusted or used; once known, it holds as long as this server runs.
        self._ruin = ""
        self._misbehaving = MisbehavingStore(state)
        self._read_piece = read_unordered if state.quirks.unordered_listing else read_piece
        seeking = Seeking(state)
        #: What stores, by path, all by POST: the hot path, which has no task of its own.
        self._stores: dict[str, Parser] = {
            f"{_MEMORIES}/remember": parse_memory,
            _MEMORIES: _parse_dropping if state.quirks.drop_embeddings else parse_simple_memory,
            "/api/v1/episodes/remember": parse_episode,
        }
        self._routes: dict[str, dict[str, Handler]] = {
            "/": {"GET": show_page},
            _MEMORIES: {"GET": self._list},
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
        read = {(path, method) for path, methods in self._routes.items() for method in methods}
        return read | {(path, "POST") for path in self._stores}

    def serve(self, request: Request) -> None:
        """Have ``request`` answered; never raises."""
        parse = self._stores.get(request.path) if request.method == "POST" else None
        if parse is None:
            request.task = asyncio.get_running_loop().create_task(self._serve(request))
            return
        try:
            memory = parse(request.json_body(), request.space)
        except Refusal as refused:
            request.answer(refused.answer)
        except Exception as error:
            request.answer(self._failure(request, error))
        else:
            self._store(request, memory)

    def _store(self, request: Request, memory: Memory) -> None:
        body = remembered(memory)

        def answer(error: Exception | None) -> None:
            stored = Answer(201, JSON_HEADERS, body)
            request.answer(stored if error is None else self._failure(request, error))

        if self._quirks.alter_stores:
            self._misbehaving.store(memory, answer)
        else:
            self._state.writer.submit(memory, answer)

    async def _serve(self, request: Request) -> None:
        try:
            answer = await self._answer(request)
            if answer is not None and len(answer.body) > SMALL_BYTES and self._traffic.is_full:
                raise busy("answers")
        except Refusal as refused:
            answer = refused.answer
        except Gone:
            answer = None
        except Interrupted as error:
            self._note_damage(error.__cause__)
            report(request, error)
            request.connection.abort()  # JSON that does not parse
            answer = None
        except Exception as error:
            answer = self._failure(request, error)
        request.task = None  # they know each other
        if answer is not None:
            request.answer(answer)

    async def _answer(self, request: Request) -> Answer | None:
        methods = self._routes.get(request.path, {})
        if not methods and request.path not in self._stores:
            if not request.path.startswith(f"{_MEMORIES}/"):
                return Answer(404, [], b"")
            methods = self._routes[_ONE_MEMORY]
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            allowed = [*methods, "HEAD"] if "GET" in methods else [*methods]
            allowed += ["POST"] if request.path in self._stores else []
            return Answer(405, [("allow", ",".join(allowed))], b"")
        if self._quirks.early_ack_ms and request.path.startswith(_TELLING):
            await self._misbehaving.flush()  # what was acknowledged can be read, on the disk or not
        return await handler(request)

    async def _list(self, request: Request) -> Answer | None:
        page = self._page(request)
        pieces = list(page_pieces(page))
        if page.n_returned <= SMALL_PAGE:
            body = await self._state.read(self._read_piece, page, *pieces[0])
            return Answer(200, JSON_HEADERS, page_head() + body + page_tail(page))
        is_large = (
            page.n_returned * (_LISTED_VECTOR_BYTES if page.include_embeddings else _LISTED_BYTES)
            > SMALL_BYTES
        )
        await self._traffic.send(request, self._parts(page, pieces), is_large=is_large)
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
        memory_id = request.path.removeprefix(f"{_MEMORIES}/")
        space = self._state.space(request.space)
        found = await self._state.read(find_memory, space, memory_id) if space else None
        if found is None:
            raise memory_not_found(memory_id)
        return json_answer(found)

    async def _spaces(self, request: Request) -> Answer:
        spaces = list(self._state.writer.spaces.values())
        return json_answer({"spaces": [self._state.describe(space) for space in spaces]})

    async def _create_space(self, request: Request) -> Answer:
        document = parse_object(request.json_body())
        name = document.get("id")
        if type(name) is not str:
            raise wrong_shape("id: missing, or not a string")
        space = await self._state.writer.create_space(check_space(name))
        return json_answer(self._state.describe(space), 201)

    async def settle(self) -> None:
        """Store what is not stored yet although it was acknowledged; nothing, without quirks."""
        if self._quirks.early_ack_ms:
            await self._misbehaving.flush()

    def _failure(self, request: Request, error: Exception) -> Answer:
        """Return the answer to what is not the client's fault, and say it on stderr."""
        self._note_damage(error)
        report(request, error)
        if isinstance(error, sqlite3.Error):
            return _store_failure(error).answer
        return refusal(500, "MEMORY_SYSTEM_ERROR", f"internal error ({type(error).__name__})").answer

    def _note_damage(self, error: BaseException | None) -> None:
        if tells_damage(error):
            self._ruin = self._ruin or f"{type(error).__name__}: {error}"

    async def _health(self, request: Request) -> Answer:
        self._ruin = self._ruin or ruin_of(self._state)
        return health(self._state, self._ruin)

    async def _alive(self, request: Request) -> Answer:
        return Answer(200, [], b"")

    async def _system_health(self, request: Request) -> Answer:
        self._ruin = self._ruin or ruin_of(self._state)
        return system_health(self._state, request.query.get("space"), self._ruin)

    async def _metrics(self, request: Request) -> Answer:
        return metrics(self._state)

    async def _prometheus(self, request: Request) -> Answer:
        return prometheus(self._state)


def _parse_dropping(body: bytes, space: str | None) -> Memory:
    return without_embedding(parse_simple_memory(body, space))


def _store_failure(error: sqlite3.Error) -> Refusal:
    if tells_damage(error):
        return refusal(
            500,
            "MEMORY_SYSTEM_ERROR",
            f"The database is damaged ({error}). Stop the server, restore a backup.",
        )
    if isinstance(error, FilesLostError):
        return refusal(
            503, "MEMORY_SYSTEM_ERROR", f"Nothing was stored: {error}. Stop the server, restore a backup."
        )
    if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
        return refusal(
            507,
            "MEMORY_SYSTEM_ERROR",
            "Nothing was stored: the disk is full. Free room; the server stays up.",
            _RETRY,
        )
    return refusal(
        503,
        "MEMORY_SYSTEM_ERROR",
        f"The store failed ({error}). Nothing is known to be stored: try again with the same id.",
        _RETRY,
    )
