"""The codes of a Zstandard frame: of literals (Huffman), of sequences (finite state entropy, FSE).

Made once, of how often things occur in some lines; a frame begins with their descriptions. Sections are those
of RFC 8878. Integers, and single roundings of floats: the same lines give the same codes on every machine.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Longest code of a literal in bits (section 4.2.1).
MOST_CODE_BITS = 11
#: Literals that have a code: ASCII, so that weights can be written as they are (section 4.2.1.1).
N_LITERALS = 128
_PAIR_BITS = 2 * MOST_CODE_BITS


Table = tuple[NDArray[np.uint32], NDArray[np.uint8], int]


@dataclass(frozen=True)
class LiteralCodes:
    """``single`` (256,) uint32: code | bits << 16; ``pairs`` (65536,) uint32, by first | second << 8: code of
    the second, then of the first above it | bits of both << 22; ``tree``: uint8, its description.
    """

    single: NDArray[np.uint32]
    pairs: NDArray[np.uint32]
    tree: NDArray[np.uint8]


@dataclass(frozen=True)
class SymbolTable:
    """An FSE table of 2**``log`` states. ``entries`` (symbols, 2**log) uint32, by symbol and the state that
    comes after it: the state that gives the symbol and leads there | bits << 16; ``description``: uint8.
    """

    entries: NDArray[np.uint32]
    description: NDArray[np.uint8]
    log: int

    @property
    def parts(self) -> Table:
        """All of it, as the kernel takes it."""
        return self.entries, self.description, self.log


def make_literal_codes(counts: Sequence[int]) -> LiteralCodes:
    """Return the Huffman codes of bytes 0 to 127 by how often each occurs.

    Each has one that a line of JSON can hold: control characters but the line's end have none.
    """
    coded = [literal for literal in range(N_LITERALS) if literal >= ord(" ") or literal == ord("\n")]
    bits = [0] * N_LITERALS
    for literal, n in zip(coded, _code_bits([max(1, counts[i]) for i in coded]), strict=True):
        bits[literal] = n
    longest = max(bits)
    weights = [longest + 1 - n if n else 0 for n in bits]
    single = np.zeros(256, np.uint32)
    code = 0
    for n in range(longest, 0, -1):  # section 4.2.1.3: the longest codes first, from 0 on
        for literal in (literal for literal in range(N_LITERALS) if bits[literal] == n):
            single[literal] = code | n << 16
            code += 1
        code >>= 1
    listed = weights[:-1]  # the last one follows from the others
    pairs = [*zip(listed[::2], [*listed[1::2], 0], strict=False)]
    tree = bytes([127 + len(listed), *(first << 4 | second for first, second in pairs)])
    return LiteralCodes(single, _pairs(single), np.frombuffer(tree, np.uint8))


def _pairs(single: NDArray[np.uint32]) -> NDArray[np.uint32]:
    codes, bits = single & 0xFFFF, single >> 16
    first, second = np.arange(65_536) & 0xFF, np.arange(65_536) >> 8
    both = codes[second] | codes[first] << bits[second] | (bits[first] + bits[second]) << _PAIR_BITS
    return np.asarray(both, np.uint32)


def _code_bits(counts: Sequence[int]) -> list[int]:
    """Return the lengths of Huffman codes, none longer than allowed: rare ones are taken for less rare."""
    while True:
        bits = _huffman_bits(counts)
        if max(bits) <= MOST_CODE_BITS:
            return bits
        counts = [max(1, -(-count // 2)) for count in counts]


def _huffman_bits(counts: Sequence[int]) -> list[int]:
    heap: list[tuple[int, int, tuple[int, ...]]]
    heap = [(count, number, (number,)) for number, count in enumerate(counts)]
    heapq.heapify(heap)
    bits = [0] * len(counts)
    while len(heap) > 1:
        (less, _, left), (more, number, right) = heapq.heappop(heap), heapq.heappop(heap)
        for literal in left + right:
            bits[literal] += 1
        heapq.heappush(heap, (less + more, number, left + right))
    return bits


def make_symbol_table(shares: Sequence[float], log: int) -> SymbolTable:
    """Return the FSE table of symbols by their ``shares``, relative; those of 0 get the least there is."""
    size = 1 << log
    certain = [share > 0 for share in shares]
    room = size - certain.count(False)
    total = sum(shares)
    counts = [max(1, int(share / total * room)) if share else -1 for share in shares]
    largest = max(range(len(counts)), key=counts.__getitem__)
    counts[largest] += room - sum(count for count in counts if count > 0)
    return SymbolTable(_entries(counts, log), _describe(counts, log), log)


def _entries(counts: Sequence[int], log: int) -> NDArray[np.uint32]:
    size = 1 << log
    entries = np.zeros((len(counts), size), np.uint32)
    following = [max(1, count) for count in counts]
    for state, symbol in enumerate(_spread(counts, size)):
        value = following[symbol]
        following[symbol] += 1
        n_bits = log - (value.bit_length() - 1)
        base = (value << n_bits) - size
        entries[symbol, base : base + (1 << n_bits)] = state | n_bits << 16
    return entries


def _spread(counts: Sequence[int], size: int) -> list[int]:
    """Return the symbol of each state (section 4.1.1)."""
    symbols = [-1] * size
    last = size - 1
    for symbol, count in enumerate(counts):
        if count == -1:
            symbols[last] = symbol
            last -= 1
    place, step = 0, (size >> 1) + (size >> 3) + 3
    for symbol, count in enumerate(counts):
        for _ in range(max(0, count)):
            symbols[place] = symbol
            place = (place + step) % size
            while place > last:
                place = (place + step) % size
    return symbols


def _describe(counts: Sequence[int], log: int) -> NDArray[np.uint8]:
    """Return the table's description (section 4.1.1); no count is 0."""
    text, n_bits = log - 5, 4
    remaining, threshold, width = (1 << log) + 1, 1 << log, log + 1
    for count in counts:
        most = 2 * threshold - 1 - remaining
        remaining -= abs(count)
        value = count + 1
        if value >= threshold:
            value += most
        text |= value << n_bits
        n_bits += width - (value < most)
        while remaining < threshold and threshold > 1:
            width, threshold = width - 1, threshold >> 1
    return np.frombuffer(text.to_bytes(-(-n_bits // 8), "little"), np.uint8)
