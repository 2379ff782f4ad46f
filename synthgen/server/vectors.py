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
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthgen.server.wear import Wear
from synthgen.specs import EMBEDDING_DIMENSION

#: By so much of the sample's range the steps reach beyond it on either side; what lies farther is cut off.
_RANGE_MARGIN = 0.25
#: Vectors of which bytes leave out more are ``loose``, to be compared themselves; the steps leave out 0.013.
_LOOSE_ERROR = 0.02
#: Products in float32 of vectors of length 1, and their lengths, are off by less than this.
FLOAT_ERROR = 1e-5
#: Lists that :meth:`VectorIndex.parts` reads at a time: of a million vectors, in some ten milliseconds.
_PART_LISTS = 32
#: More rounds, or a larger sample, cost as much again and find little more of the ten nearest: 8 rounds over
#: 64 vectors a list, in 2 to 3 times the time, nothing on the built-in law's rows, 0.002 on articles, and at
#: most 0.009 on 14,500 descriptions of packages. To look into more lists finds more for less.
_KMEANS_ROUNDS = 4
_SAMPLE_A_LIST = 40
_SEED = 42
#: So much of the ten nearest of stored vectors the lists that are looked into hold.
_LEAST_HELD = 0.98
_N_NEAREST = 10
#: Vectors that are asked for, and how many at a time: of a million, 8 take a second.
N_ASKED = 128
_ASKED_AT_A_TIME = 8
#: Of a place that faiss tells: the list above, the place in it below.
_PLACE_BITS = 32


class Size(NamedTuple):
    """An index for spaces of at least ``n_least`` memories: how many lists, how many a search looks into.

    It looks into more where the vectors take it (:meth:`VectorIndex.widen`).
    """

    n_least: int
    n_lists: int
    n_probed: int

    @property
    def n_sample(self) -> int:
        """Vectors that the centroids are fitted to."""
        return _SAMPLE_A_LIST * self.n_lists


class Part(NamedTuple):
    """Vectors by ``numbers`` (n,): ``products`` with the one sought, and ``squares`` of their lengths."""

    numbers: NDArray[np.int64]
    products: NDArray[np.float32]
    squares: NDArray[np.float32]


#: Below the first, all vectors are compared; each further one is made anew when a space has grown to it. So
#: many lists are looked into that 0.98 of the ten nearest are found for held-out queries of the built-in law,
#: and for shifted ones, at any number of memories from there on. Real vectors are harder: of 14,500
#: descriptions of packages 32 of 64 lists hold 0.983, and 16 would hold 0.942; of 96,000 texts 48 of 256
#: hold 0.982, and it takes 77 of 1,024 for 0.979. Vectors without clusters are harder yet: 48 of 256 hold
#: 0.31 of the ten nearest of 100,000 normal vectors, and 0.81 of uniform ones. :meth:`VectorIndex.widen`
#: finds out. The last size is not for more: it is made beside the one before, and while memories are stored
#: at full speed that takes so long that a million of them were in both (1.8 GB at the peak; 1.2 GB so).
SIZES = (Size(4_096, 64, 32), Size(32_768, 256, 48), Size(131_072, 1_024, 40))


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

    def give_way(self) -> None:
        """Let those in who want it alone; to be called by a sharer, who has it again afterwards."""
        with self._condition:
            if self._n_wanting:
                self._n_sharing -= 1
                self._condition.notify_all()
                self._condition.wait_for(lambda: not self._is_held and not self._n_wanting)
                self._n_sharing += 1

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
    ``error``. ``n_removals`` counts calls of :meth:`remove`. ``wear`` tells when to fit another.
    """

    error = _LOOSE_ERROR + FLOAT_ERROR

    def __init__(self, ivf: Any, size: Size, loose: Iterable[int] = (), wear: Wear | None = None) -> None:
        self.size = size
        self.loose = set(loose)
        self.wear = wear or Wear()
        self.n_removals = 0
        self.lock = SharedLock()
        self._ivf = ivf

    @classmethod
    def fit(cls, sample: NDArray[np.float32], size: Size) -> VectorIndex:
        """Return an empty index whose centroids and steps fit ``sample`` (n, 768), of length 1."""
        for index in cls.fit_in_steps(sample, size):
            if index is not None:
                return index
        raise AssertionError("the last step returns it")

    @classmethod
    def fit_in_steps(cls, sample: NDArray[np.float32], size: Size) -> Iterator[VectorIndex | None]:
        """Do as :meth:`fit`, and yield after each round of k-means: None, and the index in the end."""
        faiss = import_faiss()
        dimension, metric = EMBEDDING_DIMENSION, faiss.METRIC_INNER_PRODUCT
        quantizer = faiss.IndexFlatIP(dimension)
        ivf = faiss.IndexIVFScalarQuantizer(
            quantizer, dimension, size.n_lists, faiss.ScalarQuantizer.QT_8bit, metric
        )
        ivf.own_fields = True
        quantizer.this.disown()
        ivf.sq.rangestat, ivf.sq.rangestat_arg = faiss.ScalarQuantizer.RS_minmax, _RANGE_MARGIN
        ivf.cp.niter, ivf.cp.seed, ivf.cp.verbose = 1, _SEED, False
        ivf.cp.min_points_per_centroid = 1
        clustering = faiss.Clustering(dimension, size.n_lists, ivf.cp)
        for _ in range(_KMEANS_ROUNDS):  # each goes on from the centroids of the one before
            clustering.train(sample, quantizer)
            yield None
        ivf.train(sample)  # the steps alone, since it has its centroids
        yield cls(ivf, size)

    @classmethod
    def load(cls, path: Path, loose: Iterable[int], wear: Wear) -> VectorIndex:
        """Read what :meth:`save` has written; RuntimeError where that is not it, or of none of the sizes."""
        ivf = import_faiss().read_index(str(path))
        size = next((size for size in SIZES if size.n_lists == ivf.nlist), None)
        if size is None:
            raise RuntimeError(f"an index of {ivf.nlist} lists: {path}")
        return cls(ivf, size, loose, wear)

    def save(self, path: Path) -> None:
        """Write it to ``path``; searches may go on. RuntimeError where the disk does not take it."""
        import_faiss().write_index(self._ivf, str(path))

    def widen(self, asked: NDArray[np.float32]) -> Iterator[None]:
        """Look into more lists from now on, where it takes them to find what is nearest to ``asked``.

        ``asked`` (n, 768): vectors that are held, and that it was not fitted to. Those as near in other lists
        are looked for by the bytes, in all lists. Goes into the file, too, and into ``wear``. Yields now and
        then; to be used up before others search. A smaller share is found of fewer vectors in as many lists:
        it is enough to do this when the index has been filled for the first time.
        """
        if not len(asked):
            return
        asked = np.ascontiguousarray(asked)
        cosines, lists = self._ivf.quantizer.search(asked, self.size.n_lists)
        self.wear.expect(cosines[:, 0])
        ranks = []
        for start in range(0, len(asked), _ASKED_AT_A_TIME):
            some = slice(start, start + _ASKED_AT_A_TIME)
            ranks.append(self._ranks(asked[some], cosines[some], lists[some]))
            yield
        needed = np.concatenate(ranks)
        if len(needed):
            self._ivf.nprobe = 1 + int(np.quantile(needed, _LEAST_HELD, method="higher"))

    def _ranks(
        self, asked: NDArray[np.float32], cosines: NDArray[np.float32], lists: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return, for each of the ten nearest of each of ``asked``, how many lists come before its own.

        ``lists`` (n, all): those nearest to it first, and their ``cosines``; all arrays without gaps.
        """
        faiss = import_faiss()
        found = np.empty((len(asked), 1 + _N_NEAREST), np.float32)  # the first is the vector itself
        places = np.empty((len(asked), 1 + _N_NEAREST), np.int64)
        parameters = faiss.SearchParametersIVF(nprobe=self.size.n_lists)
        queries, *pointers = [faiss.swig_ptr(array) for array in (asked, lists, cosines, found, places)]
        self._ivf.search_preassigned_c(len(asked), queries, 1 + _N_NEAREST, *pointers, True, parameters)
        ranks = np.argsort(lists, axis=1)
        others = places[:, 1:]
        ranked = np.take_along_axis(ranks, np.maximum(others, 0) >> _PLACE_BITS, axis=1)
        return ranked[others >= 0]  # there may be fewer than ten

    @property
    def n_probed(self) -> int:
        """Lists that a search looks into."""
        return max(self.size.n_probed, int(self._ivf.nprobe))

    def __len__(self) -> int:
        return int(self._ivf.ntotal)

    def add(self, numbers: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add ``vectors`` (n, 768), of length 1, under ``numbers`` (n,). Holds the lock only to append."""
        if not len(numbers):
            return
        faiss = import_faiss()
        cosines, lists = (found.ravel() for found in self._ivf.quantizer.search(vectors, 1))
        is_loose = self._errors(vectors, lists) > _LOOSE_ERROR
        self.wear.see(cosines, is_loose)
        arrays = (vectors, np.ascontiguousarray(numbers), lists)
        pointers = [faiss.swig_ptr(array) for array in arrays]
        with self.lock.alone():
            self._ivf.add_core(len(numbers), *pointers)
            self.loose |= set(numbers[is_loose].tolist())

    def remove(self, numbers: NDArray[np.int64]) -> None:
        """Take out what was added under ``numbers``; reads all numbers once."""
        if len(numbers):
            with self.lock.alone():
                self.n_removals += 1
                self._ivf.remove_ids(numbers)
                self.loose -= set(numbers.tolist())

    def search(
        self,
        vector: NDArray[np.float32],
        n_nearest: int,
        *,
        without: Sequence[int] = (),
        all_lists: bool = False,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return cosines and numbers of about the ``n_nearest`` nearest to ``vector`` (768,), largest first.

        Numbers of ``without`` are passed over. ``all_lists``: those whose cosines, as told, are the largest
        of all. Call it under ``lock.shared()``.
        """
        faiss = import_faiss()
        parameters = faiss.SearchParametersIVF(nprobe=self.size.n_lists if all_lists else self.n_probed)
        if without:
            passed_over = faiss.IDSelectorBatch(np.array(without, np.int64))
            parameters.sel = faiss.IDSelectorNot(passed_over)
        cosines, numbers = self._ivf.search(vector[None], n_nearest, params=parameters)
        found = numbers[0] >= 0
        return cosines[0][found], numbers[0][found]

    def parts(self, vector: NDArray[np.float32], known: NDArray[np.bool_]) -> Iterator[Part]:
        """Yield what bytes tell of all vectors, over the ``known`` components (768,) alone, a part at a time.

        ``vector`` (768,): of length 1, zero where it is not known. Bytes of other components count as zero,
        and so do those components of the centroids, so that the square of a distance to the zero vector is
        that of the length. Call it under ``lock.shared()``, which may give way between two parts.
        """
        centroids = self._ivf.quantizer.reconstruct_n(0, self.size.n_lists) * known
        masked = self._masked(centroids, known)
        products = (centroids @ vector)[None]
        zero = np.zeros_like(vector)[None]
        for start in range(0, self.size.n_lists, _PART_LISTS):
            lists = np.arange(start, min(start + _PART_LISTS, self.size.n_lists))[None]
            masked.nprobe = lists.shape[1]
            masked.metric_type = import_faiss().METRIC_L2
            _, squares, numbers = masked.range_search_preassigned(zero, np.inf, lists, None)
            masked.metric_type = import_faiss().METRIC_INNER_PRODUCT
            _, dots, same = masked.range_search_preassigned(
                vector[None], -np.inf, lists, products[:, lists[0]]
            )
            assert np.array_equal(numbers, same), "each range holds all, in the order of the lists"
            yield Part(numbers, dots, squares)

    def _masked(self, centroids: NDArray[np.float32], known: NDArray[np.bool_]) -> Any:
        """Return an index of the same lists whose bytes stand for zero where nothing is known."""
        faiss = import_faiss()
        quantizer = faiss.IndexFlatL2(EMBEDDING_DIMENSION)
        quantizer.add(centroids)
        masked = faiss.IndexIVFScalarQuantizer(
            quantizer, EMBEDDING_DIMENSION, self.size.n_lists, faiss.ScalarQuantizer.QT_8bit
        )
        steps = faiss.vector_to_array(self._ivf.sq.trained).reshape(2, EMBEDDING_DIMENSION) * known
        faiss.copy_array_to_vector(steps.astype(np.float32).ravel(), masked.sq.trained)
        masked.replace_invlists(self._ivf.invlists, False)
        masked.is_trained = True
        return masked

    def _errors(self, vectors: NDArray[np.float32], lists: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the distance (n,) of each vector to what is kept of it: no cosine to it is off by more."""
        differences = vectors - self._ivf.quantizer.reconstruct_batch(lists)
        kept = self._ivf.sq.decode(self._ivf.sq.compute_codes(differences))
        differences -= kept
        errors: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", differences, differences))
        return errors
