"""Articles with their embeddings as the memories that are stored: ``wiki-<key>``, confidence 0.8."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synthgen.formats.real_memories import MemoryBlock
from synthgen.wiki.articles import Article

#: What real memories are stored with; synthetic ones have 0.7.
CONFIDENCE = 0.8
TAG = "wikipedia"
#: What Wikipedia's text is under, for the document beside a file.
LICENCE = {
    "name": "CC BY-SA 4.0",
    "url": "https://creativecommons.org/licenses/by-sa/4.0/",
    "attribution": "Wikipedia contributors; each title names an article, whose history names its authors",
}


def memory_id(key: str) -> str:
    """Return the id of the memory of the article ``key``."""
    return f"wiki-{key}"


def block_of(articles: Sequence[Article], embeddings: NDArray[np.float32], language: str = "") -> MemoryBlock:
    """Return ``articles`` and their ``embeddings`` (n, d) as memories, tagged ``wikipedia``, ``language``."""
    return MemoryBlock(
        [memory_id(article.key) for article in articles],
        [article.title for article in articles],
        [article.text for article in articles],
        [article.timestamp for article in articles],
        embeddings,
        CONFIDENCE,
        (TAG, language) if language else (TAG,),
    )
