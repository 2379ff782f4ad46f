"""Articles for tests, and an embedder without a model: vectors that follow from the text alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from synthgen.wiki.articles import Article
from synthgen.wiki.embedding_cache import article_key

DIMENSION = 16
MODEL = "ab" * 32


def make_article(i: int, text: str | None = None) -> Article:
    return Article(str(i), f"r{i}", f"Title {i}", "", text if text is not None else f"Title {i}\nText of {i}")


def make_articles(n: int) -> list[Article]:
    return [make_article(i) for i in range(n)]


class HashingEmbedder:
    """Vectors of the SHA-256 of a text, in batches of ``batch``, the last batch of a window first."""

    dimension = DIMENSION
    model_digest = MODEL

    def __init__(self, window: int = 8, batch: int = 3) -> None:
        self.window = window
        self.batch = batch
        self.prepared: list[int] = []
        self.embedded: list[str] = []

    def prepare(self, texts: Sequence[str]) -> list[str]:
        self.prepared.append(len(texts))
        return list(texts)

    def embed(self, prepared: list[str]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        for start in reversed(range(0, len(prepared), self.batch)):
            texts = prepared[start : start + self.batch]
            self.embedded += texts
            yield np.arange(start, start + len(texts)), vectors_of(texts)


def vectors_of(texts: Sequence[str]) -> NDArray[np.float32]:
    rows = np.array([list(sha256(text.encode()).digest()[:DIMENSION]) for text in texts], dtype=np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def records(start: int, stop: int) -> tuple[list[bytes], NDArray[np.float32]]:
    """Return keys and vectors of the articles [start, stop)."""
    articles = [make_article(i) for i in range(start, stop)]
    return [article_key(each) for each in articles], vectors_of([each.embedded for each in articles])
