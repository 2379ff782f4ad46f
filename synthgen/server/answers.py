"""Bodies of answers and the shapes of refusals, as Engram writes them.

Source of all shapes, codes and texts: Engram's wire, measured on orchard9/engram of 2025-11-21.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

Headers = list[tuple[str, str]]
JSON_HEADERS: Headers = [("content-type", "application/json")]
#: Where nothing more can be said on a connection.
CLOSE: Headers = [("connection", "close")]
TEXT_HEADERS: Headers = [("content-type", "text/plain; charset=utf-8")]

_JSON_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z
_DOCUMENTATION = {
    "api_guide": "/docs/api",
    "memory_concepts": "/docs/memory-systems",
    "examples": "/docs/examples",
}
_CONTEXTS = {
    "INVALID_MEMORY_INPUT": "Memory operations require well-formed inputs. "
    "Check the API documentation for proper request structure.",
    "MEMORY_NOT_FOUND": "Memory retrieval failed - the requested memory may have been forgotten or "
    "never encoded. Try a broader search query.",
    "BAD_REQUEST": "The request has a parameter that the server cannot take.",
    "UNAUTHORIZED": "The server was started to answer those who have its key, and the request has none.",
    "FORBIDDEN": "The server was started to answer those who have its key, and the request has another one.",
    "MEMORY_SYSTEM_ERROR": "The memory system encountered an internal error. "
    "Cognitive processes may be temporarily disrupted.",
    "MEMORY_VALIDATION_ERROR": "Memory content validation failed. "
    "Ensure your input follows cognitive encoding principles.",
}
_GUIDANCE = {
    "INVALID_MEMORY_INPUT": "Memories need meaningful content and context. "
    "Think about what makes this memory important.",
    "MEMORY_NOT_FOUND": "Try different recall cues - memories are often accessible through "
    "alternative pathways.",
    "UNAUTHORIZED": "Ask whoever runs this server for its key.",
    "FORBIDDEN": "Ask whoever runs this server for its key.",
}
_DEFAULT_GUIDANCE = "Review the memory system documentation for guidance on proper operations."


class Answer(NamedTuple):
    """One whole answer: HTTP status, headers, body."""

    status: int
    headers: Headers
    body: bytes


class Refusal(Exception):
    """A request that is answered with an error; ``answer`` is what the client gets."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def encode(document: Any) -> bytes:
    """Return ``document`` as JSON; numpy float32 keeps its shortest exact text, times end in ``Z``."""
    return orjson.dumps(document, option=_JSON_OPTIONS)


def json_answer(document: Any, status: int = 200) -> Answer:
    """Return ``document`` as an answer."""
    return Answer(status, JSON_HEADERS, encode(document))


def memory_not_found(memory_id: str) -> Refusal:
    """Return the 404 for an id that a space does not hold."""
    return refusal(404, "MEMORY_NOT_FOUND", f"Memory '{memory_id[:200]}' not found in this memory space")


def text_refusal(status: int, text: str, extra_headers: Headers | None = None) -> Refusal:
    """Return a refusal in plain text: broken JSON 400, 413, 415 and wrong shapes 422 look like this."""
    return Refusal(Answer(status, TEXT_HEADERS + (extra_headers or []), text.encode()))


def refusal(status: int, code: str, message: str, extra_headers: Headers | None = None) -> Refusal:
    """Return a refusal in Engram's error envelope."""
    error = {
        "code": code,
        "message": message,
        "educational_context": _CONTEXTS.get(code, _CONTEXTS["MEMORY_SYSTEM_ERROR"]),
        "cognitive_guidance": _GUIDANCE.get(code, _DEFAULT_GUIDANCE),
    }
    body = encode({"error": error, "documentation": _DOCUMENTATION})
    return Refusal(Answer(status, JSON_HEADERS + (extra_headers or []), body))


def invalid_input(message: str) -> Refusal:
    """Return the 400 for a value that is of the right type and yet cannot be taken."""
    return refusal(400, "INVALID_MEMORY_INPUT", message)


def wrong_shape(message: str) -> Refusal:
    """Return the 422 for JSON whose types are not those of the request."""
    return text_refusal(422, f"Failed to deserialize the JSON body into the target type: {message}")


def busy(what: str) -> Refusal:
    """Return the 503 for what there is too much of at a time."""
    headers = [*CLOSE, ("retry-after", "1")]
    return refusal(503, "MEMORY_SYSTEM_ERROR", f"Too many large {what} at a time. Try again.", headers)


def now_us() -> int:
    """Return the time in microseconds since 1970, UTC."""
    return time.time_ns() // 1_000


def time_of(time_us: int) -> datetime:
    """Return microseconds since 1970 as a time in UTC, exactly."""
    return EPOCH + timedelta(microseconds=time_us)


def confidence_category(value: float) -> str:
    """Return Engram's word for a confidence."""
    if value > 0.7:
        return "High"
    return "Medium" if value > 0.4 else "Low"


def confidence_info(value: float, reasoning: str) -> dict[str, Any]:
    """Return a confidence as Engram describes one."""
    return {"value": value, "category": confidence_category(value), "reasoning": reasoning}
