"""Indexes that the product itself does not measure: HNSW by hnswlib, and an int8 scalar quantiser."""

from __future__ import annotations

import contextlib
import importlib
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.fidelity.extras import need
from synthgen.fidelity.indexes import (
    EF_SEARCH,
    HNSW_EF_CONSTRUCTION,
    HNSW_LINKS,
    MAX_QUANTISER_QUERIES,
    Floats,
    K,
    RecallCurve,
    hnsw_recalls,
    inner_products,
    recall,
)
from synthgen.fidelity.vectors import Vectors

_HNSWLIB_SEED = 1


@dataclass(frozen=True)
class Hnsw:
    """Who makes the graph: the library's name and version, and its recall at each of EF_SEARCH."""

    library: str
    recalls: RecallCurve


def choose_hnsw() -> Hnsw:
    """Return hnswlib where it can be imported (it has no wheels), else faiss; UsageError without faiss."""
    faiss = need("faiss")
    try:
        importlib.import_module("hnswlib")
    except ImportError:
        return Hnsw(f"faiss {faiss.__version__}", hnsw_recalls)
    version = ""
    with contextlib.suppress(metadata.PackageNotFoundError):
        version = metadata.version("hnswlib")
    return Hnsw(f"hnswlib {version}".strip(), hnswlib_recalls)


def hnswlib_recalls(queries: Vectors, base: Vectors, tenth: Vectors) -> Floats:
    """Return recall@10 (5,) of hnswlib at each of EF_SEARCH: M=8, ef_construction=64, random_seed=1.

    ``queries`` (q, d), ``base`` (n, d) of unit length, inserted in their order by one thread; ``tenth`` (q,):
    the inner product of the true 10th neighbour.
    """
    index = importlib.import_module("hnswlib").Index(space="ip", dim=base.shape[1])
    index.init_index(len(base), M=HNSW_LINKS, ef_construction=HNSW_EF_CONSTRUCTION, random_seed=_HNSWLIB_SEED)
    index.add_items(base, num_threads=1)
    recalls = []
    for ef in EF_SEARCH:
        index.set_ef(ef)
        recalls.append(recall(_search(index, queries), tenth))
    return np.array(recalls)


def _search(index: Any, queries: Vectors) -> NDArray[np.float32]:
    """Return inner products (q, 10) of what is found; hnswlib raises where one query reaches fewer rows."""
    try:
        return np.asarray(1 - index.knn_query(queries, K, num_threads=1)[1])
    except RuntimeError:
        if len(queries) > 1:
            return np.concatenate([_search(index, query[None]) for query in queries])
        return np.full((1, K), -np.inf, np.float32)


def int8_recall(queries: Vectors, base: Vectors, tenth: Vectors) -> float:
    """Return recall@10 of one byte a component (faiss's QT_8bit, ranges of ``base``), over 2,000 queries."""
    faiss = need("faiss")
    queries, tenth = queries[:MAX_QUANTISER_QUERIES], tenth[:MAX_QUANTISER_QUERIES]
    index = faiss.IndexScalarQuantizer(
        base.shape[1], faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    index.train(base)
    index.add(base)
    return recall(inner_products(queries, base, index.search(queries, K)[1]), tenth)
