"""Bytes to their places: what is in the file afterwards, whatever the disk does with direct writes."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from synthgen.runtime import placed
from synthgen.runtime.placed import PlacedWriter

MB = 1_000_000
PWRITE = os.pwrite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty file, on a disk: a temporary folder in memory may know no direct writes."""
    path = tmp_path / "x"
    path.touch()
    return path


def write(writer: PlacedWriter, at: int, data: bytes, piece_bytes: int) -> int:
    writer.begin(at)
    buffer = bytearray(piece_bytes)
    for start in range(0, len(data), piece_bytes):
        piece = data[start : start + piece_bytes]
        buffer[: len(piece)] = piece
        writer.add(memoryview(buffer)[: len(piece)])
        buffer[:] = b"!" * piece_bytes  # the caller's own again
    return writer.end()


def no_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placed, "_open_directly", lambda path: None)


def other_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk whose direct writes want larger pages."""

    def refuse(descriptor: int, data: memoryview, at: int) -> int:
        if len(data) % 4_096 == 0 and at % 4_096 == 0:
            raise OSError(errno.EINVAL, "Invalid argument")
        return PWRITE(descriptor, data, at)

    monkeypatch.setattr(os, "pwrite", refuse)
    monkeypatch.setattr(placed, "_write_all", lambda fd, data, at: PWRITE(fd, data, at) if data else 0)


def short_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes that end early, at any byte, as interrupted ones do."""
    rng = random.Random(1)
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: PWRITE(fd, data[: rng.randint(1, len(data))], at))


@pytest.mark.parametrize("disk", [lambda patch: None, no_direct, other_pages, short_writes])
@pytest.mark.parametrize(
    ("at", "sizes"),
    [
        (0, [1]),
        (128, [7_820_000, 7_820_000, 31]),
        (4_095, [1, 1, 4_096, 4_097]),
        (4_096, [4_096, 2 * (1 << 21), (1 << 21) - 1, (1 << 21) + 1]),
        (9_999, [100, 100, 8_191, 3 * MB]),
    ],
)
def test_what_is_written_is_in_the_file(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    disk: Callable[[pytest.MonkeyPatch], None],
    at: int,
    sizes: list[int],
) -> None:
    disk(monkeypatch)
    chunks = [random.Random(size).randbytes(size) for size in sizes]
    before = b"before " * (at // 7 + 1)
    path.write_bytes(before[:at])
    writer = PlacedWriter(path)
    starts = [at + sum(sizes[:i]) for i in range(len(sizes))]
    for i in random.Random(2).sample(range(len(sizes)), len(sizes)):
        writer.wait(write(writer, starts[i], chunks[i], 65_536 + i))
    assert path.read_bytes() == before[:at] + b"".join(chunks)


def test_neighbours_that_share_pages_keep_their_bytes(path: Path) -> None:
    """Two writers, every other chunk each, none as long as a page: each page has several owners."""
    chunks = [bytes([i % 251 + 1]) * 12_345 for i in range(300)]

    def write_some(parity: int) -> None:
        writer = PlacedWriter(path)
        for i in range(parity, len(chunks), 2):
            ticket = write(writer, i * 12_345, chunks[i], 5_000)
        writer.wait(ticket)

    threads = [threading.Thread(target=write_some, args=(parity,)) for parity in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() == b"".join(chunks)


def test_an_error_of_the_disk_is_raised_to_whoever_waits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, data: memoryview, at: int) -> int:
        raise OSError(errno.EIO, "Input/output error")

    writer = PlacedWriter(path)
    monkeypatch.setattr(os, "pwrite", fail)
    ticket = write(writer, 0, bytes(10_000), 10_000)
    with pytest.raises(OSError, match="Input/output error"):
        writer.wait(ticket)


def test_a_full_disk_found_by_a_short_write_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = [100_000]

    def fill_up(descriptor: int, data: memoryview, at: int) -> int:
        n = min(len(data), room[0])
        room[0] -= n
        if not n:
            raise OSError(errno.ENOSPC, "No space left on device")
        return PWRITE(descriptor, bytes(data[:n]), at) if n % 4_096 else PWRITE(descriptor, data[:n], at)

    no_direct(monkeypatch)
    writer = PlacedWriter(path)
    monkeypatch.setattr(os, "pwrite", fill_up)
    with pytest.raises(OSError, match="No space left"):
        writer.wait(write(writer, 0, bytes(5 * MB), 65_536))


@pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="a system without direct writes")
def test_whole_pages_go_past_the_page_cache(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    direct = placed._open_directly(path)
    if direct is None:
        pytest.skip("this file system has no direct writes")
    os.close(direct)
    written: list[tuple[bool, int]] = []
    flag = os.O_DIRECT

    def look(descriptor: int, data: memoryview, at: int) -> int:
        import fcntl

        n_written = PWRITE(descriptor, data, at)  # it may be interrupted, and the rest is written then
        written.append((bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & flag), n_written))
        return n_written

    monkeypatch.setattr(os, "pwrite", look)
    writer = PlacedWriter(path)
    writer.wait(write(writer, 1_000, bytes(5 * MB), 65_536))
    usual = sum(n for is_direct, n in written if not is_direct)
    assert sum(n for _, n in written) == 5 * MB and usual < 2 * 4_096
