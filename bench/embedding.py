"""How much faster are articles embedded than by the library's own ``encode``, and is it the same vectors?"""

from __future__ import annotations

import contextlib
import io
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from bench.settings import Settings
from bench.table import Cell, Result, Spread, Table
from synthgen.errors import InputError, UsageError
from synthgen.formats.zstd import import_zstandard
from synthgen.runtime.memory import available_cores
from synthgen.runtime.progress import Progress
from synthgen.wiki.articles import EMBEDDED_CHARACTERS
from synthgen.wiki.model_files import import_extra
from synthgen.wiki.sentence_model import SentenceEmbedder

Vectors = NDArray[np.float32]

_PLAIN_BATCH = 32
PLAIN, OURS = "plain encode", "synthgen"


@dataclass(frozen=True)
class Part:
    """The same ``n`` texts embedded by both, one after the other."""

    n: int
    plain_s: float
    ours_s: float

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.plain_s / self.ours_s


def run(settings: Settings) -> Result:
    """Embed the first rows of ``--articles`` in as many parts as repetitions, by both in turn.

    Raises UsageError (flags missing), InputError (files, packages, a model that is none).
    """
    if settings.model is None or settings.articles is None:
        raise UsageError("embedding needs --model FOLDER and --articles FILE (lines with title and text)")
    texts = read_texts(settings.articles, settings.rows_of(quick=60, normal=600, full=2_000))
    started_s = time.perf_counter()
    embedder = SentenceEmbedder(settings.model)
    start_s = time.perf_counter() - started_s
    parts, plain, ours = measure(embedder, texts, settings.n_repetitions)
    tables = [rates_table(parts, embedder), likeness_table(plain, ours, settings.embeddings)]
    configuration = {
        **settings.to_document(),
        "rows": len(texts),
        "model_digest": embedder.model_digest,
        "device": embedder.device,
        "dtype": embedder.dtype,
        "start_s": start_s,
        "characters": EMBEDDED_CHARACTERS,
        "plain_batch": _PLAIN_BATCH,
        "versions": {name: import_extra(name).__version__ for name in ("torch", "sentence_transformers")},
    }
    return Result("embedding", configuration, tables, [asdict(part) for part in parts])


def read_texts(path: Path, n_rows: int) -> list[str]:
    """Return title, newline and the beginning of the text of the first ``n_rows`` lines; raise InputError."""
    try:
        with contextlib.ExitStack() as stack:
            lines: Any = stack.enter_context(path.open("rb"))
            if path.suffix == ".zst":
                content = import_zstandard().ZstdDecompressor().stream_reader(lines)
                lines = stack.enter_context(io.BufferedReader(content))
            documents = [orjson.loads(line) for line in itertools.islice(lines, n_rows)]
        return [f"{each['title']}\n{each['text'][:EMBEDDED_CHARACTERS]}" for each in documents]
    except OSError as error:
        raise InputError(error.strerror or str(error), where=str(path), next_step="name another") from error
    except (KeyError, TypeError, orjson.JSONDecodeError) as error:
        raise InputError("lines must be JSON with title and text", where=str(path)) from error


def measure(
    embedder: SentenceEmbedder, texts: Sequence[str], n_parts: int
) -> tuple[list[Part], Vectors, Vectors]:
    """Return times part by part, and all vectors by the library and by us; who begins alternates."""
    torch = import_extra("torch")
    library = import_extra("sentence_transformers")
    model = library.SentenceTransformer(str(embedder.folder), device=embedder.device, local_files_only=True)

    def encode_plainly(part: Sequence[str]) -> Vectors:
        torch.set_num_threads(available_cores())  # of this thread; those of the embedder have their own
        vectors: Vectors = model.encode(list(part), batch_size=_PLAIN_BATCH, show_progress_bar=False)
        return vectors

    encode_plainly(texts[:4])  # what only the first call pays
    embedder.encode(texts[:4])
    progress = Progress("embedding", len(texts), "articles")
    parts, plain, ours = [], [], []
    for number, indices in enumerate(np.array_split(np.arange(len(texts)), min(n_parts, len(texts)))):
        part = [texts[i] for i in indices]
        seconds, vectors = {}, {}
        both = [(PLAIN, encode_plainly), (OURS, embedder.encode)]
        for name, encode in both if number % 2 == 0 else both[::-1]:
            seconds[name], vectors[name] = _timed(encode, part)
        parts.append(Part(len(part), seconds[PLAIN], seconds[OURS]))
        plain.append(vectors[PLAIN])
        ours.append(vectors[OURS])
        progress.update(progress.done + len(part))
    progress.finish(f"{len(texts):,} articles, twice")
    return parts, np.concatenate(plain), np.concatenate(ours)


def _timed(encode: Callable[[Sequence[str]], Vectors], texts: Sequence[str]) -> tuple[float, Vectors]:
    started_s = time.perf_counter()
    vectors = encode(texts)
    return time.perf_counter() - started_s, vectors


def rates_table(parts: Sequence[Part], embedder: SentenceEmbedder) -> Table:
    """Return articles a second by both, and how many times as fast ours is."""
    rows: list[tuple[Cell, ...]] = [
        (f"{PLAIN}, batch {_PLAIN_BATCH}, float32", Spread.of(part.n / part.plain_s for part in parts), 1.0),
        (
            f"{OURS}, {embedder.dtype}",
            Spread.of(part.n / part.ours_s for part in parts),
            Spread.of(part.ratio for part in parts),
        ),
    ]
    notes = (f"{len(parts)} parts of {parts[0].n:,} articles, both in turn on {embedder.device}",)
    return Table("Embedding of articles", ("by", "articles/s", "ratio"), rows, notes)


def likeness_table(plain: Vectors, ours: Vectors, given: Path | None) -> Table:
    """Return the least and the mean cosine, of ours to the library's and of both to ``given`` (.npy)."""
    pairs = [(f"{OURS} to {PLAIN}", ours, plain)]
    if given is not None:
        vectors = np.load(given, mmap_mode="r")[: len(ours)].astype(np.float32)
        if vectors.shape != ours.shape:
            raise InputError(f"has {vectors.shape} for vectors of {ours.shape}", where=str(given))
        pairs += [(f"{OURS} to {given.name}", ours, vectors), (f"{PLAIN} to {given.name}", plain, vectors)]
    rows: list[tuple[Cell, ...]] = []
    for name, a, b in pairs:
        cosines = _cosines(a, b)
        rows.append((name, f"{cosines.min():.6f}", f"{cosines.mean():.6f}"))
    return Table("Cosines", ("of", "least", "mean"), rows, (f"{len(ours):,} articles",))


def _cosines(a: Vectors, b: Vectors) -> NDArray[np.float64]:
    x, y = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    cosines: NDArray[np.float64] = (x * y).sum(axis=1) / lengths
    return cosines
