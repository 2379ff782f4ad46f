"""Request bodies checked and turned into memories.

Limits and answers: Engram's wire, measured on orchard9/engram of 2025-11-21; stricter than it in
three places, on purpose: a zero or non-finite vector, a confidence outside [0, 1] and an empty id
are refused with 400.
"""

from __future__ import annotations

import re
import secrets
import struct
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import orjson

from synthgen.server.answers import (
    EPOCH,
    MICROSECOND,
    Refusal,
    confidence_info,
    encode,
    invalid_input,
    now_us,
    time_of,
    wrong_shape,
)
from synthgen.server.bodies import parse_json
from synthgen.specs import EMBEDDING_DIMENSION

MAX_CONTENT_BYTES = 100_000
MAX_ID_BYTES = 1_024
DEFAULT_CONFIDENCE = 0.7
DEFAULT_IMPORTANCE = 0.5
DEFAULT_SPACE = "default"
#: What a space may be called, as a regular expression for the whole name.
SPACE_NAME = "[a-z0-9_-]{3,64}"

_BYTES_PER_CHARACTER = 4  # the most that UTF-8 needs
_SPACE_NAME = re.compile(SPACE_NAME)
#: RFC 3339, section 5.6, where "T" and "Z" may be small; what it looks like, not yet whether it exists.
_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:)(\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_FLOATS = struct.Struct(f"<{EMBEDDING_DIMENSION}f")
_BYTES_OF_ZEROS = b"\x00\x80"  # 0.0 and -0.0
_ZERO = struct.pack("<f", 0.0)
_ONE = struct.pack("<f", 1.0)
_REASONING = "Default confidence for user-provided memory"
_LINKS = {"consolidation": "/api/v1/consolidations"}


class Memory(NamedTuple):
    """One memory on its way into the store; times in microseconds since 1970, UTC.

    ``embedding`` is 768 little-endian float32, or None where none was sent; ``details`` a JSON
    object of what the store keeps but does not interpret (tags and the like), or None.
    """

    space: str
    id: str
    content: str
    confidence: float
    observed_at_us: int
    stored_at_us: int
    memory_type: str
    details: str | None
    embedding: bytes | None


def check_space(name: str) -> str:
    """Return ``name`` if it may name a space (3 to 64 of a-z 0-9 _ -), else raise the 400."""
    if not _SPACE_NAME.fullmatch(name):
        raise invalid_input(
            f"Invalid memory space ID '{name[:80]}': use 3 to 64 of lowercase letters, digits, '_' and '-'."
        )
    return name


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in ``body``; 400 for broken JSON or UTF-8, 422 for another type."""
    document = parse_json(body)
    if type(document) is not dict:
        raise wrong_shape("invalid type: expected an object")
    return document


def parse_memory(body: bytes, space: str | None) -> Memory:
    """Return the memory in a body of POST /memories/remember; ``space`` overrules the body's."""
    return _memory(parse_object(body), space)


def parse_simple_memory(body: bytes, space: str | None) -> Memory:
    """Return the memory in a body of POST /memories, where missing content is a 400 of its own."""
    document = parse_json(body)
    if type(document) is not dict or type(document.get("content")) is not str:
        raise invalid_input("Missing 'content' field")
    return _memory(document, space)


def _memory(document: dict[str, Any], space: str | None) -> Memory:
    stored_at_us = now_us()
    _check_linking(document)
    return Memory(
        _space(document, space),
        _identifier(document, "mem_"),
        _content(document, "content"),
        _fraction(document, "confidence", DEFAULT_CONFIDENCE),
        _time(document, "timestamp", stored_at_us),
        stored_at_us,
        _text(document, "memory_type") or "semantic",
        _details(document, ("confidence_reasoning", "tags")),
        _embedding(document),
    )


def parse_episode(body: bytes, space: str | None) -> Memory:
    """Return the memory in a body of POST /episodes/remember."""
    document = parse_object(body)
    if document.get("when") is None:
        raise wrong_shape("missing field `when`")
    stored_at_us = now_us()
    return Memory(
        _space(document, space),
        _identifier(document, "ep_"),
        _content(document, "what"),
        _fraction(document, "importance", DEFAULT_IMPORTANCE),
        _time(document, "when", stored_at_us),
        stored_at_us,
        "episodic",
        _details(document, ("where_location", "who", "why", "how", "emotional_valence")),
        _embedding(document),
    )


def _space(document: dict[str, Any], overruling: str | None) -> str:
    if overruling is not None:
        return overruling
    name = _text(document, "memory_space_id")
    return DEFAULT_SPACE if name is None else check_space(name)


def remembered(memory: Memory) -> bytes:
    """Return the body of the 201 for ``memory``."""
    reasoning = _REASONING
    if memory.details and "confidence_reasoning" in memory.details:
        reasoning = orjson.loads(memory.details).get("confidence_reasoning", _REASONING)
    return encode(
        {
            "memory_id": memory.id,
            "storage_confidence": confidence_info(memory.confidence, reasoning),
            "consolidation_state": "Recent",
            "observed_at": time_of(memory.observed_at_us),
            "stored_at": time_of(memory.stored_at_us),
            "links": _LINKS,
            "auto_links": [],
            "system_message": f"Memory '{memory.id}' durably stored.",
        }
    )


def pack_embedding(values: Any) -> bytes:
    """Return 768 numbers as float32 (each rounded to the nearest), little-endian.

    Raises the 400 for a wrong number of them and for vectors that have no direction (all zero, not
    finite in float32), the 422 for anything but numbers.
    """
    if type(values) is not list:
        raise wrong_shape("embedding: expected a sequence of numbers")
    if len(values) != EMBEDDING_DIMENSION:
        raise invalid_input(f"Embedding must be exactly {EMBEDDING_DIMENSION} dimensions, got {len(values)}")
    try:
        packed = _FLOATS.pack(*values)
    except struct.error:
        raise wrong_shape("embedding: expected numbers") from None
    except OverflowError:
        raise invalid_input("Embedding must be finite: a number does not fit a 32-bit float") from None
    # A boolean packs as 0 or 1; looking at 768 types costs more than all the rest, so only then.
    if (_ZERO in packed or _ONE in packed) and any(type(value) is bool for value in values):
        raise wrong_shape("embedding: invalid type: boolean, expected a number")
    # JSON has no infinity and the packing refuses overflow, so that zero is all that is left to fear.
    if not packed.strip(_BYTES_OF_ZEROS) and not np.frombuffer(packed, np.float32).any():
        raise invalid_input("Embedding must not be all zero: it has no direction")
    return packed


def _embedding(document: dict[str, Any]) -> bytes | None:
    values = document.get("embedding")
    return values if values is None or type(values) is bytes else pack_embedding(values)


def _text(document: dict[str, Any], field: str) -> str | None:
    value = document.get(field)
    if value is not None and type(value) is not str:
        raise wrong_shape(f"{field}: invalid type, expected a string")
    return value


def _identifier(document: dict[str, Any], prefix: str) -> str:
    value = _text(document, "id")
    if value is None:
        return prefix + secrets.token_hex(16)
    if not value:
        raise invalid_input("Memory ID cannot be empty; leave it out to have one made.")
    if _too_long(value, MAX_ID_BYTES):
        raise invalid_input(f"Memory ID too long (>{MAX_ID_BYTES:,} bytes)")
    return value


def _content(document: dict[str, Any], field: str) -> str:
    value = _text(document, field)
    if value is None:
        raise wrong_shape(f"missing field `{field}`")
    if not value or value.isspace():
        raise invalid_input("Memory content cannot be empty.")
    if _too_long(value, MAX_CONTENT_BYTES):
        raise invalid_input(
            "Memory content too large (>100KB). Consider breaking this into smaller memories."
        )
    return value


def _too_long(text: str, limit_bytes: int) -> bool:
    return len(text) * _BYTES_PER_CHARACTER > limit_bytes and len(text.encode()) > limit_bytes


def _fraction(document: dict[str, Any], field: str, default: float) -> float:
    value = document.get(field)
    if value is None:
        return default
    if type(value) is not float and type(value) is not int:
        raise wrong_shape(f"{field}: invalid type, expected a number")
    if not 0 <= value <= 1:
        raise invalid_input(f"{field} must be from 0 to 1, got {value}")
    return float(value)


def _time(document: dict[str, Any], field: str, default_us: int) -> int:
    value = _text(document, field)
    if value is None:
        return default_us
    try:
        found = _TIME.fullmatch(value)
        if found is None:
            raise ValueError("expected such as 2024-02-29T12:00:00Z")
        minute, second, _, zone = found.groups()
        is_leap = second == "60"  # the first instant of the next minute, as in POSIX: datetime has none
        text = f"{minute}00{zone}" if is_leap else value
        # Through UTC, so that a time whose year is 0 or 10000 there is refused and not stored: it could
        # never be shown again.
        time = datetime.fromisoformat(text.upper()).astimezone(UTC) + timedelta(minutes=is_leap)
        return (time - EPOCH) // MICROSECOND
    except (ValueError, OverflowError) as error:
        raise wrong_shape(f"{field}: not an RFC 3339 time ({error})") from None


def _check_linking(document: dict[str, Any]) -> None:
    """See that what asks for links has the types of the wire; this server makes none."""
    auto_link, threshold = document.get("auto_link"), document.get("link_threshold")
    if auto_link is not None and type(auto_link) is not bool:
        raise wrong_shape("auto_link: expected a boolean")
    if threshold is not None and type(threshold) not in (int, float):
        raise wrong_shape("link_threshold: expected a number")


def _details(document: dict[str, Any], fields: tuple[str, ...]) -> str | None:
    kept = {field: document[field] for field in fields if document.get(field) is not None}
    if not kept:
        return None
    tags = kept.get("tags", [])
    if type(tags) is not list or any(type(tag) is not str for tag in tags):
        raise wrong_shape("tags: expected a sequence of strings")
    if type(kept.get("confidence_reasoning", "")) is not str:
        raise wrong_shape("confidence_reasoning: expected a string")
    try:
        return encode(kept).decode()
    except TypeError as error:  # orjson reads deeper nesting than it writes
        raise wrong_shape(f"{', '.join(kept)}: nested too deeply ({error})") from None


__all__ = [
    "DEFAULT_SPACE",
    "Memory",
    "Refusal",
    "check_space",
    "pack_embedding",
    "parse_episode",
    "parse_memory",
    "parse_object",
    "parse_simple_memory",
    "remembered",
]
