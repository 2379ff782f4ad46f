"""What a memory says: its row, and the real topics that it lies near, where the model knows titles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from synthgen.specs import ROW_DIGITS

_HEAD = b'"Synthetic memory '
#: Longest title quoted, in characters: a line's length is set by the longest content.
_TITLE_CHARACTERS = 60


class ContentTable:
    """The JSON text of all contents, but for the row number.

    ``titles[c]``: titles of real memories nearest to centroid c, nearest first (may be empty). A row of
    cluster c says ``Synthetic memory <row>: near <nearest title>, towards <another>``; which other, a
    random word decides. Contents differ at least in the row number.
    """

    def __init__(self, titles: Sequence[Sequence[str]], n_clusters: int) -> None:
        tails = [_tails(titles[c] if c < len(titles) else (), c, n_clusters) for c in range(n_clusters)]
        self._first = np.cumsum([0] + [len(t) for t in tails[:-1]])
        self.n_variants = np.array([len(t) for t in tails], np.int64)
        flat = [tail for cluster in tails for tail in cluster]
        width = max(map(len, flat))
        self._tails = np.frombuffer(b"".join(t.ljust(width) for t in flat), np.uint8).reshape(-1, width)
        self.width = len(_HEAD) + ROW_DIGITS + width

    def write(
        self, first_row: int, clusters: NDArray[np.int64], words: NDArray[np.uint64]
    ) -> NDArray[np.uint8]:
        """Return (n, width) bytes: JSON strings with their quotes, padded with blanks at the end."""
        n = len(clusters)
        content = np.empty((n, self.width), np.uint8)
        content[:, : len(_HEAD)] = np.frombuffer(_HEAD, np.uint8)
        content[:, len(_HEAD) : len(_HEAD) + ROW_DIGITS] = row_digits(first_row, n)
        variants = ((words >> np.uint64(32)) * self.n_variants[clusters].astype(np.uint64)) >> np.uint64(32)
        content[:, len(_HEAD) + ROW_DIGITS :] = self._tails[self._first[clusters] + variants.astype(np.int64)]
        return content


def row_digits(first_row: int, n_rows: int) -> NDArray[np.uint8]:
    """Return (n_rows, 13) ASCII digits of the row numbers from ``first_row`` on."""
    rows = np.arange(first_row, first_row + n_rows, dtype=np.int64)
    powers = 10 ** np.arange(ROW_DIGITS - 1, -1, -1, dtype=np.int64)
    return (rows[:, None] // powers % 10 + ord("0")).astype(np.uint8)


def _tails(titles: Sequence[str], cluster: int, n_clusters: int) -> list[bytes]:
    """Return the possible endings of a cluster's contents, closing quote included."""
    short = [_quoted(title) for title in titles]
    if not short:
        return [b': near centroid %d of %d"' % (cluster, n_clusters)]
    if len(short) == 1:
        return [b": near %s" % short[0] + b'"']
    return [b": near %s, towards %s" % (short[0], other) + b'"' for other in short[1:]]


def _quoted(title: str) -> bytes:
    text = title if len(title) <= _TITLE_CHARACTERS else title[: _TITLE_CHARACTERS - 1] + "…"
    return orjson.dumps(text)[1:-1]
