"""An index of vectors: inverted lists of bytes (faiss), and how far what it says is from the truth.

Vectors lie in the list of the nearest of some centroids (Jegou et al. 2011, inverted file), each as 768
bytes: its difference to the centroid, in 256 steps a component. A search looks into the lists whose centroids
are nearest. What bytes leave out is measured for every vector that is added: no cosine that a search tells is
off by more, so a search of all lists can prove that it has missed nothing.

``python -m bench indexes`` has it beside others: it takes vectors as fast as they are stored, and a graph of
neighbours does not.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthgen.specs import EMBEDDING_DIMENSION

#: By so much of the sample's range the steps reach beyond it on either side; what lies farther is cut off.
_RANGE_MARGIN = 0.25
#: Vectors of which bytes leave out more are ``loose``, to be compared themselves; the steps leave out 0.013.
_LOOSE_ERROR = 0.02
#: Products in float32 of vectors of length 1 are off by less than this.
_FLOAT_ERROR = 1e-5
#: More rounds move centroids by little, and cost as much as the first ones.
_KMEANS_ROUNDS = 8
_SEED = 42


class Size(NamedTuple):
    """An index for spaces of at least ``n_least`` memories: how many lists, how many a search looks into."""

    n_least: int
    n_lists: int
    n_probed: int

    @property
    def n_sample(self) -> int:
        """Vectors that the centroids are fitted to."""
        return 64 * self.n_lists


#: Below the first, all vectors are compared; each further one is made anew when a space has grown to it. Of
#: 100,000 rows of the built-in law, 32 of 256 lists hold 99% of the ten nearest.
SIZES = (Size(4_096, 64, 16), Size(32_768, 256, 32), Size(262_144, 1_024, 64))


def size_for(n_memories: int) -> Size | None:
    """Return the index that so many memories need; None where they need none."""
    return next((size for size in reversed(SIZES) if n_memories >= size.n_least), None)


def import_faiss() -> ModuleType:
    """Return faiss, for this thread held to one thread of its own: requests are the parallelism."""
    import faiss

    faiss.omp_set_num_threads(1)
    module: ModuleType = faiss
    return module


def normalise(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``vectors`` (n, 768) at length 1; none may be zero."""
    squares = np.einsum("ij,ij->i", vectors, vectors)
    if not ((squares > 1e-30) & (squares < 1e30)).all():  # they overflow or vanish in float32
        return normalise(vectors / np.abs(vectors).max(axis=1, keepdims=True))
    unit: NDArray[np.float32] = (vectors / np.sqrt(squares)[:, None]).astype(np.float32, copy=False)
    return unit


class SharedLock:
    """A lock that many may share, or one hold alone; who wants it alone is let in before new sharers."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._n_sharing = 0
        self._n_wanting = 0
        self._is_held = False

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Hold it together with other sharers."""
        with self._condition:
            self._condition.wait_for(lambda: not self._is_held and not self._n_wanting)
            self._n_sharing += 1
        try:
            yield
        finally:
            with self._condition:
                self._n_sharing -= 1
                self._condition.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold it alone."""
        with self._condition:
            self._n_wanting += 1
            self._condition.wait_for(lambda: not self._is_held and not self._n_sharing)
            self._n_wanting -= 1
            self._is_held = True
        try:
            yield
        finally:
            with self._condition:
                self._is_held = False
                self._condition.notify_all()


class VectorIndex:
    """Vectors of length 1 by number. One thread may change it, while others search under ``lock.shared()``.

    ``loose``: numbers of vectors that bytes hold badly; of all others no cosine told is off by more than
    ``error``.
    """

    error = _LOOSE_ERROR + _FLOAT_ERROR

    def __init__(self, ivf: Any, size: Size, loose: Iterable[int] = ()) -> None:
        self.size = size
        self.loose = set(loose)
        self.lock = SharedLock()
        self._ivf = ivf

    @classmethod
    def fit(cls, sample: NDArray[np.float32], size: Size) -> VectorIndex:
        """Return an empty index whose centroids and steps fit ``sample`` (n, 768), of length 1."""
        faiss = import_faiss()
        dimension, metric = EMBEDDING_DIMENSION, faiss.METRIC_INNER_PRODUCT
        quantizer = faiss.IndexFlatIP(dimension)
        ivf = faiss.IndexIVFScalarQuantizer(
            quantizer, dimension, size.n_lists, faiss.ScalarQuantizer.QT_8bit, metric
        )
        ivf.own_fields = True
        quantizer.this.disown()
        ivf.sq.rangestat, ivf.sq.rangestat_arg = faiss.ScalarQuantizer.RS_minmax, _RANGE_MARGIN
        ivf.cp.niter, ivf.cp.seed, ivf.cp.verbose = _KMEANS_ROUNDS, _SEED, False
        ivf.cp.min_points_per_centroid = 1
        ivf.train(sample)
        return cls(ivf, size)

    @classmethod
    def load(cls, path: Path, size: Size, loose: Iterable[int]) -> VectorIndex:
        """Read what :meth:`save` has written; RuntimeError where that is not it."""
        return cls(import_faiss().read_index(str(path)), size, loose)

    def save(self, path: Path) -> None:
        """Write it to ``path``; searches may go on. RuntimeError where the disk does not take it."""
        import_faiss().write_index(self._ivf, str(path))

    def __len__(self) -> int:
        return int(self._ivf.ntotal)

    def add(self, numbers: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add ``vectors`` (n, 768), of length 1, under ``numbers`` (n,). Holds the lock only to append."""
        if not len(numbers):
            return
        faiss = import_faiss()
        lists = self._ivf.quantizer.assign(vectors, 1).ravel()
        is_loose = self._errors(vectors, lists) > _LOOSE_ERROR
        arrays = (vectors, np.ascontiguousarray(numbers), lists)
        pointers = [faiss.swig_ptr(array) for array in arrays]
        with self.lock.alone():
            self._ivf.add_core(len(numbers), *pointers)
            self.loose |= set(numbers[is_loose].tolist())

    def remove(self, numbers: NDArray[np.int64]) -> None:
        """Take out what was added under ``numbers``; reads all numbers once."""
        if len(numbers):
            with self.lock.alone():
                self._ivf.remove_ids(numbers)
                self.loose -= set(numbers.tolist())

    def search(
        self, vector: NDArray[np.float32], n_nearest: int, *, all_lists: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return cosines and numbers of about the ``n_nearest`` nearest to ``vector`` (768,), largest first.

        ``all_lists``: those whose cosines, as told, are the largest of all. Call it under ``lock.shared()``.
        """
        faiss = import_faiss()
        n_probed = self.size.n_lists if all_lists else self.size.n_probed
        parameters = faiss.SearchParametersIVF(nprobe=n_probed)
        cosines, numbers = self._ivf.search(vector[None], n_nearest, params=parameters)
        found = numbers[0] >= 0
        return cosines[0][found], numbers[0][found]

    def _errors(self, vectors: NDArray[np.float32], lists: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the distance (n,) of each vector to what is kept of it: no cosine to it is off by more."""
        differences = vectors - self._ivf.quantizer.reconstruct_batch(lists)
        kept = self._ivf.sq.decode(self._ivf.sq.compute_codes(differences))
        differences -= kept
        errors: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", differences, differences))
        return errors
