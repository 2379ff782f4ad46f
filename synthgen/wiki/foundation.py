"""The built-in foundation: 7,533 real Wikipedia articles as memories, shipped as titles and embeddings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from synthgen.specs import BLOCK_ROWS, Rows

DECIMALS = 6
_CONFIDENCE_MILLIONTHS = 800_000
_ID = "wiki-vital-{:04d}"


@cache
def about() -> dict[str, Any]:
    """Return provenance, licence, encoding and stated error of the foundation."""
    document: dict[str, Any] = json.loads((files("synthgen.wiki") / "data" / "foundation.json").read_bytes())
    return document


@cache
def load_foundation() -> tuple[tuple[str, ...], NDArray[np.int16]]:
    """Return the titles, and the embeddings (7533, 768) int16 in steps of 2**-12 (not quite unit length)."""
    with np.load(BytesIO((files("synthgen.wiki") / "data" / "foundation.npz").read_bytes())) as data:
        columns = data["high"].astype(np.int16) * np.int16(256) + data["low"]
        titles = data["titles"].tobytes().decode().split("\n")
    return tuple(titles), np.ascontiguousarray(columns.T)


class Foundation:
    """The foundation's memories as a row maker: id ``wiki-vital-<row>``, content the title, confidence 0.8.

    Embeddings are scaled to unit length and rounded to 6 decimals; the same on every machine.
    """

    dimension = 768

    def __init__(self, limit: int | None = None) -> None:
        self.n_rows = min(limit or about()["rows"], about()["rows"])

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of titles and embeddings."""
        return str(about()["sha256"])

    @property
    def id_width(self) -> int:
        """Bytes of an id."""
        return len(_ID.format(0))

    @property
    def content_width(self) -> int:
        """Bytes of the longest title as JSON."""
        return int(_contents().shape[1])

    def blocks(self, start: int, stop: int) -> Iterator[Rows]:
        """Yield rows [start, stop) in blocks."""
        for at in range(start, stop, BLOCK_ROWS):
            yield _block(at, min(stop, at + BLOCK_ROWS))


def _block(start: int, stop: int) -> Rows:
    steps = load_foundation()[1][start:stop].astype(np.float64)
    scale = 10**DECIMALS / np.sqrt(np.einsum("ij,ij->i", steps, steps))  # exact sums of small integers
    return Rows(
        start,
        np.frombuffer("".join(map(_ID.format, range(start, stop))).encode(), np.uint8).reshape(
            stop - start, -1
        ),
        np.rint(steps * scale[:, None]).astype(np.int32),
        np.full(stop - start, _CONFIDENCE_MILLIONTHS, np.int32),
        _contents()[start:stop],
        np.empty(0, np.int64),
    )


@cache
def _contents() -> NDArray[np.uint8]:
    texts = [orjson.dumps(title) for title in load_foundation()[0]]
    width = max(map(len, texts))
    return np.frombuffer(b"".join(text.ljust(width) for text in texts), np.uint8).reshape(-1, width)
