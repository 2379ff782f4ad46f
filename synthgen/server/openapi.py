"""The server described by itself: an OpenAPI 3.1 document, served at ``/api/v1/openapi.json``.

One entry of ``OPERATIONS`` is one route and method, with all statuses that it may answer by itself. Nothing
here is derived from the routing table of ``app``: tests hold the two against each other, and hold what the
running server answers against what is written here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from synthgen import __version__
from synthgen.server.answers import Answer, json_answer
from synthgen.server.exchange import Request
from synthgen.server.incoming import MAX_HEAD_BYTES, MAX_HEADERS, MAX_TARGET_BYTES
from synthgen.server.parameters import MAX_NATURAL
from synthgen.server.schemas import BOOLEAN, NATURAL, NUMBER, SPACE, STRING, Schema, ref, schemas
from synthgen.server.texts import MAX_QUERY_WORDS, MAX_WEIGHED_WORDS

_DESCRIPTION = """\
Engram's HTTP interface over one SQLite file. A memory is on disk before its 201 leaves; the same id
replaces. The space of a request is that of the header `X-Memory-Space`, else of `?space=`, else of the
body's `memory_space_id`, else `default`; storing makes it. HEAD answers what GET does, without the body.
A method that a path does not have gets 405 with `Allow`, and a path that is not named here 404, both without
a body. What is wrong with a request before anybody asks where it goes is told in plain text, by 400, 408,
413, 414, 431 or 501, and the connection is closed; `components.responses` has what each says.
A server that was started to require its key answers everything without it by 401, also paths that are not
named here; open to all are `/`, `/health` and `/health/alive`. Any other server passes over keys.
One on loopback without a key answers what may be a browser (it sends `Accept-Encoding`) by 421 where it calls
it other than localhost, an IP address or its --host.
"""
_JSON = "application/json"
_TEXT = "text/plain"
_ERROR = {_JSON: {"schema": ref("Error")}}
_PLAIN = {_TEXT: {"schema": STRING}}

#: What a refusal says, by its status, and in which content types.
_REFUSALS: dict[int, tuple[str, dict[str, Any]]] = {
    304: ("What the client has is what there is", {}),
    400: ("A value that cannot be taken; in plain text: broken JSON, parameters or HTTP", _ERROR | _PLAIN),
    401: ("The server requires its key, and none was sent", _ERROR),
    403: ("The key that was sent is not the server's", _ERROR),
    404: ("No such memory in this space", _ERROR),
    408: ("The body was not whole in time; the connection is closed", _PLAIN),
    413: ("The body has more than 2 MB; the connection is closed", _PLAIN),
    414: (f"The target has more than {MAX_TARGET_BYTES:,} bytes; the connection is closed", _PLAIN),
    415: ("The body is not announced as JSON, or is compressed", _PLAIN),
    422: ("JSON of another shape; as an error object: a cue that is too weak", _ERROR | _PLAIN),
    431: (
        f"The head has more than {MAX_HEAD_BYTES:,} bytes or {MAX_HEADERS} fields; the connection is closed",
        _PLAIN,
    ),
    500: ("An error of the server", _ERROR),
    501: ("The body comes in a transfer coding other than `chunked`; the connection is closed", _PLAIN),
    503: ("The store failed, or too much is under way; nothing was stored", _ERROR),
    507: ("The disk is full; nothing was stored", _ERROR),
}
#: Of any operation: where the server requires its key; and what is found before it is looked which one it is.
_KEYED = (401, 403)
_ALWAYS = (414, 431, 501)
_BEARER = "bearer"
_SECURITY_SCHEMES = {
    _BEARER: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "engram_key_<id>_<secret>",
        "description": "The key, where the server was started to require one.",
    }
}
_CHALLENGE = {"WWW-Authenticate": {"schema": {"const": "Bearer"}}}
_READ = (400, 500, 503)
_BODY = (400, 408, 413, 415, 422, 500, 503)
_WRITE = (*_BODY, 507)


def _query(name: str, schema: Schema, *, required: bool = False, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": schema, **more}


_SPACE = [
    {"name": "X-Memory-Space", "in": "header", "schema": SPACE},
    _query("space", SPACE),
]
_WORDS = (
    "Words, of which a memory has any; case and accents do not count. Of more than "
    f"{MAX_QUERY_WORDS} distinct ones the rarest of the first {MAX_WEIGHED_WORDS:,} count."
)
_CUES = (
    "One of `query`, `embedding` and `like` is needed. Beside `query` an `embedding` is passed over, as on "
    "Engram; `like` beside either gets 400."
)
_COUNT = NATURAL | {"maximum": MAX_NATURAL}
_PAGE = [
    *_SPACE,
    _query("tier", {"type": "string", "enum": ["hot", "warm", "cold", "all"], "default": "hot"}),
    _query("offset", _COUNT | {"default": 0}),
    _query("limit", _COUNT | {"default": 100}, description="At most 1,000; more is as 1,000."),
    _query("include_embeddings", BOOLEAN | {"default": False}),
]
_RECALL = [
    *_SPACE,
    _query("query", STRING, description=f"{_CUES} {_WORDS}"),
    _query("like", STRING, description="Id of a stored memory, whose embedding is taken; not on Engram."),
    {
        "name": "embedding",
        "in": "query",
        "content": {_JSON: {"schema": ref("Embedding")}},
        "description": "Counts where there is no `query`.",
    },
    _query("max_results", _COUNT | {"default": 10}, description="At most 1,000; more is as 1,000."),
    _query(
        "threshold",
        NUMBER,
        description="The least `similarity_score`; without it, there is none. Engram takes 0.5 then, which "
        "would hide true neighbours.",
    ),
    _query("mode", {"type": "string", "enum": ["exact", "similarity"]}),
    _query("include_metadata", BOOLEAN | {"default": False}),
]
_SEARCH = [
    *_SPACE,
    _query("query", STRING, required=True, description=_WORDS),
    _query("limit", _COUNT | {"default": 10}, description="At most 1,000; more is as 1,000."),
]
_ID = {"name": "id", "in": "path", "required": True, "schema": STRING | {"minLength": 1}}


@dataclass(frozen=True, slots=True)
class Operation:
    """One route and method; ``answer`` and ``request`` are names of schemas.

    Without ``answer`` the success has no body, unless ``media_type`` says another. ``needs_key``: where the
    server was started to require one. ``unusable``: what a 503 says that is an answer like the good one.
    """

    name: str
    summary: str
    status: int = 200
    answer: str | None = None
    request: str | None = None
    parameters: list[dict[str, Any]] = field(default_factory=list)
    refusals: tuple[int, ...] = ()
    media_type: str = _JSON
    schema: Schema | None = None
    needs_key: bool = True
    unusable: str = ""


def _storing(name: str, summary: str, request: str) -> Operation:
    return Operation(name, summary, 201, "Remembered", request, _SPACE, _WRITE)


_OPENAPI = Operation("openapi", "This document", schema={"type": "object"})

OPERATIONS: dict[str, dict[str, Operation]] = {
    "/": {
        "GET": Operation(
            "page",
            "A page for people",
            refusals=(304,),
            media_type="text/html",
            schema=STRING,
            needs_key=False,
        )
    },
    "/api/v1/memories/remember": {"POST": _storing("remember", "Store a memory", "RememberRequest")},
    "/api/v1/memories": {
        "POST": _storing("rememberSimply", "Store a memory, as remember does", "RememberRequest"),
        "GET": Operation("list", "A page of memories, oldest first", 200, "MemoryPage", None, _PAGE, _READ),
    },
    "/api/v1/memories/{id}": {
        "GET": Operation("get", "One memory", 200, "Memory", None, [_ID, *_SPACE], (*_READ, 404))
    },
    "/api/v1/episodes/remember": {
        "POST": _storing("rememberEpisode", "Store what happened when", "EpisodeRequest")
    },
    "/api/v1/memories/recall": {
        "GET": Operation(
            "recall",
            "Memories like a vector, or with words",
            200,
            "RecallResult",
            None,
            _RECALL,
            (*_READ, 404),
        )
    },
    "/api/v1/memories/search": {
        "GET": Operation("search", "Memories with words", 200, "SearchResult", None, _SEARCH, _READ)
    },
    "/api/v1/complete": {
        "POST": Operation(
            "complete",
            "The memory that agrees with a vector's known components",
            200,
            "Completion",
            "CompleteRequest",
            _SPACE,
            _BODY,
        )
    },
    "/api/v1/spaces": {
        "GET": Operation("listSpaces", "All spaces", 200, "Spaces", refusals=(503,)),
        "POST": Operation("createSpace", "Make a space", 201, "Space", "SpaceRequest", [], _WRITE),
    },
    "/health": {
        "GET": Operation(
            "health",
            "How the server is",
            200,
            "Health",
            needs_key=False,
            unusable="The same of a server whose store is damaged, or which cannot write any more",
        )
    },
    "/health/alive": {"GET": Operation("alive", "Nothing but 200", needs_key=False)},
    "/api/v1/system/health": {
        "GET": Operation(
            "systemHealth", "How each space is", 200, "SystemHealth", None, _SPACE[1:], (400, 503)
        )
    },
    "/metrics": {"GET": Operation("metrics", "Figures of the server", 200, "Metrics", refusals=(503,))},
    "/metrics/prometheus": {
        "GET": Operation("prometheus", "The same for Prometheus", media_type=_TEXT, schema=STRING)
    },
    "/api/v1/openapi.json": {"GET": _OPENAPI},
    "/openapi.json": {"GET": _OPENAPI},
}


def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the server; the same for every process of a version."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "synthgen embedded server", "version": __version__, "description": _DESCRIPTION},
        "paths": {
            path: {method.lower(): _described(path, operation) for method, operation in methods.items()}
            for path, methods in OPERATIONS.items()
        },
        "components": {
            "schemas": schemas(),
            "responses": {_name(status): _refusal(status) for status in _REFUSALS},
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def _name(status: int) -> str:
    return f"Status{status}"


def _refusal(status: int) -> dict[str, Any]:
    text, content = _REFUSALS[status]
    described: dict[str, Any] = {"description": text}
    if content:
        described["content"] = content
    if status == 401:
        described["headers"] = _CHALLENGE
    return described


def _described(path: str, operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name if path != "/openapi.json" else f"{operation.name}AtRoot",
        "summary": operation.summary,
        "responses": {str(operation.status): _success(operation)},
    }
    if operation.parameters:
        described["parameters"] = operation.parameters
    if operation.request is not None:
        content = {_JSON: {"schema": ref(operation.request)}}
        described["requestBody"] = {"required": True, "content": content}
    responses = described["responses"]
    for status in (*operation.refusals, *(_KEYED if operation.needs_key else ()), *_ALWAYS):
        responses[str(status)] = {"$ref": f"#/components/responses/{_name(status)}"}
    if operation.needs_key:
        described["security"] = [{_BEARER: []}, {}]  # {}: without, where the server requires none
    if operation.unusable:
        responses["503"] = _success(operation) | {"description": operation.unusable}
    return described


def _success(operation: Operation) -> dict[str, Any]:
    schema = ref(operation.answer) if operation.answer is not None else operation.schema
    if schema is None:
        return {"description": operation.summary}
    return {"description": operation.summary, "content": {operation.media_type: {"schema": schema}}}


async def show_document(request: Request) -> Answer:
    """Answer GET /api/v1/openapi.json."""
    return _answer()


@cache
def _answer() -> Answer:
    return json_answer(document())
