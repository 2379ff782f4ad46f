from __future__ import annotations

import os
import random
import re
import resource
import shutil
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from tests.server.client import LIST, Client, packed, vectors, wait_until_healthy
from tests.server.load import N_CONNECTIONS, Load
from tests.serverproc import ServerProcess, running_server
from tests.waiting import wait_until

#: Rounds of storing, killing and starting again; some hundred find more, in some minutes.
N_KILLS = int(os.environ.get("SYNTHGEN_KILLS", "10"))


def _wait_for(load: Load, n_acknowledged: int) -> None:
    wait_until(lambda: len(load.acknowledged) >= n_acknowledged, "the server stores nothing")


def _stored(client: Client) -> dict[str, tuple[str, bytes]]:
    """Return all that the server has, by id, and see that ordinals have no gap and ids no double."""
    found: dict[str, tuple[str, bytes]] = {}
    total = client.count("default")
    for offset in range(0, total, 1000):
        page = client.get(LIST, offset=offset, limit=1000, include_embeddings="true").json["memories"]
        assert len(page) == min(1000, total - offset)
        found |= {memory["id"]: (memory["content"], packed(memory["embedding"])) for memory in page}
    assert len(found) == total
    return found


def _check_all_there(server: ServerProcess, acknowledged: dict[str, int]) -> None:
    sent = [vector.tobytes() for number in range(N_CONNECTIONS) for vector in vectors(10, seed=number)]
    with Client(server.port) as client:
        stored = _stored(client)
        wrong = {
            memory_id
            for memory_id, vector in acknowledged.items()
            if stored.get(memory_id) != (memory_id, sent[vector])
        }
        assert wrong == set()
        assert client.get(f"{LIST}/{next(iter(acknowledged))}").status == 200


@pytest.mark.timeout(60 + 10 * N_KILLS)
def test_nothing_acknowledged_is_lost_by_kills_under_load(tmp_path: Path) -> None:
    chance = random.Random(0)
    acknowledged: dict[str, int] = {}
    for number in range(N_KILLS):
        with running_server(tmp_path / "data") as server:
            if acknowledged:
                _check_all_there(server, acknowledged)
            with Load(server.port, f"run{number}") as load:
                _wait_for(load, chance.randrange(1, 60))
                time.sleep(chance.random() / 20)
                server.kill()
                load.join()
            acknowledged |= load.acknowledged
    with running_server(tmp_path / "data") as server:
        _check_all_there(server, acknowledged)


def test_a_graceful_stop_under_load_answers_or_refuses_and_loses_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_server(data) as server, Load(server.port, "stop") as load:
        _wait_for(load, 100)
        assert server.stop() == 0
        load.join()
        assert load.refused == []
    assert not (data / "memories.db-wal").exists()  # all is in the database itself
    connection = sqlite3.connect(data / "memories.db")
    assert {row[0] for row in connection.execute("SELECT id FROM memories")} >= set(load.acknowledged)
    connection.close()


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_sync_ends_before_each_201_is_written(tmp_path: Path) -> None:
    log = tmp_path / "strace.log"
    calls = "trace=fsync,fdatasync,write,writev,sendto,sendmsg,pwrite64"
    prefix = ("strace", "-f", "-y", "-s", "10000", "-e", calls, "-o", str(log))
    with running_server(tmp_path / "data", prefix=prefix) as server, Load(server.port, "traced") as load:
        _wait_for(load, 40)
        load.stop()
    in_log: set[str] = set()
    durable: set[str] = set()
    answered: set[str] = set()
    for line in log.read_text(errors="replace").splitlines():
        ids = set(re.findall(r"traced-\d+-\d+(?=\D)", line))
        if "pwrite64(" in line and "memories.db-wal" in line:
            in_log |= ids
        elif _sync_ended(line):
            durable |= in_log
        elif "HTTP/1.1 201" in line:
            assert ids, line
            assert ids <= durable, f"answered before the sync of its commit ended: {ids - durable}"
            answered |= ids
    assert answered >= set(load.acknowledged)


def _sync_ended(line: str) -> bool:
    if "memories.db-wal" in line and re.search(r"f(data)?sync\(.*\) += 0", line):
        return True
    return bool(re.search(r"<\.\.\. f(data)?sync resumed>.*= 0", line))


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
def test_a_full_disk_refuses_then_recovers(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server, Client(server.port) as client:
        assert client.remember(id="before").status == 201
        unlimited = resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        for number in range(3):
            reply = client.remember(id=f"full{number}", content="x" * 10_000)
            assert reply.status in (503, 507)
            assert reply.json["error"]["code"] == "MEMORY_SYSTEM_ERROR"
        assert client.get("/health").json["status"] == "degraded"
        assert client.get(f"{LIST}/before").status == 200
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, unlimited)
        assert client.remember(id="after").status == 201
        wait_until_healthy(client)
        assert list(_ids(client)) == ["before", "after"]
        server.kill()
    with running_server(tmp_path / "data") as server, Client(server.port) as client:
        assert list(_ids(client)) == ["before", "after"]


def _ids(client: Client) -> list[str]:
    return [memory["id"] for memory in client.get(LIST).json["memories"]]
