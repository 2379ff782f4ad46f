"""Search over the known components by an index: what a scan of all finds, and why nothing is missed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from synthgen.server import indexing, partial, vectors, wear
from synthgen.server.recall import Match, Sought, nearest
from synthgen.server.state import State
from synthgen.server.store import prepare_database
from synthgen.server.vectors import SharedLock, Size, VectorIndex
from tests.server.test_indexing import caught_up, opened, store
from tests.server.test_vectors import clustered

ROWS = clustered(2_600)
SIZE = Size(300, 16, 4)
HALF = np.arange(768) < 384


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "SIZES", (SIZE,))
    monkeypatch.setattr(vectors, "_PART_LISTS", 3)
    monkeypatch.setattr(indexing, "QUIET_S", 0.02)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "memories.db"
    prepare_database(path)
    return path


def masks() -> list[NDArray[np.bool_]]:
    """Of 1, 20, 231 (the fewest that the route takes), 384 and 767 components."""
    found = [np.arange(768) == 5, np.arange(768) % 40 == 0, HALF, ~HALF, np.arange(768) > 0]
    return [*found, np.random.default_rng(4).permutation(768) < 231]


def over(query: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.where(known, query.astype(np.float64), np.nan)


async def both(state: State, vector: NDArray[np.float64], limit: int) -> tuple[list[Match], list[Match]]:
    """Return what the index finds, and what the scan of all does."""
    space = state.writer.spaces["s"]
    entry, n_memories = state.indexer.of(space), space.n_memories
    return (
        await state.search(partial.nearest_partial, entry, n_memories, vector, limit),
        await state.search(nearest, space, n_memories, vector, limit),
    )


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of each search that gave up on the index: how many it wanted."""
    wanted: list[int] = []

    def counted(*arguments: object) -> list[Match]:
        wanted.append(arguments[-1])  # type: ignore[arg-type]
        return nearest(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(partial, "nearest", counted)
    return wanted


def odd_rows() -> NDArray[np.float32]:
    """Rows with equal ones far apart, zero in one half, of any length, and unlike any of the sample."""
    rows = ROWS[:1_500].copy()
    rows[[700, 1_400, 90]] = rows[17]
    rows[300:340, :384] = 0
    rows[340:360, 384:] = 0
    rows[[17, 40, 50]] *= np.array([[1e25], [1e-25], [3.0]], np.float32)
    rows[60:63] = np.eye(768, dtype=np.float32)[5:8]
    return rows


def test_it_finds_what_the_scan_finds(
    database: Path, scans: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ties, zeros, loose vectors, replaced and new ones, memories without one; over any components."""
    monkeypatch.setattr(wear, "_WINDOW", np.inf)  # an index fitted anew would hold the loose ones better
    is_due = indexing.Indexer._is_due

    async def body() -> None:
        rows = odd_rows()
        async with opened(database) as state:
            # Fitted to a sample of all that passes over the loose ones: one of the first few would hold them.
            monkeypatch.setattr(indexing.Indexer, "_is_due", lambda self: False)
            await store(state, ((row, None if row % 97 == 1 else rows[row]) for row in range(1_300)))
            monkeypatch.setattr(indexing.Indexer, "_is_due", is_due)
            await caught_up(state)
            monkeypatch.setattr(indexing.Indexer, "_is_due", lambda self: False)
            await store(state, enumerate(rows[1_300:], 1_300))
            await store(state, ((row, rows[row + 1]) for row in (3, 301, 700, 1_450)))
            entry = state.indexer.of(state.writer.spaces["s"])
            assert entry.index is not None and entry.index.loose >= {61, 62} and entry.n_covered == 1_300
            for known in masks():
                queries = (rows[17] / 1e25, rows[310], -rows[9], clustered(1, seed=5)[0])
                for query, limits in zip(queries, ((1, 4, 2_000), (4,), (101,), (4,)), strict=True):
                    for limit in limits if query[known].any() else ():
                        found, truth = await both(state, over(query, known), limit)
                        assert found == truth, (known.sum(), limit)
                        assert not scans or known.sum() < 231 or limit == 2_000, "the index proves it"
                        scans.clear()

    asyncio.run(body())


def test_few_are_compared_where_a_third_is_known(
    database: Path, scans: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    n_read = 0
    read = Sought.rank

    def counted(self: Sought, readers: object, rows: NDArray[np.int64], limit: int) -> list[Match]:
        nonlocal n_read
        n_read += len(rows)
        return read(self, readers, rows, limit)  # type: ignore[arg-type]

    async def body() -> None:
        async with opened(database) as state:
            await store(state, enumerate(ROWS))
            await caught_up(state)
            monkeypatch.setattr(Sought, "rank", counted)
            space = state.writer.spaces["s"]
            for query in clustered(5, seed=6):
                await state.search(
                    partial.nearest_partial, state.indexer.of(space), len(ROWS), over(query, masks()[-1]), 4
                )

    asyncio.run(body())
    assert not scans and n_read < 5 * 400


def test_where_too_many_may_be_nearest_all_are_compared(database: Path, scans: list[int]) -> None:
    rows = vectors.normalise(ROWS[:1] + ROWS * np.float32(1e-3))

    async def body() -> None:
        async with opened(database) as state:
            await store(state, enumerate(rows))
            await caught_up(state)
            found, truth = await both(state, over(ROWS[0], HALF), 4)
            assert found == truth and scans == [4]

    asyncio.run(body())


def test_what_moves_during_a_search_is_found(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken out of a list not seen yet, and put into one that was: it would be in neither."""

    async def body() -> None:
        async with opened(database) as state:
            await store(state, enumerate(ROWS))
            await caught_up(state)
            monkeypatch.setattr(indexing.Indexer, "_is_due", lambda self: False)
            entry = state.indexer.of(state.writer.spaces["s"])
            assert entry.index is not None
            with entry.index.lock.shared():
                parts = [part.numbers for part in entry.index.parts(ROWS[0], HALF | True)]
            target, moving = int(parts[0][0]), int(parts[-1][0])
            await store(state, [(moving, ROWS[target])])
            entry.stale.clear()  # as a search saw it that began before
            move = _Move(entry.index, moving, ROWS[target])
            monkeypatch.setattr(SharedLock, "give_way", move.hook(SharedLock.give_way))
            found, truth = await both(state, over(ROWS[target], HALF), 2)
            assert move.n_done == 1
            assert found == truth and {match.row & 0xFFFF for match in found} == {target, moving}

    asyncio.run(body())


class _Move:
    """Has another thread move a vector, as the indexer does, when a search first gives way."""

    def __init__(self, index: VectorIndex, number: int, vector: NDArray[np.float32]) -> None:
        self._index, self._number, self._vector = index, number, vector
        self.n_done = 0

    def hook(self, give_way: Callable[[SharedLock], None]) -> Callable[[SharedLock], None]:
        def hooked(lock: SharedLock) -> None:
            if not self.n_done:
                thread = threading.Thread(target=self._act)
                thread.start()
                while thread.is_alive():
                    give_way(lock)
            give_way(lock)

        return hooked

    def _act(self) -> None:
        numbers = np.array([self._number])
        self._index.remove(numbers)
        self._index.add(numbers, self._vector[None])
        self.n_done += 1


def test_bounds_hold_and_would_not_with_a_smaller_error(monkeypatch: pytest.MonkeyPatch) -> None:
    index = VectorIndex.fit(ROWS[:640], SIZE)
    index.add(np.arange(len(ROWS)), ROWS)

    def n_outside(known: NDArray[np.bool_], query: NDArray[np.float32]) -> int:
        sought = Sought.of(over(query, known))
        count = 0
        for part in index.parts(sought.unit, known):
            stored = ROWS[part.numbers].astype(np.float64) * known
            lengths = np.linalg.norm(stored, axis=1)
            assert np.abs(np.sqrt(part.squares) - lengths).max() < 0.02
            cosines = np.clip(stored @ sought.vector / lengths, -1, 1)
            lowest, highest = partial._bounds(part.products, part.squares)
            tight = ~np.isin(part.numbers, list(index.loose))
            count += int(((cosines < lowest) | (cosines > highest))[tight].sum())
        return count

    assert [n_outside(known, ROWS[7]) for known in masks()] == [0] * len(masks())
    monkeypatch.setattr(VectorIndex, "error", index.error / 20)
    assert all(n_outside(known, ROWS[7]) for known in masks()[1:])
