"""Phase 1 with an embedder that needs no model; run as a program, so that it can be killed.

python -m tests.phases.wikirun SOURCE CACHE_DIR ENDPOINT LOG [PAUSE_S]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import SynthgenError
from synthgen.phases.wikipedia import store_articles
from synthgen.phases.wikipedia_options import WikipediaOptions
from synthgen.phases.wikipedia_report import WikipediaReport

BATCH = 4


class HashEmbedder:
    """Vectors of the digest of a text, ``BATCH`` at a time; what was paid for is in ``log``, by title."""

    model_digest = "5e" * 32
    window = 24

    def __init__(self, log: Path | None = None, pause_s: float = 0.0, dimension: int = 768) -> None:
        self.dimension = dimension
        self._log, self._pause_s = log, pause_s

    def prepare(self, texts: Sequence[str]) -> list[str]:
        return list(texts)

    def embed(self, prepared: list[str]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        for start in range(0, len(prepared), BATCH):
            texts = prepared[start : start + BATCH]
            time.sleep(self._pause_s)
            if self._log is not None:
                with self._log.open("a") as file:
                    file.write("".join(text.split("\n")[0] + "\n" for text in texts))
            yield np.arange(start, start + len(texts)), vectors_of(texts, self.dimension)


def vectors_of(texts: Sequence[str], dimension: int = 768) -> NDArray[np.float32]:
    seeds = [int.from_bytes(sha256(text.encode()).digest()[:8], "little") for text in texts]
    rows = np.array([np.random.default_rng(seed).standard_normal(dimension) for seed in seeds], np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def store(source: Path, cache: Path, embedder: HashEmbedder | None = None, **options: Any) -> WikipediaReport:
    """Run phase 1 on ``source`` in this process, quietly."""
    given = {"workers": 1, "quiet": True, "concurrent": 4, **options}
    return store_articles(
        WikipediaOptions(source, cache_dir=cache, **given), lambda _: embedder or HashEmbedder()
    )


def main(source: str, cache: str, endpoint: str, log: str, pause_s: str = "0") -> int:
    try:
        return store(
            Path(source), Path(cache), HashEmbedder(Path(log), float(pause_s)), endpoint=endpoint
        ).exit_code
    except SynthgenError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
