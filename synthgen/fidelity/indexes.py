"""What an index finds of the true neighbours: recall@10 of faiss's HNSW, IVF and PQ on one fold.

A found row counts when it is as near as the true 10th (within 1e-6), so that equally near rows are not
misses (Aumueller, Bernhardsson and Faithfull 2020, ANN-Benchmarks). All indexes use the inner product of
unit vectors, which is their cosine. One thread each: with more, the HNSW graph depends on timing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.fidelity.extras import need
from synthgen.fidelity.vectors import Vectors

Floats = NDArray[np.float64]
#: From queries (q, d), base (n, d) and inner products of the true 10th neighbours (q,) to recalls.
RecallCurve = Callable[[Vectors, Vectors, Vectors], Floats]

K = 10
HNSW_LINKS, HNSW_EF_CONSTRUCTION = 8, 64
EF_SEARCH = (10, 15, 20, 40, 80)
N_PROBES = (1, 2, 4, 8, 16)
#: Product quantiser: one byte for so many components.
PQ_COMPONENTS = 16
PQ_BITS = 8
#: A quantiser compares each query with all rows: fewer are asked.
MAX_QUANTISER_QUERIES = 2_000
_PQ_TRAIN_ROWS = 4_096
_TIE = 1e-6


def recall(products: NDArray[Any], tenth: NDArray[Any]) -> float:
    """Return the mean share of the 10 found rows that are as near as the true 10th.

    ``products`` (q, 10): true inner products of the rows found; ``tenth`` (q,): that of the true 10th.
    """
    return float((products >= tenth[:, None] - _TIE).mean())


def hnsw_recalls(queries: Vectors, base: Vectors, tenth: Vectors) -> Floats:
    """Return recall@10 (5,) of HNSW at each of EF_SEARCH: M=8, efConstruction=64 (IndexHNSWFlat).

    Rows are inserted in the order of ``base``; the levels come from faiss's fixed seed.
    """
    faiss = need("faiss")
    index = faiss.IndexHNSWFlat(base.shape[1], HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = HNSW_EF_CONSTRUCTION
    index.add(base)
    recalls = []
    for ef in EF_SEARCH:
        index.hnsw.efSearch = ef
        recalls.append(recall(index.search(queries, K)[0], tenth))
    return np.array(recalls)


def ivf_recalls(queries: Vectors, base: Vectors, tenth: Vectors) -> Floats:
    """Return recall@10 (5,) of an inverted file (IndexIVFFlat) at each of N_PROBES.

    About sqrt(n) lists (the next power of two in ratio), by 10 rounds of k-means from faiss's fixed seed.
    """
    faiss = need("faiss")
    n_lists = int(2 ** np.round(np.log2(np.sqrt(len(base)))))
    coarse = faiss.IndexFlatIP(base.shape[1])
    index = faiss.IndexIVFFlat(coarse, base.shape[1], n_lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter = 10
    index.cp.min_points_per_centroid = 1  # else faiss writes warnings to standard error
    index.train(base)
    index.add(base)
    recalls = []
    for n_probe in N_PROBES:
        index.nprobe = n_probe
        recalls.append(recall(index.search(queries, K)[0], tenth))
    return np.array(recalls)


def pq_recall(queries: Vectors, base: Vectors, tenth: Vectors) -> float:
    """Return recall@10 of a product quantiser (IndexPQ), a byte for 16 components, over 2,000 queries.

    Components are filled up with zeros to a multiple of 16, which leaves inner products as they are.
    """
    faiss = need("faiss")
    queries, tenth = queries[:MAX_QUANTISER_QUERIES], tenth[:MAX_QUANTISER_QUERIES]
    wide_base, wide_queries = (_pad(rows) for rows in (base, queries))
    dimension = wide_base.shape[1]
    index = faiss.IndexPQ(dimension, dimension // PQ_COMPONENTS, PQ_BITS, faiss.METRIC_INNER_PRODUCT)
    index.pq.cp.niter = 5
    index.pq.cp.min_points_per_centroid = 1
    index.train(wide_base[:_PQ_TRAIN_ROWS])
    index.add(wide_base)
    found = index.search(wide_queries, K)[1]
    return recall(inner_products(queries, base, found), tenth)


def inner_products(queries: Vectors, base: Vectors, found: NDArray[np.int64]) -> Vectors:
    """Return the inner products (q, k) of ``queries`` (q, d) with the rows ``found`` (q, k) of ``base``."""
    products = np.empty(found.shape, np.float32)
    for at in range(0, len(queries), 256):  # 256 x 10 rows at a time
        products[at : at + 256] = np.einsum("qd,qkd->qk", queries[at : at + 256], base[found[at : at + 256]])
    return products


def _pad(rows: Vectors) -> Vectors:
    missing = -rows.shape[1] % PQ_COMPONENTS
    return np.pad(rows, ((0, 0), (0, missing))) if missing else rows
