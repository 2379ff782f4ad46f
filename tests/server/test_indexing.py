"""Indexes follow the store: nothing stored is missed, whatever an index holds, and whatever is left of it."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from synthgen.server import indexing, recall, vectors
from synthgen.server.indexing import FOLDER_NAME
from synthgen.server.reading import Readers
from synthgen.server.recall import Match, nearest, nearest_indexed, nearest_proven
from synthgen.server.requests import Memory
from synthgen.server.state import State
from synthgen.server.status import health
from synthgen.server.store import Space, prepare_database
from synthgen.server.vectors import Size
from synthgen.wiki.foundation import load_foundation
from tests.server.client import Client, numbers
from tests.server.older import take_back
from tests.server.test_vectors import clustered
from tests.serverproc import running_server

SMALL, LARGE = Size(300, 8, 4), Size(2_000, 16, 6)
ROWS = clustered(2_600)


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "SIZES", (SMALL, LARGE))
    monkeypatch.setattr(indexing, "QUIET_S", 0.02)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "memories.db"
    prepare_database(path)
    return path


@asynccontextmanager
async def opened(database: Path) -> AsyncIterator[State]:
    state = State(database, asyncio.get_running_loop())
    state.start()
    try:
        yield state
    finally:
        state.close()


async def store(
    state: State, found: Iterable[tuple[int, NDArray[np.float32] | None]], space: str = "s"
) -> None:
    memories = [
        Memory(space, str(name), "x", 0.5, 0, 0, "semantic", None, None if row is None else row.tobytes())
        for name, row in found
    ]
    for start in range(0, len(memories), 200):
        await asyncio.gather(*(state.writer.store(memory) for memory in memories[start : start + 200]))


async def caught_up(state: State) -> None:
    deadline_s = time.monotonic() + 60
    while state.indexer.lag:
        assert time.monotonic() < deadline_s, (state.indexer.lag, state.indexer.last_error)
        await asyncio.sleep(0.01)


async def ask(
    state: State, search: Callable[..., list[Match]], query: NDArray[np.float32], limit: int = 10
) -> list[int]:
    """Return the ordinals of what a search finds."""
    space = state.writer.spaces["s"]
    where = space if search is nearest else state.indexer.of(space)
    found = await state.search(search, where, space.n_memories, query.astype(np.float64), limit)
    return [match.row - space.first_row for match in found]


async def check(state: State, stored: NDArray[np.float32], n_queries: int = 12) -> None:
    """Assert that the proven search is the exact one, and that the index misses hardly anything."""
    n_found = 0
    for query in clustered(n_queries, seed=5):
        truth = np.argsort(-(vectors.normalise(stored) @ query))[:10].tolist()
        assert await ask(state, nearest_proven, query) == await ask(state, nearest, query) == truth
        n_found += len(set(truth) & set(await ask(state, nearest_indexed, query)))
    assert n_found >= 0.88 * 10 * n_queries


def run(body: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(body())  # type: ignore[arg-type]


def index_of(state: State) -> vectors.VectorIndex | None:
    return state.indexer.of(state.writer.spaces["s"]).index


def test_it_grows_from_no_index_over_a_small_one_to_a_large_one(database: Path) -> None:
    async def body() -> None:
        async with opened(database) as state:
            for stop, size in ((250, None), (900, SMALL), (1_900, SMALL), (2_600, LARGE)):
                start = state.writer.spaces["s"].n_memories if "s" in state.writer.spaces else 0
                await store(state, enumerate(ROWS[start:stop], start))
                await check(state, ROWS[:stop], 4)  # at once, however far the index is
                await caught_up(state)
                index = index_of(state)
                assert (index.size if index else None) == size
                await check(state, ROWS[:stop])

    run(body)


def test_an_index_that_is_not_in_its_place_yet_lags(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are added, but how many lists to look into is being found out: nobody can search it."""
    states: list[State] = []
    lags: list[int] = []
    widen, is_due = vectors.VectorIndex.widen, indexing.Indexer._is_due

    def observed(index: vectors.VectorIndex, asked: NDArray[np.float32]) -> Iterator[None]:
        for _ in widen(index, asked):
            lags.append(states[0].indexer.lag)
            yield
        assert len(asked) > 100

    async def body() -> None:
        async with opened(database) as state:
            states.append(state)
            monkeypatch.setattr(indexing.Indexer, "_is_due", lambda self: False)
            await store(state, enumerate(ROWS[:1_900]))  # one that is made of the first few asks for too few
            monkeypatch.setattr(indexing.Indexer, "_is_due", is_due)
            await caught_up(state)
            assert lags and min(lags) >= 1 and index_of(state) is not None

    monkeypatch.setattr(vectors.VectorIndex, "widen", observed)
    run(body)


def test_a_search_reads_little_more_than_it_tells_of(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row is a read of the disk where the database does not fit the memory."""
    read: list[int] = []
    read_vectors_of = recall.read_vectors_of

    def counting(readers: Readers, rows: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        read.extend(rows)
        return read_vectors_of(readers, rows)

    async def body() -> None:
        async with opened(database) as state:
            await store(state, enumerate(ROWS))
            await caught_up(state)
            monkeypatch.setattr(recall, "read_vectors_of", counting)
            monkeypatch.setattr(recall, "_MORE_READ", 1)
            for search in (nearest_indexed, nearest_proven):
                for query in clustered(12, seed=5):
                    read.clear()
                    await ask(state, search, query)
                    cosines = np.sort(vectors.normalise(ROWS) @ query)[::-1]
                    n_needed = int(np.sum(cosines > cosines[9] - 2 * vectors.VectorIndex.error))
                    assert 10 <= len(read) <= max(16, n_needed), (search.__name__, len(read), n_needed)
                    assert len(set(read)) == len(read)

    run(body)


def test_what_was_replaced_hides_nothing_behind_it(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its old bytes lie in the index and are nearest there; more of them than a search asks for."""
    monkeypatch.setattr(vectors, "SIZES", (Size(300, 8, 8),))

    async def body() -> None:
        async with opened(database) as state:
            query, stored = clustered(1, seed=5)[0], ROWS[:1_900].copy()
            await store(state, enumerate(stored))
            await caught_up(state)
            monkeypatch.setattr(indexing.Indexer, "_is_due", lambda self: False)
            nearest_150 = np.argsort(-(vectors.normalise(stored) @ query))[:150]
            stored[nearest_150] = -query
            await store(state, ((int(row), stored[row]) for row in nearest_150))
            assert state.indexer.lag == 150
            truth = np.argsort(-(vectors.normalise(stored) @ query))[:10].tolist()
            assert await ask(state, nearest_indexed, query) == truth
            assert await ask(state, nearest_proven, query) == truth
            await store(state, ((int(row), None) for row in nearest_150))
            assert await ask(state, nearest_indexed, query) == truth

    run(body)


def test_where_memories_trickle_none_waits_for_a_piece(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing.Indexer, "_is_quiet", lambda self: False)
    monkeypatch.setattr(indexing, "_LONGEST_S", 0.05)

    async def body() -> None:
        async with opened(database) as state:
            await store(state, enumerate(ROWS[:400]))
            await caught_up(state)

    run(body)


@pytest.mark.parametrize("is_appended", [False, True])
def test_it_is_fitted_anew_once_its_vectors_have_changed(
    database: Path, is_appended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another model's vectors come, under the same ids or beside the others."""
    is_due = indexing.Indexer._is_due
    others = np.roll(clustered(1_200, seed=77), 5, axis=1)

    async def body() -> None:
        async with opened(database) as state:
            monkeypatch.setattr(indexing.Indexer, "_is_due", lambda self: False)
            await store(state, enumerate(ROWS[:600]))
            monkeypatch.setattr(indexing.Indexer, "_is_due", is_due)
            await caught_up(state)
            first = index_of(state)
            await store(state, enumerate(ROWS[600:1_000], 600))  # more of the same
            await caught_up(state)
            assert first is not None and index_of(state) is first
        async with opened(database) as state:  # what it was fitted to is known after a restart, too
            first = index_of(state)
            assert first is not None and first.wear.n_fitted == 600 and first.wear.n_replaced == 0
            start = 1_000 if is_appended else 0
            await store(state, enumerate(others[: 900 if is_appended else 1_000], start))
            await caught_up(state)
            second = index_of(state)
            assert second is not None and second is not first and not second.wear.is_worn
            assert second.size == first.size
            stored = np.concatenate((ROWS[:1_000], others[:900])) if is_appended else others[:1_000]
            truth = np.argsort(-(vectors.normalise(stored) @ others[1_100]))[:10].tolist()
            assert await ask(state, nearest_proven, others[1_100]) == truth
        async with opened(database) as state:
            third = index_of(state)
            assert third is not None and third.wear == second.wear

    run(body)


def test_while_it_lags_everything_is_found(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_due = indexing.Indexer._is_due
    monkeypatch.setattr(indexing.Indexer, "_is_due", lambda self: False)

    async def body() -> None:
        async with opened(database) as state:
            await store(state, enumerate(ROWS[:700]))
            assert state.indexer.lag == 700 and index_of(state) is None
            await check(state, ROWS[:700])
            monkeypatch.setattr(indexing.Indexer, "_is_due", is_due)
            await caught_up(state)
            monkeypatch.setattr(indexing.Indexer, "_is_due", lambda self: False)
            await store(state, enumerate(ROWS[700:1_500], 700))
            assert state.indexer.lag == 800 and index_of(state) is not None
            for row in (0, 699, 700, 1_499):
                assert (await ask(state, nearest_indexed, ROWS[row], 1)) == [row]
            await check(state, ROWS[:1_500])

    run(body)


def test_replaced_vectors_are_found_where_they_are(database: Path) -> None:
    """Before the index knows of them, after it does, and when the server was started anew in between."""
    changed = ROWS[:1_000].copy()
    changed[::7] = clustered(143, seed=8)

    async def replace() -> None:
        async with opened(database) as state:
            await store(state, enumerate(ROWS[:1_000]))
            await caught_up(state)
        async with opened(database) as state:
            assert state.indexer.lag == 0 and index_of(state) is not None
            await store(state, [(row, changed[row]) for row in range(0, 1_000, 7)])
            await check(state, changed)
            await caught_up(state)
            await check(state, changed)

    async def look() -> None:
        async with opened(database) as state:
            await check(state, changed)

    run(replace)
    run(look)


def test_what_was_replaced_after_the_file_is_known_after_a_kill(database: Path, tmp_path: Path) -> None:
    """A copy of folder and database taken while the server runs is what a kill would leave."""
    changed = ROWS[:1_000].copy()
    changed[5:300:9] = clustered(33, seed=9)

    async def body() -> None:
        async with opened(database) as state:
            await store(state, enumerate(ROWS[:1_000]))
            await caught_up(state)
        async with opened(database) as state:
            state.indexer._try = lambda act: time.sleep(0.01)  # type: ignore[method-assign]  # killed before
            await store(state, [(row, changed[row]) for row in range(5, 300, 9)])
            (tmp_path / "left").mkdir()
            for path in (database, database.with_name("memories.db-wal")):
                shutil.copy(path, tmp_path / "left" / path.name)
            shutil.copytree(database.with_name(FOLDER_NAME), tmp_path / "left" / FOLDER_NAME)
        async with opened(tmp_path / "left" / "memories.db") as state:
            assert index_of(state) is not None and state.indexer.of(state.writer.spaces["s"]).n_saved == 1_000
            await check(state, changed)
            await caught_up(state)
            await check(state, changed)

    run(body)


def test_memories_without_vectors_are_passed_over(database: Path) -> None:
    async def body() -> None:
        async with opened(database) as state:
            await store(state, ((name, None) for name in range(400)))
            await caught_up(state)
            assert index_of(state) is None and state.indexer.last_error == ""
            await store(state, ((name, ROWS[name] if name % 2 else None) for name in range(400, 1_200)))
            await caught_up(state)
            assert await ask(state, nearest_indexed, ROWS[777], 1) == [777]
            await store(state, [(777, None), (778, ROWS[777])])
            assert await ask(state, nearest_indexed, ROWS[777], 1) == [778]
            await caught_up(state)
            assert await ask(state, nearest_proven, ROWS[777], 1) == [778]

    run(body)


def lose(folder: Path, database: Path) -> None:
    shutil.rmtree(folder)


def damage(folder: Path, database: Path) -> None:
    [path] = folder.iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(folder: Path, database: Path) -> None:
    [path] = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-100])


def exchange(folder: Path, database: Path) -> None:
    """Another database's index, whose name is the same."""
    [path] = folder.iterdir()
    path.write_bytes(path.read_bytes().replace(b"\x3c\x3c", b"\x3d\x3c"))


def restore_older(folder: Path, database: Path) -> None:
    """The database of a backup, beside an index that is newer."""
    shutil.copy(database.with_name("backup.db"), database)


@pytest.mark.parametrize("fault", [lose, damage, cut, exchange, restore_older])
def test_a_lost_or_stale_index_is_made_anew(
    database: Path, fault: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = ROWS[:1_000].copy()
    changed[3:9] = clustered(6, seed=11)
    is_older = fault is restore_older

    async def fill() -> None:
        async with opened(database) as state:
            await store(state, enumerate(ROWS[:1_000]))
            await caught_up(state)
        shutil.copy(database, database.with_name("backup.db"))
        async with opened(database) as state:
            await store(state, [(row, changed[row]) for row in range(3, 9)])
            await caught_up(state)

    async def look() -> None:
        async with opened(database) as state:
            assert state.indexer.of(state.writer.spaces["s"]).n_covered == 0, "the file was believed"
            held.undo()
            stored = ROWS[:1_000] if is_older else changed
            await check(state, stored)
            await caught_up(state)
            assert index_of(state) is not None
            await check(state, stored)

    run(fill)
    assert len(list(database.with_name(FOLDER_NAME).iterdir())) == 1, "the file before was left"
    fault(database.with_name(FOLDER_NAME), database)
    with monkeypatch.context() as held:
        held.setattr(indexing.Indexer, "_is_due", lambda self: False)
        run(look)


def test_an_index_that_cannot_be_kept_hinders_nobody(
    database: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    database.with_name(FOLDER_NAME).write_text("a file has the name of the folder")

    async def body() -> None:
        async with opened(database) as state:
            await store(state, enumerate(ROWS[:1_000]))
            await caught_up(state)
            await check(state, ROWS[:1_000], 4)
            deadline_s = time.monotonic() + 60
            while b'"status":"healthy"' in health(state).body:
                assert time.monotonic() < deadline_s
                await asyncio.sleep(0.02)

    run(body)
    assert "synthgen serve: index of vectors: " in capfd.readouterr().err

    async def again() -> None:
        async with opened(database) as state:
            await check(state, ROWS[:1_000], 4)

    run(again)


def test_spaces_have_indexes_of_their_own(database: Path) -> None:
    async def body() -> None:
        async with opened(database) as state:
            await store(state, enumerate(ROWS[:500]))
            await store(state, enumerate(ROWS[500:1_100]), "other")
            await caught_up(state)
            await check(state, ROWS[:500])
        async with opened(database) as state:
            assert {state.indexer.of(space).n_covered for space in state.writer.spaces.values()} == {
                0,
                500,
                600,
            }
            await check(state, ROWS[:500])

    run(body)


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_database_is_given_what_it_lacks(database: Path, version: int) -> None:
    async def fill() -> None:
        async with opened(database) as state:
            await store(state, enumerate(ROWS[:400]))

    run(fill)
    take_back(database, version)
    connection = sqlite3.connect(database)
    # While this connection is open the log is not copied into the file, as after a kill.
    connection.execute("SELECT count(*) FROM memory")
    prepare_database(database)
    connection.execute("SELECT count(*) FROM vector_index")
    assert int.from_bytes(database.read_bytes()[60:64], "big") == version
    prepare_database(database)
    connection.close()

    async def look() -> None:
        async with opened(database) as state:
            await caught_up(state)
            await check(state, ROWS[:400], 4)

    run(look)


def spaces_of(state: State) -> list[Space]:
    return list(state.writer.spaces.values())


def test_real_vectors_over_the_wire(tmp_path: Path) -> None:
    """The running server at its own sizes: lag told, found, found again after a restart and after a kill."""
    titles, steps = load_foundation()
    rows = vectors.normalise(steps[:5_200].astype(np.float32))
    database = tmp_path / "data" / "memories.db"
    database.parent.mkdir()
    prepare_database(database)

    async def fill() -> None:
        async with opened(database) as state:
            await store(state, zip(titles, rows[:5_000], strict=False), "real")

    run(fill)

    def recalled(client: Client, row: int, **more: str) -> list[str]:
        answer = client.get(
            "/api/v1/memories/recall",
            space="real",
            embedding=str(numbers(rows[row])),
            max_results="10",
            **more,
        ).json
        return [item["id"] for part in ("vivid", "associated") for item in answer["memories"][part]]

    def look(client: Client) -> None:
        deadline_s = time.monotonic() + 60
        while client.get("/health").json["index_lag"]:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        n_found = 0
        for row in range(0, 5_200, 260):
            stored = rows[:5_000]
            truth = [titles[i] for i in np.argsort(-(stored @ rows[row]))[:10]]
            assert recalled(client, row, mode="exact") == truth
            n_found += len(set(truth) & set(recalled(client, row)))
        assert n_found >= 0.95 * 200
        partial = [value if place % 2 else None for place, value in enumerate(numbers(rows[4_242]))]
        body = {"partial_episode": {"partial_embedding": partial}, "memory_space_id": "real"}
        assert client.send("POST", "/api/v1/complete", body).json["completed_episode"]["id"] == titles[4_242]

    for _ in range(2):
        with running_server(tmp_path / "data") as server, Client(server.port) as client:
            look(client)
            server.kill()
    with running_server(tmp_path / "data") as server, Client(server.port) as client:
        look(client)
        assert server.stop() == 0
    with running_server(tmp_path / "data") as server, Client(server.port) as client:
        assert client.get("/health").json["index_lag"] == 0
        look(client)


def test_what_was_added_is_saved_when_nothing_more_comes(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "_SAVE_IDLE_S", 0.1)

    async def body() -> None:
        async with opened(database) as state:
            await store(state, enumerate(ROWS[:1_000]))
            await caught_up(state)
            await store(state, enumerate(ROWS[1_000:1_050], 1_000))  # too few for that by themselves
            await caught_up(state)
            entry, deadline_s = state.indexer.of(state.writer.spaces["s"]), time.monotonic() + 60
            while entry.n_saved < 1_050:
                assert time.monotonic() < deadline_s
                await asyncio.sleep(0.02)

    run(body)


def by_hand(monkeypatch: pytest.MonkeyPatch, piece_rows: int = 100) -> None:
    """Leave the indexer's thread idle, so that a test does its work a piece at a time."""
    monkeypatch.setattr(indexing.Indexer, "_run", lambda self: None)
    monkeypatch.setattr(indexing, "PIECE_ROWS", piece_rows)
    monkeypatch.setattr(indexing, "QUIET_S", 3_600.0)  # so that what is not a piece yet waits


async def advance(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do all there is to do."""
    monkeypatch.setattr(indexing, "QUIET_S", -1.0)
    while state.indexer.lag:
        state.indexer._advance()
    monkeypatch.setattr(indexing, "QUIET_S", 3_600.0)


def test_while_a_larger_index_is_made_the_smaller_one_is_kept_up(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes and is replaced meanwhile: a search compares little, and the larger one has it all then."""
    by_hand(monkeypatch)
    stored = ROWS.copy()

    async def body() -> None:
        async with opened(database) as state:
            await store(state, enumerate(ROWS[:1_980]))
            await advance(state, monkeypatch)
            entry, stop, n_pieces, n_quick = state.indexer.of(state.writer.spaces["s"]), 1_980, 0, 0
            while index_of(state) is None or index_of(state).size == SMALL:  # type: ignore[union-attr]
                if stop < len(ROWS):
                    await store(state, enumerate(ROWS[stop : stop + 20], stop))
                    stop += 20
                    # Held by both, by one, by none.
                    rows = [*range(n_pieces * 9, n_pieces * 9 + 6), 1_950 + n_pieces, stop - 5]
                    stored[rows] = clustered(len(rows), seed=100 + n_pieces)
                    await store(state, zip(rows, stored[rows], strict=True))
                state.indexer._advance()
                n_pieces += 1
                is_made = entry.successor is not None
                n_quick += is_made and entry.n_compared <= 100
                assert not is_made or state.indexer.lag > 0, "the lag is over when the larger index is there"
                assert entry.n_compared < 250, n_pieces
                if n_pieces % 6 == 0:
                    await check(state, stored[:stop], 2)
            assert n_pieces > 20 < n_quick
            await check(state, stored[:stop])
            await advance(state, monkeypatch)
            assert entry.n_compared == state.indexer.lag == 0 and entry.successor is None
            await check(state, stored[:stop])

    run(body)


def test_an_index_is_kept_that_was_outgrown_when_the_server_stopped(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fill() -> None:
        with monkeypatch.context() as patch:
            by_hand(patch)
            async with opened(database) as state:
                await store(state, enumerate(ROWS[:1_900]))
                await advance(state, patch)
                await store(state, enumerate(ROWS[1_900:2_400], 1_900))
                for _ in range(5):
                    state.indexer._advance()
                entry = state.indexer.of(state.writer.spaces["s"])
                assert entry.successor is not None and entry.n_covered == 2_400 > LARGE.n_least
                state.indexer._save_all()

    async def look() -> None:
        async with opened(database) as state:
            index = index_of(state)
            assert index is not None and index.size in (SMALL, LARGE), "it serves from the start"
            assert state.indexer.of(state.writer.spaces["s"]).n_covered >= 2_400
            await check(state, ROWS[:2_400], 4)
            await caught_up(state)
            assert index_of(state).size == LARGE  # type: ignore[union-attr]
            await check(state, ROWS[:2_400])

    run(fill)
    run(look)


def test_where_few_have_a_vector_the_smaller_index_is_kept_up(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A larger one is not made of fewer vectors than it has lists: what comes then is found all the same."""
    many_lists = Size(2_000, 320, 6)
    monkeypatch.setattr(vectors, "SIZES", (SMALL, many_lists))

    async def body() -> None:
        async with opened(database) as state:
            await store(state, ((row, ROWS[row] if row < 310 else None) for row in range(1_000)))
            await caught_up(state)
            await store(state, ((row, ROWS[row] if row % 300 == 0 else None) for row in range(1_000, 2_100)))
            for _ in range(2):
                await caught_up(state)
                index = index_of(state)
                assert index is not None and index.size == SMALL and len(index) >= 310 + 3
                assert [await ask(state, nearest_indexed, ROWS[row], 1) for row in (5, 1_800)] == [
                    [5],
                    [1_800],
                ]
                await store(state, [(2_100, ROWS[2_100])])
            await store(state, enumerate(ROWS[1_000:], 1_000))
            await store(state, enumerate(clustered(1_000, seed=3), 3_000))
            await caught_up(state)
            assert index_of(state).size == many_lists  # type: ignore[union-attr]

    run(body)


def test_a_making_that_fails_is_begun_again(
    database: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(indexing, "_PAUSE_S", 0.0)
    fit, failures = vectors.VectorIndex.fit_in_steps, iter([True])

    def fail_once(*arguments: Any) -> Iterator[vectors.VectorIndex | None]:
        for index in fit(*arguments):
            if index is None and next(failures, False):
                raise MemoryError("there is no room")
            yield index

    monkeypatch.setattr(vectors.VectorIndex, "fit_in_steps", fail_once)

    async def body() -> None:
        async with opened(database) as state:
            await store(state, enumerate(ROWS[:700]))
            await caught_up(state)
            assert index_of(state) is not None
            await check(state, ROWS[:700], 4)

    run(body)
    assert "there is no room" in capfd.readouterr().err
