"""What the README says of backups and of looking inside, as it says it, while a server is storing."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.server.client import LIST, Client, packed, vectors
from tests.server.load import N_CONNECTIONS, Load
from tests.serverproc import ServerProcess, running_server
from tests.waiting import wait_until

README = Path(__file__).parents[2] / "README.md"
NEEDS_SHELL = pytest.mark.skipif(shutil.which("sqlite3") is None, reason="needs the sqlite3 shell")


@dataclass(frozen=True)
class Busy:
    """A server on which memories are stored all the time."""

    server: ServerProcess
    load: Load

    @property
    def database(self) -> Path:
        return self.server.data_dir / "memories.db"


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Busy]:
    with running_server(tmp_path / "data") as server, Load(server.port, "load") as load:
        wait_until(lambda: len(load.acknowledged) >= 500, "the server stores nothing")
        yield Busy(server, load)


def _blocks(language: str) -> list[str]:
    """Return the commands of the README's section on backups."""
    section = README.read_text().partition("### Backup and look inside\n")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def _block(language: str, mark: str) -> str:
    (found,) = [block for block in _blocks(language) if mark in block]
    return str(found)


def _here(text: str, busy: Busy) -> str:
    return text.replace("synthgen-demo/server", str(busy.server.data_dir)).replace(
        ".venv/bin/python", sys.executable
    )


def _run(block: str, busy: Busy, folder: Path) -> str:
    script = "set -euo pipefail\n" + _here(block, busy)
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def _check_restored(backup: Path, acknowledged: dict[str, int]) -> None:
    """See that a server on ``backup`` has all these memories, as they were sent, and takes more."""
    sent = [vector.tobytes() for number in range(N_CONNECTIONS) for vector in vectors(10, seed=number)]
    with running_server(backup) as server, Client(server.port) as client:
        total = client.count("default")
        found: dict[str, Any] = {}
        for offset in range(0, total, 1_000):
            page = client.get(LIST, offset=offset, limit=1_000, include_embeddings="true").json["memories"]
            found |= {memory["id"]: memory for memory in page}
        assert len(found) == total
        for memory_id, vector in acknowledged.items():
            assert found[memory_id]["content"] == memory_id
            assert packed(found[memory_id]["embedding"]) == sent[vector]
        one = next(iter(acknowledged))
        words = client.get(f"{LIST}/search", query=one, limit=1_000).json["memories"]
        assert one in {memory["id"] for memory in words}
        assert client.remember(id="after the restore").status == 201
        assert server.stop() == 0


@pytest.mark.parametrize("how", [pytest.param("VACUUM INTO", marks=NEEDS_SHELL), ".backup("])
def test_a_backup_while_storing_has_all_that_was_acknowledged_before(
    busy: Busy, tmp_path: Path, how: str
) -> None:
    _run(_block("sh", how), busy, tmp_path)
    time.sleep(1.1)  # copies are named by the second
    before = dict(busy.load.acknowledged)
    _run(_block("sh", how), busy, tmp_path)
    assert len(busy.load.acknowledged) > len(before), "nobody waited for the backup"
    busy.load.stop()
    assert busy.load.refused == []
    _, latest = sorted((tmp_path / "backup").iterdir())
    with closing(sqlite3.connect(latest / "memories.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    _check_restored(latest, before)


def test_a_copy_of_the_file_alone_is_no_backup(busy: Busy, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()

    def lacks_some() -> bool:
        n_acknowledged = len(busy.load.acknowledged)
        shutil.copy(busy.database, tmp_path / "copy")
        with closing(sqlite3.connect(tmp_path / "copy" / "memories.db")) as copy:
            try:
                return bool(copy.execute("SELECT count(*) FROM memories").fetchone()[0] < n_acknowledged)
            except sqlite3.DatabaseError:
                return True  # copied while the log was put into it

    wait_until(lacks_some, "each copy has all")  # one has, where the log was just put into the database


def test_after_a_stop_a_copy_of_the_folder_is_a_backup(busy: Busy, tmp_path: Path) -> None:
    busy.load.stop()
    assert busy.server.stop() == 0
    shutil.copytree(busy.server.data_dir, tmp_path / "copy")
    _check_restored(tmp_path / "copy", busy.load.acknowledged)


@NEEDS_SHELL
def test_the_shell_looks_inside_a_running_server(busy: Busy, tmp_path: Path) -> None:
    before = len(busy.load.acknowledged)
    output = _run(_block("sh", "-readonly"), busy, tmp_path)
    space, _, count = output.splitlines()[0].partition("|")
    assert (space, int(count) >= before) == ("default", True)
    assert "load-" in output


def test_python_looks_inside_a_running_server(busy: Busy) -> None:
    with Client(busy.server.port) as client:
        assert client.remember("default", id="of words alone").status == 201
    before = len(busy.load.acknowledged)
    names: dict[str, Any] = {}
    exec(_here(_block("python", "mode=ro"), busy), names)
    with closing(names["database"]) as database:
        assert len(names["ids"]) == names["embeddings"].shape[0] >= before
        assert names["embeddings"].shape[1:] == (768,)
        sent = np.concatenate([vectors(10, seed=number) for number in range(N_CONNECTIONS)])
        for memory_id, embedding in zip(names["ids"][:100], names["embeddings"], strict=False):
            _, number, count = memory_id.split("-")
            assert embedding.tobytes() == sent[int(number) * 10 + int(count) % 10].tobytes()
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            database.execute("DELETE FROM memory")


def test_pandas_looks_inside_a_running_server(busy: Busy) -> None:
    pandas = pytest.importorskip("pandas")
    with closing(sqlite3.connect(f"file:{busy.database}?mode=ro", uri=True)) as database:
        table = pandas.read_sql("SELECT ordinal, id, content, confidence FROM memories", database)
    assert len(table) >= 500
    assert table["ordinal"].tolist() == list(range(len(table)))
