"""A small deterministic source of rows for tests: integers over a power of ten, no generator needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from synthgen.errors import InputError

DIMENSION = 768
_TABLE_SIZE = 20_000


@dataclass(frozen=True)
class TestRows:
    """``n_rows`` bodies that depend on ``key`` and the row alone.

    ``bodies`` replaces single rows; ``broken_at`` makes reading that row fail, as a damaged file would.
    """

    __test__ = False

    n_rows: int
    key: int = 1
    dimension: int = DIMENSION
    content_bytes: int = 100
    bodies: dict[int, bytes] = field(default_factory=dict)
    broken_at: int | None = None

    @property
    def digest(self) -> str:
        return f"{self.key:08x}{self.dimension:08x}"

    @property
    def name(self) -> str:
        return f"test rows {self.key}"

    def memory_id(self, row: int) -> str:
        return f"syn-{self.key:08x}-{row:013d}"

    def open(self) -> TestReader:
        return TestReader(self)

    def body(self, row: int) -> bytes:
        return self.bodies.get(row) or self._make(row)

    def numbers(self, row: int) -> str:
        start = row * 7919 % (_TABLE_SIZE - self.dimension)
        return ",".join(_table(self.key)[start : start + self.dimension])

    def _make(self, row: int) -> bytes:
        content = f'Memory {row} of "{self.key}", größer.'.ljust(self.content_bytes, ".")
        escaped = content.replace('"', '\\"')
        text = f'{{"id":"{self.memory_id(row)}","content":"{escaped}","embedding":[{self.numbers(row)}]'
        return f'{text},"confidence":{0.5 + (row * 7919 % 400_000) / 1e6:.6f}}}'.encode()


@lru_cache(maxsize=4)
def _table(key: int) -> list[str]:
    words = np.random.PCG64(key).random_raw(_TABLE_SIZE)
    millionths = (words >> np.uint64(40)).astype(np.int64) % 140_001 - 70_000
    return [f"{number / 1e6:9.6f}" for number in millionths.tolist()]


class TestReader:
    __test__ = False

    def __init__(self, rows: TestRows) -> None:
        self._rows = rows

    def read(self, start: int, stop: int) -> Sequence[bytes]:
        broken_at = self._rows.broken_at
        if broken_at is not None and start <= broken_at < stop:
            raise InputError(f"row {broken_at} is damaged", where=f"offset {broken_at * 100}")
        return [self._rows.body(row) for row in range(start, stop)]

    def close(self) -> None:
        pass
