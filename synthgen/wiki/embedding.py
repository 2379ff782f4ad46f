"""Articles to vectors, window by window: what the cache has, and the rest by a model that is kept busy."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from synthgen.wiki.articles import Article
from synthgen.wiki.embedding_cache import EmbeddingCache, article_key

Vectors = NDArray[np.float32]
Indices = NDArray[np.int64]

#: So that a first result is there at once, and a first progress.
_FIRST_WINDOW = 32
#: How long each side of the queue of windows waits before it looks whether an end is wanted.
_WAIT_S = 0.2


class Embedder(Protocol):
    """A model that makes vectors of texts in two steps, so that the first can be done ahead."""

    @property
    def dimension(self) -> int:
        """Components of a vector."""

    @property
    def model_digest(self) -> str:
        """What tells this model from others (hex), whatever it is called."""

    @property
    def window(self) -> int:
        """How many texts are best prepared together."""

    def prepare(self, texts: Sequence[str]) -> Any:
        """Return ``texts`` as :meth:`embed` takes them; called from another thread than it."""

    def embed(self, prepared: Any) -> Iterator[tuple[Indices, Vectors]]:
        """Yield batches as they are finished, in any order: indices of texts and their vectors (n, d)."""


@dataclass
class EmbeddingCounts:
    """What became of articles so far: ``hits`` came from the cache, ``embedded`` from the model.

    ``busy_s`` is the time in the model, ``waiting_s`` that without work because no input was there, and
    ``storing_s`` what appending to the cache took. ``n_windows`` windows were begun.
    """

    hits: int = 0
    embedded: int = 0
    n_windows: int = 0
    busy_s: float = 0.0
    waiting_s: float = 0.0
    storing_s: float = 0.0

    @property
    def busy_share(self) -> float:
        """The part of the time in which the model worked; 1 where there was none."""
        total_s = self.busy_s + self.waiting_s + self.storing_s
        return self.busy_s / total_s if total_s else 1.0


class EmbeddedWindow(NamedTuple):
    """Articles in the order in which they came, and their vectors, (n, d) float32 of unit length."""

    articles: list[Article]
    vectors: Vectors


class _Prepared(NamedTuple):
    """A window that waits for the model: ``missing`` are the indices of those that the cache lacks."""

    articles: list[Article]
    keys: list[bytes]
    vectors: Vectors
    missing: Indices
    texts: Any


def embed_articles(
    articles: Iterable[Article],
    embedder: Embedder,
    cache: EmbeddingCache | None = None,
    *,
    counts: EmbeddingCounts | None = None,
    on_batch: Callable[[EmbeddingCounts], None] = lambda _: None,
) -> Iterator[EmbeddedWindow]:
    """Yield ``articles`` with their vectors, window by window, in order.

    Windows have ``embedder.window`` articles, the first one fewer, the last one what is left. A thread of
    its own reads ``articles``, looks them up in ``cache`` and prepares texts one window ahead. Each batch is
    in the cache before ``on_batch`` hears of it, so that a killed run pays again for nothing but what was in
    the model. ``on_batch`` is called while articles are waited for, too, some times a second. An error of
    ``articles`` or of the cache is raised here, after the windows before it. What else is in a window changes
    a vector by rounding alone; what is in the cache is served bit for bit.
    """
    counts = counts if counts is not None else EmbeddingCounts()
    ahead = _Ahead(_prepare_windows(articles, embedder, cache))
    try:
        while True:
            started_s = time.perf_counter()
            prepared = ahead.next(lambda: on_batch(counts))
            counts.waiting_s += time.perf_counter() - started_s
            if prepared is None:
                return
            counts.n_windows += 1
            counts.hits += len(prepared.articles) - len(prepared.missing)
            on_batch(counts)
            _embed_missing(prepared, embedder, cache, counts, on_batch)
            yield EmbeddedWindow(prepared.articles, prepared.vectors)
    finally:
        ahead.stop()


def _embed_missing(
    prepared: _Prepared,
    embedder: Embedder,
    cache: EmbeddingCache | None,
    counts: EmbeddingCounts,
    on_batch: Callable[[EmbeddingCounts], None],
) -> None:
    if not len(prepared.missing):
        return
    started_s = time.perf_counter()
    for indices, vectors in embedder.embed(prepared.texts):
        embedded_s = time.perf_counter()
        counts.busy_s += embedded_s - started_s
        at = prepared.missing[indices]
        prepared.vectors[at] = vectors
        if cache is not None:
            cache.append([prepared.keys[i] for i in at], vectors)
        counts.embedded += len(at)
        on_batch(counts)
        started_s = time.perf_counter()
        counts.storing_s += started_s - embedded_s
    counts.busy_s += time.perf_counter() - started_s


def _prepare_windows(
    articles: Iterable[Article], embedder: Embedder, cache: EmbeddingCache | None
) -> Iterator[_Prepared]:
    source = iter(articles)
    size = min(_FIRST_WINDOW, embedder.window)
    while window := list(islice(source, size)):
        keys = [article_key(article) for article in window]
        if cache is None:
            found = np.zeros(len(window), dtype=np.bool_)
            vectors: Vectors = np.zeros((len(window), embedder.dimension), dtype=np.float32)
        else:
            found, vectors = cache.look_up(keys)
        missing = np.flatnonzero(~found)
        texts = embedder.prepare([window[i].embedded for i in missing]) if len(missing) else None
        yield _Prepared(window, keys, vectors, missing, texts)
        size = embedder.window


class _Ahead:
    """Runs ``windows`` one step ahead in a thread of its own.

    The thread is a daemon: a source that hangs must not keep a process that was told to end.
    """

    def __init__(self, windows: Iterator[_Prepared]) -> None:
        self._ready: queue.Queue[_Prepared | BaseException | None] = queue.Queue(maxsize=1)
        self._stopped = threading.Event()
        threading.Thread(target=self._run, args=(windows,), name="windows", daemon=True).start()

    def next(self, on_wait: Callable[[], None]) -> _Prepared | None:
        """Return the next window, or None behind the last; raise what its making raised, or ``on_wait``."""
        while True:
            try:
                item = self._ready.get(timeout=_WAIT_S)
                break
            except queue.Empty:
                on_wait()
        if isinstance(item, BaseException):
            raise item
        return item

    def stop(self) -> None:
        """Tell the thread to end once its present step is done; what it made is dropped."""
        self._stopped.set()

    def _run(self, windows: Iterator[_Prepared]) -> None:
        try:
            for window in windows:
                if not self._put(window):
                    return
            self._put(None)
        except BaseException as error:  # it belongs to whoever asks for the next window
            self._put(error)

    def _put(self, item: _Prepared | BaseException | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._ready.put(item, timeout=_WAIT_S)
                return True
            except queue.Full:
                continue
        return False
