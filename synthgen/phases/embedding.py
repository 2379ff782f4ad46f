"""The model of phase 1 and its cache, opened when they are first needed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from synthgen.errors import UsageError
from synthgen.phases.wikipedia_options import WikipediaOptions
from synthgen.specs import EMBEDDING_DIMENSION
from synthgen.wiki.embedding import Embedder
from synthgen.wiki.embedding_cache import EmbeddingCache

#: Returns the embedder that options ask for.
Load = Callable[[WikipediaOptions], Embedder]

CACHE_NAME = "embeddings"


@dataclass(frozen=True)
class Embedding:
    """An opened model, its cache, and what to tell of it: name, digest, device, dtype."""

    embedder: Embedder
    cache: EmbeddingCache
    about: Mapping[str, Any]


def load_model(options: WikipediaOptions) -> Embedder:
    """Return the sentence-transformers model that ``options`` name; raises InputError, ResourceError."""
    from synthgen.wiki.sentence_model import SentenceEmbedder

    wanted = EMBEDDING_DIMENSION if options.target else None
    return SentenceEmbedder(options.model, wanted_dimension=wanted)


@contextlib.contextmanager
def open_embedding(options: WikipediaOptions, load: Load) -> Iterator[Embedding]:
    """Open the model and its cache, for as long as the block lasts."""
    if not options.quiet:
        print(f"loading the model {options.model}", file=sys.stderr, flush=True)
    embedder = load(options)
    check_dimension(embedder.dimension, options)
    about = {
        "name": options.model,
        "digest": embedder.model_digest,
        "dimension": embedder.dimension,
        "device": getattr(embedder, "device", "cpu"),
        "dtype": getattr(embedder, "dtype", "float32"),
    }
    with EmbeddingCache(options.cache / CACHE_NAME, embedder.model_digest, embedder.dimension) as cache:
        yield Embedding(embedder, cache, about)


def check_dimension(dimension: int, options: WikipediaOptions) -> None:
    """Raise UsageError where a database is to take vectors that it would refuse one by one."""
    if options.target and dimension != EMBEDDING_DIMENSION:
        raise UsageError(
            f"Engram takes embeddings of {EMBEDDING_DIMENSION} components, these have {dimension:,}",
            next_step="choose another --embedding-model, or write a file with --output",
        )
