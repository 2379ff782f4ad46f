"""Files that a crash or a bad disk left: served as far as whole commits go, or refused; never garbage."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from synthgen.errors import EXIT_UNUSABLE
from synthgen.ingest import check_health
from synthgen.server.answers import Answer
from synthgen.server.openapi import document
from synthgen.server.requests import parse_memory
from synthgen.server.state import State
from synthgen.server.status import health
from synthgen.server.store import prepare_database
from tests.server.client import LIST, Client, numbers, packed, vectors
from tests.server.conformance import Conformance
from tests.serverproc import command, running_server

N_MEMORIES = 60


@dataclass(frozen=True)
class Crashed:
    """A folder that a killed server left; ``ends`` has the length of the log when each 201 had come."""

    folder: Path
    sent: dict[str, bytes]
    ends: dict[str, int]

    def copy(self, folder: Path) -> Path:
        """Return a copy of the folder's log, with its database beside it."""
        shutil.copytree(self.folder, folder)
        return folder / "memories.db-wal"

    def check(self, folder: Path, n_good_bytes: int) -> None:
        """See that a server on ``folder`` has all that is whole in the log's good part, and no garbage."""
        with running_server(folder) as server, Client(server.port) as client:
            found = client.get(LIST, limit=1_000, include_embeddings="true").json["memories"]
            for memory in found:
                assert memory["content"] == f"content of {memory['id']}"
                assert packed(memory["embedding"]) == self.sent[memory["id"]]
            kept = [memory["id"] for memory in found]
            assert kept == list(self.sent)[: len(kept)]
            assert set(kept) >= {memory_id for memory_id, end in self.ends.items() if end <= n_good_bytes}
            assert client.remember(id="one more").status == 201
            assert client.get(f"{LIST}/one%20more").status == 200
            assert client.get(f"{LIST}/search", query="content", limit=1_000).json["total"] == len(kept)


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Crashed:
    folder = tmp_path_factory.mktemp("crashed") / "data"
    sent: dict[str, bytes] = {}
    ends: dict[str, int] = {}
    with running_server(folder) as server, Client(server.port) as client:
        for number, vector in enumerate(vectors(N_MEMORIES)):
            memory_id = f"m{number}"
            reply = client.remember(
                id=memory_id, content=f"content of {memory_id}", embedding=numbers(vector)
            )
            assert reply.status == 201
            sent[memory_id] = vector.tobytes()
            ends[memory_id] = (folder / "memories.db-wal").stat().st_size
        server.kill()
    assert len(set(ends.values())) > N_MEMORIES // 2, "the log must grow with what is stored"
    return Crashed(folder, sent, ends)


def test_a_whole_log_gives_all_back(crashed: Crashed, tmp_path: Path) -> None:
    log = crashed.copy(tmp_path / "data")
    crashed.check(log.parent, log.stat().st_size)


@pytest.mark.parametrize("seed", range(8))
def test_a_log_cut_anywhere(crashed: Crashed, tmp_path: Path, seed: int) -> None:
    log = crashed.copy(tmp_path / "data")
    n_kept = random.Random(seed).randrange(log.stat().st_size)
    os.truncate(log, n_kept)
    crashed.check(log.parent, n_kept)


@pytest.mark.parametrize("seed", range(8))
def test_a_flipped_bit_in_the_log(crashed: Crashed, tmp_path: Path, seed: int) -> None:
    log = crashed.copy(tmp_path / "data")
    content = bytearray(log.read_bytes())
    place = random.Random(seed).randrange(len(content))
    content[place] ^= 1 << (seed % 8)
    log.write_bytes(content)
    crashed.check(log.parent, place)


def test_a_log_that_ends_in_noise(crashed: Crashed, tmp_path: Path) -> None:
    log = crashed.copy(tmp_path / "data")
    n_good = log.stat().st_size * 2 // 3
    noise = random.Random(1).randbytes(log.stat().st_size - n_good)
    log.write_bytes(log.read_bytes()[:n_good] + noise)
    crashed.check(log.parent, n_good)


def _refused(folder: Path) -> str:
    """Start a server that must not start; return its one line."""
    ended = subprocess.run(command(folder, port=0), capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (EXIT_UNUSABLE, "")
    assert len(ended.stderr.splitlines()) == 1
    return ended.stderr


def test_a_log_without_its_database_is_not_played_into_a_new_one(crashed: Crashed, tmp_path: Path) -> None:
    log = crashed.copy(tmp_path / "data")
    before = log.read_bytes()
    (log.parent / "memories.db").unlink()
    assert "the log of a database that is not there" in _refused(log.parent)
    assert log.read_bytes() == before


def _shut_down(crashed: Crashed, folder: Path) -> Path:
    """Return a copy of the database that a server stopped gracefully."""
    crashed.copy(folder)
    with running_server(folder) as server:
        assert server.stop() == 0
    return folder / "memories.db"


def _zero(path: Path, start: int, stop: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(stop - start))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path, size: os.truncate(path, size // 2), "the database is damaged"),
        (lambda path, size: os.truncate(path, 8_192), "the database is damaged"),
        (lambda path, size: os.truncate(path, 100), "the database is damaged"),
        (lambda path, size: os.truncate(path, 50), "not a database of this server"),
        (lambda path, size: os.truncate(path, 0), "not a database of this server"),
        (lambda path, size: _zero(path, 0, 100), "not a database of this server"),
        (lambda path, size: _zero(path, 100, 8_192), "the database is damaged"),
        (lambda path, size: _zero(path, 8_192, 6 * 8_192), "the database is damaged"),
    ],
    ids=range(8),
)
def test_a_damaged_database_is_refused(
    crashed: Crashed, tmp_path: Path, damage: Callable[[Path, int], None], said: str
) -> None:
    database = _shut_down(crashed, tmp_path / "data")
    damage(database, database.stat().st_size)
    before = database.read_bytes()
    assert said in _refused(database.parent)
    assert database.read_bytes() == before


def test_damage_that_shows_later_is_an_error_and_not_garbage(crashed: Crashed, tmp_path: Path) -> None:
    database = _shut_down(crashed, tmp_path / "data")
    page = _leaf_page(database)
    _zero(database, (page - 1) * 8_192, page * 8_192)
    with running_server(database.parent) as server, Client(server.port) as client:
        reply = client.get(LIST, limit=1_000, include_embeddings="true")
        assert reply.status == 500
        assert "The database is damaged" in reply.json["error"]["message"]
        assert client.get(LIST, limit=1).status == 200
        _check_unhealthy(client)
        assert server.stop() == 0
        assert "malformed" in server.errors.read_text()


def _check_unhealthy(client: Client) -> None:
    """See that the server says, as its document describes, that it is not to be used any more."""
    reply = client.get("/health")
    assert (reply.status, reply.json["status"], reply.json["service"]) == (503, "unhealthy", "engram")
    kind = reply.headers["content-type"]
    assert Conformance(document()).findings("/health", "GET", 503, kind, reply.body) == []
    assert (client.send("HEAD", "/health").status, client.get("/health/alive").status) == (503, 200)
    whole = client.get("/api/v1/system/health").json
    assert whole["status"] == "unhealthy" and "malformed" in whole["checks"][0]["message"]


def _read(client: Client) -> None:
    assert client.get(LIST, limit=1_000, include_embeddings="true").status == 500


def _store(client: Client) -> None:
    assert client.remember(id="m1").status == 500


@pytest.mark.parametrize("meet", [_read, _store])
def test_damage_while_it_runs_makes_it_unhealthy_until_it_is_mended(
    crashed: Crashed, tmp_path: Path, meet: Callable[[Client], None]
) -> None:
    database = _shut_down(crashed, tmp_path / "data")
    good = database.read_bytes()
    with running_server(database.parent) as server, Client(server.port) as client:
        assert client.get("/health").status == 200
        _zero(database, 4 * 8_192, len(good))
        meet(client)
        _check_unhealthy(client)
        server.kill()
    for path in database.parent.glob("memories.db-*"):
        path.unlink()
    database.write_bytes(good)
    with running_server(database.parent) as server, Client(server.port) as client:
        assert client.get("/health").json["status"] == "healthy"
        assert client.get(LIST, limit=1_000).json["count"] == N_MEMORIES


def test_damage_within_a_large_answer_ends_it_and_is_told(tmp_path: Path) -> None:
    database = tmp_path / "data" / "memories.db"
    with running_server(database.parent) as server, Client(server.port) as client:
        for number in range(120):  # 2.4 MB: the first hundred are sent before the last ones are read
            content = f"content of m{number} {'x' * 20_000}"
            assert client.remember(id=f"m{number}", content=content).status == 201
        assert server.stop() == 0
    page = database.read_bytes().find(b"content of m115 ") // 8_192
    with running_server(database.parent) as server, Client(server.port) as client:
        _zero(database, page * 8_192, (page + 1) * 8_192)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            client.get(LIST, limit=1_000)
        client.close()
        _check_unhealthy(client)


def test_damage_that_only_the_text_index_meets_is_told_and_not_forgotten(
    crashed: Crashed, tmp_path: Path
) -> None:
    database = _shut_down(crashed, tmp_path / "data")
    page = _leaf_page(database)
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("INSERT INTO memory_text (memory_text) VALUES ('delete-all')")
        connection.execute("UPDATE space SET n_indexed = 0")  # so that it is made anew, by itself
    _zero(database, (page - 1) * 8_192, page * 8_192)
    with running_server(database.parent) as server, Client(server.port) as client:
        deadline_s = time.monotonic() + 60
        while client.get("/health").status == 200:
            assert time.monotonic() < deadline_s, "the damage is never told"
            time.sleep(0.05)
        _check_unhealthy(client)
        assert client.remember(id="one more").status == 201
        _check_unhealthy(client)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_writer_that_has_ended_is_told(tmp_path: Path) -> None:
    database = tmp_path / "memories.db"
    prepare_database(database)

    async def answers() -> tuple[Answer, Answer]:
        state = State(database, asyncio.get_running_loop())
        state.writer.start()
        try:
            before = health(state)
            state.writer.on_commit = lambda replaced: sys.exit()  # ends the thread, and it alone
            state.writer.submit(parse_memory(b'{"content": "x"}', None), lambda error: None)
            deadline_s = time.monotonic() + 60
            while health(state).status == 200 and time.monotonic() < deadline_s:
                await asyncio.sleep(0.01)
            return before, health(state)
        finally:
            state.close()

    before, after = asyncio.run(answers())
    assert (before.status, after.status) == (200, 503)
    assert b'"status":"unhealthy"' in after.body


def test_clients_are_told_once_that_the_server_is_unhealthy(
    crashed: Crashed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = _shut_down(crashed, tmp_path / "data")
    with running_server(database.parent) as server, Client(server.port) as client:
        assert (check_health(server.endpoint).status, capsys.readouterr().err) == ("healthy", "")
        _zero(database, 4 * 8_192, database.stat().st_size)
        _read(client)
        assert check_health(server.endpoint).status == check_health(server.endpoint).status == "unhealthy"
    assert [line.count("says that it is unhealthy") for line in capsys.readouterr().err.splitlines()] == [1]


def _leaf_page(database: Path) -> int:
    """Return the number of a page in the middle of those that hold memories."""
    content = database.read_bytes()
    marks = [b"content of m%d" % number for number in range(20, 40)]
    pages = [content.rfind(mark, 0) // 8_192 + 1 for mark in marks]
    return next(page for page in pages if content[(page - 1) * 8_192] == 13)  # a leaf of a table
