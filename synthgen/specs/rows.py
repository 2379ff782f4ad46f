"""Rows on their way: their numbers, their arrays, and the protocols of whoever makes or reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Grid:
    """The numbers that a component can be: whole steps of 10**-``decimals``, at most ``largest`` of them.

    ``largest`` is below 2**31, so that components are int32.
    """

    decimals: int
    largest: int

    @classmethod
    def unit(cls, decimals: int) -> Grid:
        """Return the grid of vectors that are not longer than 1."""
        return cls(decimals, 10**decimals)

    @property
    def integer_digits(self) -> int:
        """Digits before the point of the largest number, at least one."""
        return len(str(self.largest // 10**self.decimals))

    def describe(self, decimals_asked: int) -> str:
        """Return what to tell a person where there is no room for the decimals asked for, else nothing."""
        if self.decimals == decimals_asked:
            return ""
        return (
            f"{self.integer_digits} digits before the point, as vectors are long, and so {self.decimals} "
            f"decimals (asked: {decimals_asked})"
        )

    def to_document(self) -> dict[str, int]:
        """Return the grid as a JSON document; :meth:`from_document` reads it back."""
        return {
            "integer_digits": self.integer_digits,
            "decimals": self.decimals,
            "largest": self.largest,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Grid:
        """Read what :meth:`to_document` wrote; raise KeyError, TypeError or ValueError on anything else."""
        return cls(int(document["decimals"]), int(document["largest"]))


@dataclass(frozen=True)
class Rows:
    """Consecutive memories of a dataset, as arrays of fixed width.

    ``ids``: (n, i) uint8, ASCII; ``embeddings``: (n, d) int32, components in steps of the dataset's grid;
    ``confidences``: (n,) int32 in millionths; ``contents``: (n, c) uint8, JSON-encoded strings (UTF-8,
    quotes included), padded with blanks; ``clusters``: (n,) int64, where the law has such, else empty.
    """

    start: int
    ids: NDArray[np.uint8]
    embeddings: NDArray[np.int32]
    confidences: NDArray[np.int32]
    contents: NDArray[np.uint8]
    clusters: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.embeddings)


class RowMaker(Protocol):
    """A picklable function from row ranges to :class:`Rows`; all rows have the same widths."""

    @property
    def id_width(self) -> int:
        """Bytes of an id."""
        ...

    @property
    def content_width(self) -> int:
        """Bytes of a content, padding included."""
        ...

    def blocks(self, start: int, stop: int) -> Iterator[Rows]:
        """Yield rows [start, stop) in blocks whose arrays are valid until the next one is asked for."""
        ...


class RowReader(Protocol):
    """An opened source of request bodies; used by one thread of one process."""

    def read(self, start: int, stop: int) -> Sequence[bytes]:
        """Return the JSON bodies of rows [start, stop), each one object with id, content, embedding,
        confidence; raise InputError naming rows and offset where the source is damaged.
        """
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


@runtime_checkable
class RowSource(Protocol):
    """Where memories come from: picklable, opened anew by each process that reads it."""

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        ...

    @property
    def digest(self) -> str:
        """Hex digest that identifies the rows: equal digests mean equal bodies."""
        ...

    @property
    def name(self) -> str:
        """What to call it in messages: a path, or the spec's fingerprint."""
        ...

    def open(self) -> RowReader:
        """Open it in this process."""
        ...
