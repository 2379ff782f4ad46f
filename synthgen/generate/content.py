"""What a memory says: its row, and the real topics that it lies near, where the model knows titles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import orjson
from numpy.typing import NDArray

from synthgen.generate._rows import join_texts
from synthgen.specs import ROW_DIGITS

_HEAD = b'"Synthetic memory '
_QUERY_HEAD = b'"Synthetic query '
#: By so many bytes the content of a query is shorter than that of a memory.
QUERY_SAVES = len(_HEAD) - len(_QUERY_HEAD)
#: Longest title quoted, in characters: a line's length is set by the longest content.
_TITLE_CHARACTERS = 60
_OUTLIER = b': far from all topics"'


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
        variants = ((words >> np.uint64(32)) * self.n_variants[clusters].astype(np.uint64)) >> np.uint64(32)
        return _join(first_row, self._tails[self._first[clusters] + variants.astype(np.int64)])


class AnchorContents:
    """The JSON text of the contents of rows that lie near an anchor, but for the row number.

    ``titles[v]``: the title of a real memory near anchor v, for each of ``n_anchors``, or no titles at all.
    A row says ``Synthetic memory <row>: near <title of its anchor>, towards <title of a neighbour>``.
    """

    def __init__(self, titles: Sequence[str], n_anchors: int) -> None:
        names = [_quoted(title) for title in titles]
        numbers = {name: number for number, name in enumerate(names)}
        self._name_of = np.array([numbers[name] for name in names] or [0] * n_anchors, np.int64)
        near = [b": near %s" % name for name in names]
        towards = [b', towards %s"' % name for name in names]
        if not names:
            near = [b": near anchor %d of %d" % (anchor, n_anchors) for anchor in range(n_anchors)]
            towards = [b'"'] * n_anchors
        tail_width = max(max(map(len, near)) + max(map(len, towards)), len(_OUTLIER))
        self.width = len(_HEAD) + ROW_DIGITS + tail_width
        # Behind all anchors: what an outlier says, what ends a row whose neighbour has its anchor's title.
        self._near, self._towards = _flatten([*near, _OUTLIER]), _flatten([*towards, b'"', b""])

    def write(
        self, first_row: int, anchors: NDArray[np.int64], towards: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        """Return (n, width) bytes as :meth:`ContentTable.write` does; anchor -1 is that of an outlier."""
        n = len(self._name_of)
        ends = np.where(self._name_of[anchors] == self._name_of[towards], n, towards)
        ends = np.where(anchors < 0, n + 1, ends)
        content, at = _begin(first_row, len(anchors), self.width)
        join_texts((*self._near, np.where(anchors < 0, n, anchors)), (*self._towards, ends), content, at)
        return content


def as_queries(contents: NDArray[np.uint8], first_query: int) -> NDArray[np.uint8]:
    """Return contents (n, width) of memories as those of queries, (n, width - QUERY_SAVES).

    They are numbered from ``first_query`` on, whatever rows they were before.
    """
    return _join(first_query, contents[:, len(_HEAD) + ROW_DIGITS :], _QUERY_HEAD)


def row_digits(first_row: int, n_rows: int) -> NDArray[np.uint8]:
    """Return (n_rows, 13) ASCII digits of the row numbers from ``first_row`` on."""
    digits = np.empty((n_rows, ROW_DIGITS), np.uint8)
    at = 0
    while at < n_rows:  # once, within a chunk
        thousands, rest = divmod(first_row + at, 1_000)
        part = digits[at : at + 1_000 - rest]
        part[:, :-3] = np.frombuffer(b"%0*d" % (ROW_DIGITS - 3, thousands), np.uint8)
        part[:, -3:] = _three_digits()[rest : rest + len(part)]
        at += len(part)
    return digits


@cache
def _three_digits() -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(b"%03d" % number for number in range(1_000)), np.uint8).reshape(-1, 3)


def _begin(first_row: int, n_rows: int, width: int, head: bytes = _HEAD) -> tuple[NDArray[np.uint8], int]:
    """Return contents (n, width) that hold ``head`` and the row number, and where what follows begins."""
    content = np.empty((n_rows, width), np.uint8)
    at = len(head) + ROW_DIGITS
    content[:, : len(head)] = np.frombuffer(head, np.uint8)
    content[:, len(head) : at] = row_digits(first_row, n_rows)
    return content, at


def _join(first_row: int, tails: NDArray[np.uint8], head: bytes = _HEAD) -> NDArray[np.uint8]:
    n_rows, width = tails.shape
    content, at = _begin(first_row, n_rows, len(head) + ROW_DIGITS + width, head)
    content[:, at:] = tails
    return content


def _flatten(texts: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return all bytes, and where each text begins, and the last one ends."""
    return np.frombuffer(b"".join(texts), np.uint8), np.cumsum([0, *map(len, texts)])


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
