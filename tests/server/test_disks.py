"""Disks that are full, or fail: refused with what the client shall do, and nothing acknowledged is lost."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.phases.disks import build_failing_disk, mount_small_disk, unmount
from tests.server.client import LIST, Client, Reply, numbers, packed, vectors, wait_until_healthy
from tests.serverproc import running_server

#: Calls from this one on fail: so the file that counts them switches the disk between good and bad.
FAILING_CALL = 2**40
VECTORS = vectors(10)
EMBEDDINGS = [numbers(vector) for vector in VECTORS]


@dataclass(frozen=True)
class Disk:
    """A disk below a server, good at first."""

    count: Path
    prefix: tuple[str, ...]

    def set(self, n_calls: int) -> None:
        """Make as if ``n_calls`` calls had been made."""
        with self.count.open("r+b") as file:
            file.write(struct.pack("<Q", n_calls))


def _disk(folder: Path, below: Path, number: int, *, stays: bool) -> Disk:
    failing = build_failing_disk(folder, below)
    count = folder / "count"
    count.write_bytes(bytes(8))
    variables = {
        "LD_PRELOAD": failing.library,
        "SYNTHGEN_FAIL_BELOW": below,
        "SYNTHGEN_FAIL_AT": FAILING_CALL,
        "SYNTHGEN_FAIL_ERRNO": number,
        "SYNTHGEN_FAIL_COUNT": count,
        **({"SYNTHGEN_FAIL_ON": "1"} if stays else {}),
    }
    return Disk(count, ("env", *(f"{name}={value}" for name, value in variables.items())))


class Stored:
    """What was acknowledged, and what was not."""

    def __init__(self) -> None:
        self.acknowledged: list[str] = []
        self.refused: list[Reply] = []

    def store(self, client: Client, n_bytes: int = 100) -> bool:
        """Store one more memory; return whether it was acknowledged."""
        number = len(self.acknowledged) + len(self.refused)
        content = f"{number} ".ljust(n_bytes, "x")
        reply = client.remember(id=f"m{number}", content=content, embedding=EMBEDDINGS[number % 10])
        if reply.status == 201:
            self.acknowledged.append(f"m{number}")
            return True
        assert reply.json["error"]["code"] == "MEMORY_SYSTEM_ERROR"
        assert reply.headers["retry-after"] == "1"
        self.refused.append(reply)
        return False

    def check(self, client: Client) -> None:
        """See that all that was acknowledged is there as it was sent, and nothing besides."""
        total = client.count("default")
        found: list[str] = []
        for offset in range(0, total, 100):
            page = client.get(LIST, offset=offset, limit=100, include_embeddings="true").json["memories"]
            for memory in page:
                number = int(memory["id"][1:])
                assert memory["content"].startswith(f"{number} ")
                assert packed(memory["embedding"]) == VECTORS[number % 10].tobytes()
                found.append(memory["id"])
        assert found == self.acknowledged


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount_small_disk(folder, 20 * 1024 * 1024)
    yield folder
    unmount(folder)


def _fill(stored: Stored, client: Client) -> None:
    for _ in range(1_000):
        if not stored.store(client, n_bytes=90_000):
            return
    raise AssertionError("the disk does not get full")


def test_a_full_disk_refuses_serves_and_recovers(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2_000_000))
    (small_disk / "more").write_bytes(bytes(12_000_000))
    stored = Stored()
    with running_server(small_disk / "data") as server, Client(server.port) as client:
        _fill(stored, client)
        for _ in range(20):
            stored.store(client, n_bytes=90_000)
        assert {reply.status for reply in stored.refused} <= {503, 507}
        assert stored.refused[-1].status == 507
        stored.check(client)
        assert client.get(f"{LIST}/m0").status == 200
        assert client.get("/health").json["status"] == "degraded"
        ballast.unlink()
        assert stored.store(client, n_bytes=90_000)
        wait_until_healthy(client)
        _fill(stored, client)
        server.kill()
    _starts_on_a_full_disk(small_disk / "data", stored)


def _starts_on_a_full_disk(data: Path, stored: Stored) -> None:
    """See that a server starts and serves although its folder has no room."""
    with (data.parent / "rest").open("wb", 0) as file:
        try:
            while file.write(bytes(4_096)):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC
    with running_server(data) as server, Client(server.port) as client:
        stored.check(client)
        assert server.stop() == 0, server.errors.read_text()
    (data.parent / "rest").unlink()
    (data.parent / "more").unlink()  # as much as the log needs that is copied into the database
    with running_server(data) as server, Client(server.port) as client:
        stored.check(client)
        assert stored.store(client)
        assert server.stop() == 0, server.errors.read_text()
    with running_server(data) as server, Client(server.port) as client:
        stored.check(client)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_for_a_while(tmp_path: Path, number: int) -> None:
    disk = _disk(tmp_path, tmp_path / "data", number, stays=True)
    stored = Stored()
    with running_server(tmp_path / "data", prefix=disk.prefix) as server, Client(server.port) as client:
        for _ in range(20):
            assert stored.store(client)
        disk.set(FAILING_CALL)
        for _ in range(5):
            assert not stored.store(client)
        assert client.get("/health").json["status"] == "degraded"
        assert {reply.status for reply in stored.refused} == {507 if number == errno.ENOSPC else 503}
        stored.check(client)
        disk.set(0)
        for _ in range(20):
            assert stored.store(client)
        stored.check(client)
        server.kill()
    _check_again(tmp_path / "data", stored)


def test_any_one_call_that_fails(tmp_path: Path) -> None:
    """Each write and each sync of a commit fails once; what it was part of is not acknowledged."""
    disk = _disk(tmp_path, tmp_path / "data" / "memories.db", errno.EIO, stays=False)
    stored = Stored()
    failed_at: set[int] = set()
    with running_server(tmp_path / "data", prefix=disk.prefix) as server, Client(server.port) as client:
        for n_round in range(20):
            if n_round >= 2 and failed_at >= {1, 2, 3}:
                break  # else the failures met words that were indexed meanwhile
            for n_calls in range(1, 12):
                assert stored.store(client)
                disk.set(FAILING_CALL - n_calls)
                if not stored.store(client):
                    failed_at.add(n_calls)
                disk.set(0)
        assert failed_at >= {1, 2, 3}, "writes and the sync of a commit"
        stored.check(client)
        server.kill()
    _check_again(tmp_path / "data", stored)


def _check_again(data: Path, stored: Stored) -> None:
    with running_server(data) as server, Client(server.port) as client:
        stored.check(client)
        assert stored.store(client)
