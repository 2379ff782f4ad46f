"""Disks that fail or fill up: one line, exit 3, nothing half under the name, and later it goes on."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from synthgen.formats.manifest import journal_path, manifest_path
from tests.phases.disks import FailingDisk, build_failing_disk, mount_small_disk, unmount
from tests.phases.generating import command, finish, finish_here, n_lines_of_journal, sha256, started

COUNT = "2500"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.mkdir()
    return path


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    mount_small_disk(folder, 24_000_000)
    yield folder
    unmount(folder)


@pytest.fixture
def disk(tmp_path: Path, folder: Path) -> FailingDisk:
    return build_failing_disk(tmp_path, folder)


def argv(centroids: Path, output: Path, *more: str) -> list[str]:
    return command(centroids, output, "--count", COUNT, "-q", *more)


def assert_refused(code: int, errors: str, where: Path | str) -> None:
    """One line that says where and what to do; no process of it lost its temper."""
    assert code == 3, errors
    assert errors.startswith(f"synthgen: {where}") and errors.count("\n") == 1, errors
    assert "Traceback" not in errors and "a defect" not in errors
    assert "and run the same command again" in errors


def assert_it_goes_on(centroids: Path, output: Path, whole: str) -> None:
    """The same command now ends with the same bytes and leaves nothing else behind."""
    done = finish_here(argv(centroids, output, "--workers", "1"))
    assert (done.returncode, done.stderr) == (0, "")
    assert sha256(output) == whole
    assert {path.name for path in output.parent.iterdir()} == {output.name, manifest_path(output).name}


def schedule(seed: str, n_calls: int) -> list[int]:
    """Return a few of the calls: some that make the file, and some of the last ones, which publish it."""
    calls = random.Random(seed)
    return [*calls.sample(range(1, n_calls - 8), 3), *calls.sample(range(n_calls - 8, n_calls + 1), 2)]


@pytest.mark.parametrize(
    ("suffix", "number", "stays"),
    [
        (".jsonl", errno.ENOSPC, False),
        (".jsonl", errno.ENOSPC, True),
        (".jsonl", errno.EIO, False),
        (".jsonl", errno.EIO, True),
        (".parquet", errno.EIO, False),
        (".npy", errno.ENOSPC, True),
    ],
)
def test_a_disk_that_fails_at_any_call_leaves_a_state_that_goes_on(
    suffix: str, number: int, stays: bool, centroids: Path, disk: FailingDisk
) -> None:
    output = disk.below / f"x{suffix}"
    workers = "2" if suffix == ".parquet" or (suffix, stays) == (".jsonl", True) else "1"
    flags = argv(centroids, output, "--workers", workers)
    code, errors, n_calls = disk.run(flags, 0)
    assert (code, errors) == (0, "") and n_calls > 20
    whole = sha256(output)
    for at in schedule(f"{suffix} {number} {stays}", n_calls):
        clear(disk.below)
        code, errors, reached = disk.run(flags, at, number, stays=stays)
        if code:
            assert_refused(code, errors, disk.below)
        else:  # fewer syncs in the background than before; or the last call, which deletes the lock
            assert reached <= at
        assert not output.exists() or sha256(output) == whole, at
        assert_it_goes_on(centroids, output, whole)


def clear(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def fill(disk: Path, but_bytes: int = 0) -> None:
    """Take what is left of a disk."""
    free_bytes = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with (disk / "filling").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        file.write(bytes(max(0, free_bytes - but_bytes)))  # in part, where somebody else took some meanwhile


@pytest.mark.parametrize("left_bytes", [0, 4_096])
def test_a_disk_that_somebody_fills_up_meanwhile(
    left_bytes: int, small_disk: Path, tmp_path: Path, centroids: Path
) -> None:
    """The rows have their room, taken before the first of them; the journal and the manifest have none."""
    output, elsewhere = small_disk / "x.jsonl", tmp_path / "x.jsonl"
    assert finish_here(argv(centroids, elsewhere)).returncode == 0
    with started(argv(centroids, output)) as process:
        while not journal_path(output).exists():
            if process.poll() is not None:
                break  # it was too fast: all was written before the disk was full
            time.sleep(0.001)
        fill(small_disk, left_bytes)
        _, errors = process.communicate(timeout=60)
    if process.returncode != 0:  # else all was written before it was full
        assert_refused(process.returncode, errors.decode(), small_disk)
        assert "No space left on device; free some room, or name another disk" in errors.decode()
        assert not output.exists() or sha256(output) == sha256(elsewhere)
    (small_disk / "filling").unlink()
    assert_it_goes_on(centroids, output, sha256(elsewhere))


def test_a_full_disk_is_refused_before_the_first_byte(small_disk: Path, centroids: Path) -> None:
    fill(small_disk, 10_000_000)
    before = {path.name for path in small_disk.iterdir()}
    done = finish_here(argv(centroids, small_disk / "x.jsonl"))
    assert done.returncode == 3 and "MB free" in done.stderr and "MB are needed" in done.stderr
    assert done.stderr.count("\n") == 1
    assert {path.name for path in small_disk.iterdir()} == before


def test_a_disk_without_a_byte_left_is_one_line(small_disk: Path, centroids: Path) -> None:
    fill(small_disk)
    done = finish(argv(centroids, small_disk / "x.jsonl"))
    assert done.returncode == 3 and done.stderr.count("\n") == 1, done.stderr
    assert {path.name for path in small_disk.iterdir()} == {"filling"}


@pytest.mark.parametrize("target", ["/dev/full", "-"])
def test_a_full_disk_under_a_stream_is_one_line(target: str, centroids: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with Path("/dev/full").open("wb") as full:
        pipe = subprocess.PIPE
        done = subprocess.run(
            argv(centroids, Path(target)), stdout=full, stderr=pipe, text=True, timeout=60, check=False
        )
    assert_refused(done.returncode, done.stderr, "standard output" if target == "-" else target)


#: Becomes a command that lacks the right of root to write everywhere (linux/capability.h, linux/prctl.h).
WITHOUT_RIGHTS = """
import ctypes, os, sys
for right in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    ctypes.CDLL(None).prctl(24, right, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform != "linux" and os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_one_line(folder: Path, centroids: Path) -> None:
    folder.chmod(0o555)
    done = finish([sys.executable, "-c", WITHOUT_RIGHTS, *argv(centroids, folder / "x.jsonl")])
    folder.chmod(0o755)
    assert (done.returncode, done.stderr) == (
        3,
        f"synthgen: {folder}: folder is not writable; name another\n",
    )
    assert list(folder.iterdir()) == []


def test_a_disk_that_can_only_be_read_is_one_line(folder: Path, centroids: Path) -> None:
    mount_small_disk(folder, 1_000_000, read_only=True)
    try:
        done = finish(argv(centroids, folder / "x.jsonl"))
    finally:
        unmount(folder)
    assert done.returncode == 3 and done.stderr.count("\n") == 1, done.stderr
    assert "not writable" in done.stderr or "Read-only file system; name a place" in done.stderr


def test_a_folder_that_is_not_there_is_one_line(folder: Path, centroids: Path) -> None:
    done = finish_here(argv(centroids, folder / "none" / "x.jsonl"))
    assert (done.returncode, done.stderr) == (
        3,
        f"synthgen: {folder / 'none'}: no such folder; make it, or name another\n",
    )
    assert list(folder.iterdir()) == []


def test_a_report_of_what_was_kept(small_disk: Path, centroids: Path) -> None:
    """What was whole when the disk was full is not made again."""
    output = small_disk / "x.jsonl"
    with started(argv(centroids, output)) as process:
        while n_lines_of_journal(output) < 2:
            if process.poll() is not None:
                pytest.skip("it was too fast for the test")
            time.sleep(0.001)
        process.kill()
        process.wait()
    done = finish(argv(centroids, output, "--json"))
    assert done.returncode == 0 and json.loads(done.stdout)["rows_made"] < int(COUNT)


def test_a_journal_that_was_left_beside_a_finished_file_is_deleted(folder: Path, centroids: Path) -> None:
    """As a kill, or a disk that fails, leaves it behind the manifest."""
    output = folder / "x.jsonl"
    assert finish_here(argv(centroids, output)).returncode == 0
    journal_path(output).write_text("{}\n")
    assert_it_goes_on(centroids, output, sha256(output))


def test_a_full_disk_under_the_journal_is_one_line_about_it(disk: FailingDisk, centroids: Path) -> None:
    """What could not be written still waits to be written when the journal is closed."""
    output = disk.below / "x.jsonl"
    flags = argv(centroids, output, "--workers", "1")
    for _ in range(4):  # how many calls there are depends on how many syncs in the background, on the time
        clear(disk.below)
        _, _, n_calls = disk.run(flags, 0)
        for at in range(n_calls - 20, n_calls):
            clear(disk.below)
            code, errors, reached = disk.run(flags, at, errno.ENOSPC, stays=True)
            if code == 0:
                assert reached <= at
                break
            assert_refused(code, errors, disk.below)
            if errors.startswith(f"synthgen: {journal_path(output)}: No space"):
                return
    raise AssertionError("it never was the journal")
