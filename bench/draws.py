"""How normal is a stream of draws: Kolmogorov-Smirnov, six moments, tails; block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import kolmogorov, ndtr, ndtri  # type: ignore[import-untyped]

from synthgen.generate import isotropic
from synthgen.generate.streams import NOISE, Stream

Floats = NDArray[np.float64]
#: From a seed and a number of draws to blocks of them, (n,) float64.
Source = Callable[[int, int], Iterator[Floats]]

BLOCK_DRAWS = 2**18
N_MOMENTS = 6
TAILS = (3.0, 4.0)
#: Bins that are equally likely under the normal: how near the largest gap is found.
_N_BINS = 2**20
_TABLE_STEPS = 2.0**24
#: E[x**k] of the standard normal for k up to 12: 0 for odd ones, else (k - 1)!!.
_NORMAL_MOMENTS = (1.0, 0.0, 1.0, 0.0, 3.0, 0.0, 15.0, 0.0, 105.0, 0.0, 945.0, 0.0, 10_395.0)


@dataclass(frozen=True)
class Draws:
    """What ``n`` draws are like (0: all values of a table, each once). ``ks``: the largest gap between their
    distribution function and the normal one; ``moments``: means of x**1 to x**6; ``tails``: shares beyond
    3 and 4 in size; ``largest`` in size.
    """

    source: str
    n: int
    ks: float
    moments: tuple[float, ...]
    tails: tuple[float, ...]
    largest: float

    @property
    def ks_p(self) -> float:
        """Share of samples of exact normals, of this size, with a larger gap (Kolmogorov 1933)."""
        return float(kolmogorov(self.ks * np.sqrt(self.n)))

    def errors(self) -> list[float]:
        """Return by how many standard errors moments and tails differ from those of the normal."""
        found, expected = (*self.moments, *self.tails), (*normal_moments(), *normal_tails())
        errors = (*moment_errors(self.n), *tail_errors(self.n))
        return [(a - b) / error for a, b, error in zip(found, expected, errors, strict=True)]


def normal_moments() -> tuple[float, ...]:
    """Return the means of x**1 to x**6 of the standard normal."""
    return _NORMAL_MOMENTS[1 : N_MOMENTS + 1]


def moment_errors(n: int) -> list[float]:
    """Return standard errors of the six moments of ``n`` exact normals; Var(x**k) = E x**2k - E(x**k)**2."""
    ks = range(1, N_MOMENTS + 1)
    return [float(np.sqrt((_NORMAL_MOMENTS[2 * k] - _NORMAL_MOMENTS[k] ** 2) / n)) for k in ks]


def normal_tails() -> tuple[float, ...]:
    """Return the shares of the standard normal beyond each of TAILS in size."""
    return tuple(float(2 * ndtr(-tail)) for tail in TAILS)


def tail_errors(n: int) -> list[float]:
    """Return the standard errors of those shares among ``n`` exact normals."""
    return [float(np.sqrt(share * (1 - share) / n)) for share in normal_tails()]


def draw_table(seed: int, n: int) -> Iterator[Floats]:
    """Yield ``n`` draws of the package's table by the package's words, as the isotropic law draws them."""
    values = isotropic.normal_table() / _TABLE_STEPS
    stream = Stream(seed, (NOISE, 0), 1)
    for size in _block_sizes(n):
        words = stream.next_rows(-(-size // 4)).astype("<u8", copy=False)
        yield values[words.view("<u2")[:size]]


def draw_exact(seed: int, n: int) -> Iterator[Floats]:
    """Yield ``n`` normals of numpy's own (ziggurat; all 53 bits of a float64)."""
    generator = np.random.default_rng([seed, 1])
    for size in _block_sizes(n):
        yield generator.standard_normal(size)


def draw_bytes(seed: int, n: int) -> Iterator[Floats]:
    """Yield ``n`` projections of the fitted law's isotropic noise on random directions of 768 components:
    odd bytes, as the law draws them, over their standard deviation.
    """
    dimension, deviation = 768, np.sqrt((128**2 - 1) / 3)
    generator = np.random.default_rng([seed, 2])
    for size in _block_sizes(n, BLOCK_DRAWS // dimension):
        direction = generator.standard_normal(dimension)
        direction /= np.linalg.norm(direction) * deviation
        noise = generator.integers(-64, 64, (size, dimension), np.int8) * np.int8(2) + np.int8(1)
        yield noise @ direction


def _block_sizes(n: int, most: int = BLOCK_DRAWS) -> Iterator[int]:
    for at in range(0, n, most):
        yield min(most, n - at)


def measure_draws(name: str, source: Source, seed: int, n: int) -> Draws:
    """Return what ``n`` draws of ``source`` are like; holds one block of them and the counts of the bins.

    The gap is found at the edges of 2**20 bins: it may be larger between two of them, by 1e-6 at most.
    """
    counts = np.zeros(_N_BINS, np.int64)
    sums, beyond, largest = np.zeros(N_MOMENTS), np.zeros(len(TAILS), np.int64), 0.0
    for block in source(seed, n):
        counts += np.bincount(
            np.minimum(ndtr(block) * _N_BINS, _N_BINS - 1).astype(np.int64), minlength=_N_BINS
        )
        power = block.copy()
        for k in range(N_MOMENTS):
            sums[k] += power.sum()
            power *= block
        sizes = np.abs(block)
        beyond += [int((sizes > tail).sum()) for tail in TAILS]
        largest = max(largest, float(sizes.max()))
    edges = np.arange(1, _N_BINS) / _N_BINS
    ks = float(np.abs(np.cumsum(counts)[:-1] / n - edges).max())
    return Draws(name, n, ks, tuple((sums / n).tolist()), tuple((beyond / n).tolist()), largest)


def measure_table(name: str) -> Draws:
    """Return what all values of the table are like, each taken once: without noise."""
    values = isotropic.normal_table() / _TABLE_STEPS
    places, below = np.arange(len(values) + 1) / len(values), ndtr(np.sort(values))
    ks = float(max(np.abs(below - places[:-1]).max(), np.abs(below - places[1:]).max()))
    moments = tuple(float(np.mean(values**k)) for k in range(1, N_MOMENTS + 1))
    tails = tuple(float((np.abs(values) > tail).mean()) for tail in TAILS)
    return Draws(name, 0, ks, moments, tails, float(np.abs(values).max()))


def expected_largest(n: int) -> float:
    """Return the median of the largest of ``n`` normals in size."""
    return float(-ndtri(-np.expm1(np.log(0.5) / n) / 2))
