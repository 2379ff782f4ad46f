"""What goes wrong under a running server is told, and nothing is said to be stored that is not."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from synthgen.errors import EXIT_OK, EXIT_UNUSABLE
from synthgen.server import store as server_store
from synthgen.server import writer as server_writer
from synthgen.server.requests import Memory
from synthgen.server.store import DATABASE_NAME, OpenFiles, connect_reader, connect_writer, prepare_database
from synthgen.server.writer import Writer
from tests.server.client import LIST, Client
from tests.serverproc import command, running_server

LOG_NAME = f"{DATABASE_NAME}-wal"


def memory(name: str, content: str = "x") -> Memory:
    return Memory("default", name, content, 0.5, 0, 0, "semantic", None, None)


class FailingConnection(sqlite3.Connection):
    """Fails at the next statement that begins with one of ``failing``, once each."""

    failing: set[str]

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        for start in getattr(self, "failing", set()):
            if sql.startswith(start):
                self.failing.remove(start)
                raise MemoryError
        return super().execute(sql, *arguments)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / DATABASE_NAME
    prepare_database(path)
    return path


def stored_ids(database: Path) -> set[str]:
    """Return what another program finds, in no transaction of the server's."""
    connection = sqlite3.connect(database)
    found = {name for (name,) in connection.execute("SELECT id FROM memory")}
    connection.close()
    return found


def test_nothing_is_stored_in_a_transaction_that_an_error_left_open(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement fails, and then the rollback: all that came later was told stored, and was not."""
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *given, **named: connect(*given, **named, factory=FailingConnection)
    )

    async def body() -> None:
        writer = Writer(database, asyncio.get_running_loop())
        monkeypatch.undo()
        writer.start()
        try:
            await writer.store(memory("a"))
            writer._connection.failing = {"UPDATE memory", "ROLLBACK"}  # type: ignore[attr-defined]
            with pytest.raises(MemoryError):
                await writer.store(memory("a", "y"))
            await writer.store(memory("b"))
            assert stored_ids(database) == {"a", "b"}
            await writer.store(memory("a", "z"))
            assert writer.spaces["default"].n_memories == 2 and not writer.counts.last_error
        finally:
            writer.close()

    asyncio.run(body())


def remove_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def remove_database(folder: Path) -> None:
    (folder / DATABASE_NAME).unlink()


def remove_log(folder: Path) -> None:
    (folder / LOG_NAME).unlink()


def replace_database(folder: Path) -> None:
    shutil.copy(folder / DATABASE_NAME, folder / "other")
    (folder / "other").rename(folder / DATABASE_NAME)


@pytest.mark.parametrize("fault", [remove_folder, remove_database, remove_log, replace_database])
@pytest.mark.parametrize("is_asked", [True, False], ids=["asked", "idle"])
def test_files_that_are_removed_are_missed(
    tmp_path: Path, fault: Callable[[Path], None], is_asked: bool
) -> None:
    """Until the server was stopped it took memories that nobody would find again."""
    with running_server(tmp_path / "data") as server, Client(server.port) as client:
        assert client.remember(id="before").status == 201
        fault(tmp_path / "data")
        if is_asked:
            reply = client.remember(id="after")
            assert reply.status == 503 and "removed or replaced" in reply.body.decode(), reply
            assert client.remember(id="again").status == 503
        deadline_s = time.monotonic() + 60
        while (health := client.get("/health")).status == 200:
            assert not is_asked and time.monotonic() < deadline_s, health
            time.sleep(0.1)
        assert health.json["status"] == "unhealthy"
        assert server.stop() == EXIT_UNUSABLE
        assert "was removed or replaced" in server.errors.read_text()
        assert (tmp_path / "data").exists() == (fault is not remove_folder)


def test_the_files_of_a_server_at_work_are_not_missed(database: Path) -> None:
    """Other programs come and go, and the log is put into the database."""
    connection = connect_writer(database)
    connection.execute("INSERT INTO space VALUES (1, 's', 0, 0)")
    files = OpenFiles(database)
    other = sqlite3.connect(database)
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    files.check()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("INSERT INTO space VALUES (2, 't', 0, 0)")
    files.check()
    connection.close()
    with pytest.raises(server_store.FilesLostError, match="-wal"):
        files.check()


@pytest.mark.parametrize("table", ["vector_index", "replaced", "space", "database"])
def test_damage_that_the_start_meets_is_told_and_leaves_all_files_as_they_were(
    tmp_path: Path, table: str
) -> None:
    """One of them hung the start for ever; and the log was put into what the server had refused."""
    folder = tmp_path / "data"
    with running_server(folder) as server, Client(server.port) as client:
        assert client.remember(id="one").status == 201
        server.stop()
    connection = sqlite3.connect(folder / DATABASE_NAME)
    (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    connection.close()
    with (folder / DATABASE_NAME).open("r+b") as file:
        file.seek((root - 1) * server_store.PAGE_BYTES)
        file.write(bytes(server_store.PAGE_BYTES))
    (folder / LOG_NAME).write_bytes(a_log(tmp_path))
    before = contents(folder)
    ended = subprocess.run(command(folder), capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == EXIT_UNUSABLE, ended.stderr
    assert "damaged" in ended.stderr and "Traceback" not in ended.stderr
    assert ended.stderr.strip().count("\n") == 0
    assert contents(folder) == before


def a_log(folder: Path) -> bytes:
    """Return a whole log of one commit that touches none of the damaged pages: a page beyond the others."""
    path = folder / "other" / DATABASE_NAME
    path.parent.mkdir()
    prepare_database(path)
    connection = connect_writer(path)
    connection.execute("CREATE TABLE beyond (x)")
    log = path.with_name(LOG_NAME).read_bytes()
    connection.close()
    return log


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and not path.name.endswith("-shm")
    }


def test_a_failure_of_the_texts_is_forgotten_when_it_has_passed(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_writer, "IDLE_S", 0.02)

    async def body() -> None:
        writer = Writer(database, asyncio.get_running_loop())
        failures = [sqlite3.OperationalError("disk I/O error")] * 3
        advance, seen = writer._texts.advance, []

        def failing(space: Any) -> None:
            if failures:
                seen.append(writer.counts.text_error)
                raise failures.pop()
            advance(space)

        monkeypatch.setattr(writer._texts, "advance", failing)
        writer.start()
        try:
            await writer.store(memory("a"))
            deadline_s = time.monotonic() + 60
            while writer.text_index_lag or writer.counts.text_error:
                assert time.monotonic() < deadline_s
                await asyncio.sleep(0.01)
            assert seen[-1] == "OperationalError: disk I/O error" and not writer.counts.last_error
        finally:
            writer.close()

    asyncio.run(body())


@pytest.mark.parametrize("connect", [connect_writer, connect_reader])
def test_nothing_but_the_folder_has_to_be_writable(database: Path, connect: Any) -> None:
    """Statements that may have to be undone, and sorts, went to files of /var/tmp."""
    writer = connect_writer(database)
    writer.execute("CREATE TABLE big (x PRIMARY KEY, y)")
    rows: Iterable[tuple[int, bytes]] = [(number, os.urandom(4_000)) for number in range(4_000)]
    writer.executemany("INSERT INTO big VALUES (?, ?)", rows)
    connection = connect(database)
    connection.execute("BEGIN")
    if connect is connect_writer:
        connection.execute("UPDATE big SET x = x + 10000, y = randomblob(4000)")
    cursor = connection.execute("SELECT x, y FROM big ORDER BY y")
    cursor.fetchone()
    open_files = [os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()]
    connection.close()
    writer.close()
    assert not [name for name in open_files if "etilqs" in name]


def test_a_log_that_another_program_holds_is_told_at_the_stop(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server, Client(server.port) as client:
        assert client.remember(id="one").status == 201
        reader = sqlite3.connect(tmp_path / "data" / DATABASE_NAME, isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM memory").fetchone() == (1,)
        assert client.remember(id="two").status == 201
        server.process.terminate()
        assert server.process.wait(30) == EXIT_OK  # others wait for the end, too, and no longer than 30 s
        assert "another program reads the database" in server.errors.read_text()
        reader.close()
    with running_server(tmp_path / "data") as server, Client(server.port) as client:
        assert [found["id"] for found in client.get(LIST).json["memories"]] == ["one", "two"]
