"""Bodies of JSON to Python values, their embedding without an object for each of its numbers.

A body is mostly one array of 768 numbers. It is read by itself (_numbers.c), and an integer that nobody
else can know takes its place in what is parsed. Whatever is unusual about a body, it is parsed whole: all
that is refused is refused there, and why.
"""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
import orjson

from synthgen.server._numbers import read_array_of
from synthgen.server.answers import text_refusal
from synthgen.specs import EMBEDDING_DIMENSION

_KEY = b'"embedding"'
#: Stands for an array that was read; not to be guessed, so that it is found where the array was or nowhere.
#: Odd: no float is equal to it, as which it would be read with an exponent behind it.
_STAND_IN = 2**62 + 2 * secrets.randbits(60) + 1
_STAND_IN_TEXT = str(_STAND_IN).encode()


def parse_json(body: bytes) -> Any:
    """Return what ``body`` says; the 400 for broken JSON or UTF-8.

    In place of an "embedding" of the outermost object that is 768 finite numbers, not all zero, there may be
    bytes: each number as the nearest float32, little-endian.
    """
    embedding = np.empty(EMBEDDING_DIMENSION, np.float32)
    bounds = read_array_of(body, _KEY, embedding)
    if bounds is not None:
        document = _parse_around(body, *bounds)
        if document is not None:
            document["embedding"] = embedding.tobytes()
            return document
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise text_refusal(400, f"Failed to parse the request body as JSON: {error}") from None


def _parse_around(body: bytes, start: int, stop: int) -> dict[str, Any] | None:
    """Return the object without its embedding, which is body[start:stop]; None where it is not its."""
    try:
        document = orjson.loads(body[:start] + _STAND_IN_TEXT + body[stop:])
    except orjson.JSONDecodeError:
        return None
    is_its = type(document) is dict and document.get("embedding") == _STAND_IN
    return document if is_its else None
