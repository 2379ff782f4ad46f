"""Random words addressed by key, never handed out in order.

A stream is named by (purpose, chunk): ``SeedSequence(entropy=seed, spawn_key=(purpose, chunk))`` keys a
PCG64DXSM generator (O'Neill 2014; numpy's cheap-multiplier variant), of which raw 64-bit words alone are
used, a fixed number a row. So any row can be made alone: jump to its words.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Purposes. Numbers are part of the generator version: never reuse one.
NOISE = 0
CLUSTER = 1
CONTENT = 2
CONFIDENCE = 3
MIXTURE = 4
MIXTURE_NOISE = 5
PAIRS = 6
SHIFT = 7


class Stream:
    """The words of one purpose in one chunk, from row ``first_row`` of that chunk on.

    ``words_per_row`` words belong to each row; depends on (seed, purpose, chunk) alone.
    """

    def __init__(self, seed: int, key: tuple[int, int], words_per_row: int, first_row: int = 0) -> None:
        generator = np.random.PCG64DXSM(np.random.SeedSequence(entropy=seed, spawn_key=key))
        if first_row:
            generator.advance(first_row * words_per_row)
        self._generator = generator
        self._words_per_row = words_per_row

    def next_rows(self, n_rows: int) -> NDArray[np.uint64]:
        """Return the words of the next ``n_rows`` rows, (n_rows * words_per_row,) uint64."""
        return self._generator.random_raw(n_rows * self._words_per_row)

    def state(self) -> NDArray[np.uint64]:
        """Return the generator's state and increment, (4,) uint64, low halves first: for the kernel, which
        makes the same words from there on and moves its state along; this stream does not follow.
        """
        found = self._generator.state["state"]
        halves = [found["state"], found["state"] >> 64, found["inc"], found["inc"] >> 64]
        return np.array([half & (2**64 - 1) for half in halves], np.uint64)


def uniform_below(words: NDArray[np.uint64], bound: int) -> NDArray[np.int64]:
    """Return integers in [0, bound), one a word: high 32 bits times bound, shifted (Lemire 2019).

    ``bound`` < 2**31; no rejection, so the bias is below bound / 2**32. Exact on every machine.
    """
    return (((words >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32)).astype(np.int64)
