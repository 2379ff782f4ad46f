"""Real memories, and each as the body of a request: what no spec can make again, with the bits that it has.

Every number of an embedding is written as the shortest decimal that means its float32, so that what is read
back has the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray


@dataclass(frozen=True)
class MemoryBlock:
    """Some memories by column: ``ids``, ``titles``, ``contents`` and ``timestamps`` (n; RFC 3339, empty where
    unknown), ``embeddings`` (n, d) float32; ``confidence`` and ``tags`` are those of all.
    """

    ids: Sequence[str]
    titles: Sequence[str]
    contents: Sequence[str]
    timestamps: Sequence[str]
    embeddings: NDArray[np.float32]
    confidence: float
    tags: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


def encode_memories(block: MemoryBlock) -> list[bytes]:
    """Return the memories of ``block`` as request bodies: a JSON object each, on one line, no newline.

    Keys: id, content, embedding, confidence, and where known timestamp and tags (fields of Engram's
    ``POST /api/v1/memories/remember``). What is no text in UTF-8 (a lone surrogate) becomes ``?``.
    """
    fixed = {"confidence": block.confidence}
    tags = {"tags": list(block.tags)} if block.tags else {}
    rows = zip(
        block.ids, block.contents, block.timestamps, np.ascontiguousarray(block.embeddings), strict=True
    )
    return [
        _dump(
            {"id": memory_id, "content": content, "embedding": vector}
            | fixed
            | ({"timestamp": timestamp} if timestamp else {})
            | tags
        )
        for memory_id, content, timestamp, vector in rows
    ]


def decode_memories(bodies: Sequence[bytes]) -> MemoryBlock:
    """Return request bodies (one or more, with equal confidence and tags) by column.

    A title is the first line of a content, as it is of every article.
    """
    memories = [orjson.loads(body) for body in bodies]
    contents = [memory["content"] for memory in memories]
    return MemoryBlock(
        [memory["id"] for memory in memories],
        [content.split("\n", 1)[0] for content in contents],
        contents,
        [memory.get("timestamp", "") for memory in memories],
        np.array([memory["embedding"] for memory in memories], np.float32),
        memories[0]["confidence"],
        tuple(memories[0].get("tags", ())),
    )


def _dump(memory: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(memory, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:
        mended = {key: mend_text(value) if isinstance(value, str) else value for key, value in memory.items()}
        return orjson.dumps(mended, option=orjson.OPT_SERIALIZE_NUMPY)


def mend_text(text: str) -> str:
    """Return ``text`` as UTF-8 can say it: what is none (a lone surrogate) is ``?``."""
    return text.encode("utf-8", "replace").decode()
