"""What is compared: 20 bytes a memory, so that a million memories fit anywhere.

xxh3-64 (Y. Collet) of the content in UTF-8, xxh3-64 of the embedding as float32, and the confidence's float32
bits. Equal means equal to the last bit of a float32; the tolerance is 0. A number of JSON text becomes the
nearest float64 and that the nearest float32, on both sides alike.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import xxhash
from numpy.typing import NDArray

from synthgen.ingest.listing import confidence_of, pack_embedding

#: One memory's fingerprint; 0 in ``content`` or ``embedding`` means "says nothing of it".
PRINT = np.dtype([("content", np.uint64), ("embedding", np.uint64), ("confidence", np.uint32)])
#: Confidence bits that say nothing: a NaN.
NO_CONFIDENCE = 0x7FC00000
#: Hash of the id of a row whose body names none.
NO_ID = 0

_FLOAT = struct.Struct("f")
_BITS = struct.Struct("I")

Print = tuple[int, int, int]


def hash_id(memory_id: str) -> int:
    """Return 64 bits that stand for an id (never NO_ID)."""
    return xxhash.xxh3_64_intdigest(memory_id.encode()) or 1


def fingerprint(memory: dict[str, Any]) -> Print:
    """Return content, embedding and confidence of a memory, sent or listed, as three numbers."""
    packed = pack_embedding(memory.get("embedding"))
    content = memory.get("content")
    return (
        xxhash.xxh3_64_intdigest(content.encode()) or 1 if isinstance(content, str) else 0,
        xxhash.xxh3_64_intdigest(packed) or 1 if packed is not None else 0,
        _confidence_bits(confidence_of(memory)),
    )


def _confidence_bits(confidence: float) -> int:
    if not abs(confidence) < 3e38:  # NaN, too
        return NO_CONFIDENCE
    bits: int = _BITS.unpack(_FLOAT.pack(confidence + 0.0))[0]
    return bits


def read_bodies(bodies: Sequence[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.void]]:
    """Return id hashes (n,) and fingerprints (n,) of request bodies; NO_ID where a body names no id."""
    hashes = np.zeros(len(bodies), dtype=np.uint64)
    prints: list[Print] = []
    for index, body in enumerate(bodies):
        memory = parse_body(body)
        memory_id = memory.get("id")
        if isinstance(memory_id, str):
            hashes[index] = hash_id(memory_id)
        prints.append(fingerprint(memory))
    return hashes, np.array(prints, dtype=PRINT)


def parse_body(body: bytes) -> dict[str, Any]:
    """Return a request body as an object; an empty one if it is none (the database refuses such rows)."""
    try:
        memory = orjson.loads(body)
    except ValueError:
        return {}
    return memory if isinstance(memory, dict) else {}


def differences(expected: NDArray[np.void], listed: NDArray[np.void]) -> dict[str, NDArray[np.bool_]]:
    """Return for each field which of n pairs differ; what is not expected to be anything never does."""
    nothing = {"content": 0, "embedding": 0, "confidence": NO_CONFIDENCE}
    return {
        name: (expected[name] != listed[name]) & (expected[name] != blank) for name, blank in nothing.items()
    }
