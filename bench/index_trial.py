"""``python -m bench.index_trial FOLDER N_ROWS NAME [loaded]``: one index, measured in a process of its own.

Prints JSON. FOLDER holds the vectors (``vectorset``) and the table of blobs (``blobs``), which the exact scan
makes. One thread, as the caller's environment says. With ``loaded``, the index that such a process has saved.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.blobs import BlobStore
from bench.candidates import CANDIDATES, Candidate, Effort, Index
from bench.nearest import Integers, Vectors, recall_of
from bench.process import status_bytes
from bench.vectorset import DIMENSION, KINDS, VectorSet
from synthgen.runtime.memory import tree_bytes

EXACT = "exact scan of SQLite blobs"
#: Queries are asked until all have been or so much time is over, but so many at least.
_ASK_S, _ASK_EXACT_S = 30.0, 10.0
_FEWEST_QUERIES = 20
#: Queries that a loaded index must answer as it did before it was saved.
_COMPARED_QUERIES = 20
_BLOBS, _INDEX = "blobs.db", "index"

Search = Callable[[Vectors], Integers]


def main() -> None:
    """Measure the index that the command line names."""
    folder, n_rows, name, *loaded = sys.argv[1:]
    vectors = VectorSet(Path(folder), int(n_rows))
    if name == EXACT:
        found = try_exact(vectors)
    else:
        candidate = next(one for one in CANDIDATES if one.name == name)
        found = (try_loaded if loaded else try_index)(vectors, candidate)
    print(json.dumps({"index": name, **found}))


def try_exact(vectors: VectorSet) -> dict[str, Any]:
    """Store the rows as blobs, and search them by reading all."""
    path = vectors.folder / _BLOBS
    before = own_bytes()
    store = BlobStore(path, DIMENSION)
    add_s = _add(vectors, store.add)
    save_s = _timed(store.checkpoint)
    memory_bytes = _kept_bytes(before)
    searches = [_ask(vectors, store.scan, "all", _ASK_EXACT_S)]
    store.close()
    let_go(path)
    load_s = _timed(lambda: BlobStore(path, DIMENSION).close())
    built = {"train_s": 0.0, "n_sample": 0, "add_rows_per_s": vectors.n_rows / add_s}
    kept = {"disk_bytes": path.stat().st_size, "save_s": save_s, "load_s": load_s, "loaded_bytes": 0}
    return {**built, "memory_bytes": memory_bytes, **kept, "searches": searches}


def try_index(vectors: VectorSet, candidate: Candidate) -> dict[str, Any]:
    """Build the index, search it with each effort, save it."""
    store = BlobStore(vectors.folder / _BLOBS, DIMENSION)
    _warm_up(vectors, candidate)
    before = own_bytes()
    index = candidate.make(vectors.n_rows, DIMENSION)
    n_sample = min(candidate.n_sample(vectors.n_rows), vectors.n_rows)
    train_s = _train(vectors, index, n_sample)
    add_s = _add(vectors, index.add)
    memory_bytes = _kept_bytes(before)
    searches = [
        _ask(vectors, _search(index, effort, store), effort.describe(candidate.knob))
        for effort in candidate.efforts
    ]
    kept = _save(vectors, candidate, index)
    store.close()
    built = {"train_s": train_s, "n_sample": n_sample, "add_rows_per_s": vectors.n_rows / add_s}
    return {**built, "memory_bytes": memory_bytes, **kept, "searches": searches}


def _warm_up(vectors: VectorSet, candidate: Candidate) -> None:
    """Use a small index of the kind: code and buffers that a library loads once are not an index's memory."""
    _, block = next(vectors.blocks())
    index = candidate.make(len(block), DIMENSION)
    index.train(block)
    index.add(0, block)
    index.propose(block[0], candidate.efforts[0])


def own_bytes() -> int:
    """Return the memory that this process has to itself, files that it reads left out where they are told."""
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # what the allocator only keeps in reserve is nobody's
    anonymous = status_bytes("RssAnon")
    return tree_bytes() if anonymous is None else anonymous


def _search(index: Index, effort: Effort, store: BlobStore) -> Search:
    if not effort.n_ranked:
        return lambda query: index.propose(query, effort)
    return lambda query: store.rank(query, index.propose(query, effort))


def _train(vectors: VectorSet, index: Index, n_sample: int) -> float:
    if not n_sample:
        return 0.0
    sample = vectors.sample(n_sample)
    return _timed(lambda: index.train(sample))


def _add(vectors: VectorSet, add: Callable[[int, Vectors], None]) -> float:
    """Return the seconds that adding all rows took, reading them not counted."""
    add_s = 0.0
    for start, block in vectors.blocks():
        started_s = time.perf_counter()
        add(start, block)
        add_s += time.perf_counter() - started_s
    return add_s


def _timed(act: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    act()
    return time.perf_counter() - started_s


def _kept_bytes(before: int) -> int:
    """Return by how much this process has grown."""
    return max(0, own_bytes() - before)


def _ask(vectors: VectorSet, search: Search, effort: str, limit_s: float = _ASK_S) -> dict[str, Any]:
    """Ask one query after the other; return latencies and recalls, all and by kind of query."""
    queries, true = vectors.queries, vectors.true
    search(queries[0])
    found: list[list[int]] = []
    took_s: list[float] = []
    for query in queries:
        if len(found) >= _FEWEST_QUERIES and sum(took_s) > limit_s:
            break
        started_s = time.perf_counter()
        rows = search(query)
        took_s.append(time.perf_counter() - started_s)
        found.append(rows[: true.shape[1]].tolist())
    answers = list(zip(found, true[: len(found)].tolist(), strict=True))
    recalls = {f"recall_{kind}": _recall(answers[n :: len(KINDS)]) for n, kind in enumerate(KINDS)}
    p50_ms, p99_ms = (float(np.percentile(took_s, percent)) * 1e3 for percent in (50, 99))
    times = {"n_queries": len(found), "p50_ms": p50_ms, "p99_ms": p99_ms}
    return {"effort": effort, **times, "recall": _recall(answers), **recalls}


def _recall(answers: list[tuple[list[int], list[int]]]) -> float | None:
    return recall_of((found for found, _ in answers), (true for _, true in answers))


def _save(vectors: VectorSet, candidate: Candidate, index: Index) -> dict[str, Any]:
    """Save the index, for :func:`try_loaded`, with what it answers to the first queries."""
    path = vectors.folder / _INDEX
    save_s = _timed(lambda: index.save(path)) + _timed(lambda: sync(path))
    answers = _answers(vectors, candidate, index)
    let_go(path)
    return {"disk_bytes": path.stat().st_size, "save_s": save_s, "answers": answers}


def try_loaded(vectors: VectorSet, candidate: Candidate) -> dict[str, Any]:
    """Load the index that another process has saved, and delete it."""
    path = vectors.folder / _INDEX
    _warm_up(vectors, candidate)
    before = own_bytes()
    index = candidate.make(vectors.n_rows, DIMENSION)
    load_s = _timed(lambda: index.load(path))
    answers = _answers(vectors, candidate, index)
    path.unlink()
    return {"load_s": load_s, "loaded_bytes": _kept_bytes(before), "answers": answers}


def _answers(vectors: VectorSet, candidate: Candidate, index: Index) -> list[list[int]]:
    effort = candidate.efforts[-1]
    return [index.propose(query, effort).tolist() for query in vectors.queries[:_COMPARED_QUERIES]]


def sync(path: Path) -> None:
    """Wait until ``path`` is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def let_go(path: Path) -> None:
    """Ask the system, where it can be asked, to read ``path`` from the disk next time."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
