"""The isotropic law: a uniformly chosen centroid plus Gaussian noise, scaled to unit length.

All arithmetic is exact, so that every machine makes the same bits: centroids and noise are integers in
units of 2**-k; their sums stay below 2**26 in length, so that sums of squares stay below 2**52 and are
exact in float64 in any order of summation; square root, division, product and rounding to the grid are
single IEEE 754 operations, correctly rounded everywhere.
"""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from synthgen.generate._rows import draw_isotropic
from synthgen.generate.streams import NOISE, Stream

#: Vectors are sums of at most this length, in units; its square is exact in float64.
LENGTH_BITS = 26
_TABLE_BITS = 24


@cache
def normal_table() -> NDArray[np.int32]:
    """Return 65,536 equally likely values of the standard normal, ascending, int32 in units of 2**-24.

    Made by scripts/make_normal_table.py, which says how.
    """
    upper = np.load(files("synthgen.generate") / "data" / "normal_16bit.npy")  # type: ignore[arg-type]
    return np.concatenate([-upper[::-1], upper]).astype(np.int32)


class IsotropicLaw:
    """Makes embeddings around ``centroids`` (k, d) float32 with noise ``std_dev`` per component.

    Results lie in ``block_rows`` rows that the next call overwrites: nothing is allocated in the loop.
    """

    def __init__(
        self, centroids: NDArray[np.float32], std_dev: float, decimals: int, block_rows: int
    ) -> None:
        self.dimension = centroids.shape[1]
        self.words_per_row = -(-self.dimension // 4)  # four 16-bit draws a word
        bits = _unit_bits(centroids, std_dev)
        self._noise = np.rint(normal_table() * math.ldexp(std_dev, bits - _TABLE_BITS)).astype(np.int32)
        self._centroids = np.rint(np.ldexp(centroids.astype(np.float64), bits)).astype(np.int32)
        self._grid = float(10**decimals)
        self._result = np.empty((block_rows, self.dimension), np.int32)

    def open_stream(self, seed: int, chunk: int, first_row: int) -> NDArray[np.uint64]:
        """Return the state of the noise stream of ``chunk`` at its row ``first_row``, for :meth:`embed`."""
        return Stream(seed, (NOISE, chunk), self.words_per_row, first_row).state()

    def embed(self, state: NDArray[np.uint64], clusters: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return (n, d) int32 grid components of the next n rows of the stream in ``state``, n =
        len(clusters), and move it on.
        """
        out = self._result[: len(clusters)]
        draw_isotropic(state, self._noise, self._centroids, clusters, self._grid, out, self.dimension)
        return out


def _unit_bits(centroids: NDArray[np.float32], std_dev: float) -> int:
    """Return the largest k for which no vector in units of 2**-k is longer than 2**26."""
    largest = math.ldexp(float(normal_table()[-1]), -_TABLE_BITS) * std_dev * math.sqrt(centroids.shape[1])
    # A sum of squares in numpy's own order would differ between machines; the maximum norm does not.
    largest += float(np.abs(centroids).max()) * math.sqrt(centroids.shape[1])
    return LENGTH_BITS - math.frexp(largest)[1]
