"""Locks that leave nothing behind, and errors of the system as people read them."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from synthgen.errors import InputError, ResourceError
from synthgen.runtime.files import BackgroundSync, FileLock, check_parent_folder, explain_os_errors


def test_a_lock_is_of_one_holder_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / ".x.lock"
    first, second = FileLock(path), FileLock(path)
    assert first.acquire() and not second.acquire()
    assert second.holder() == str(os.getpid())
    first.remove()
    assert not path.exists() and second.holder() == ""
    assert second.acquire()
    second.remove()
    assert list(tmp_path.iterdir()) == []


def test_two_never_hold_a_lock_that_is_removed_and_made_again(tmp_path: Path) -> None:
    """The race of flock and unlink: a lock on a file that has no name any more is worth nothing."""
    path, inside = tmp_path / ".x.lock", tmp_path / "inside"
    n_held: list[int] = []
    began_s = time.monotonic()

    def is_over() -> bool:
        """A second, and longer where the machine gave less than that."""
        return time.monotonic() > began_s + (1.0 if len(n_held) > 100 else 60.0)

    def compete() -> None:
        while not is_over():
            lock = FileLock(path)
            if lock.acquire():
                inside.touch(exist_ok=False)  # raises where somebody else holds it, too
                inside.unlink()
                n_held.append(1)
                lock.remove()

    threads = [threading.Thread(target=compete) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(n_held) > 100
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_a_full_disk_refuses_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        FileLock(tmp_path / ".x.lock").acquire()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_name_for_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder; name a file in it"):
        check_parent_folder(tmp_path)
    check_parent_folder(tmp_path / "x")


@pytest.mark.parametrize(
    ("number", "advice"), [(errno.ENOSPC, "free some room"), (errno.EACCES, "that you may write to")]
)
def test_an_error_of_the_system_has_a_next_step(number: int, advice: str) -> None:
    with pytest.raises(ResourceError, match=advice) as caught, explain_os_errors(Path("x")):
        raise OSError(number, os.strerror(number))
    assert str(caught.value).startswith(f"x: {os.strerror(number)}; ")


def is_in_memory(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            return os.preadv(file.fileno(), [bytearray(4_096)], 0, os.RWF_NOWAIT) > 0
        except BlockingIOError:
            return False
        except OSError as error:
            pytest.skip(f"this filesystem does not tell what is in memory ({error})")


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="this system does not tell what is in memory")
@pytest.mark.parametrize("at_close", [True, False])
def test_a_sync_that_fails_is_told_and_what_memory_holds_is_forgotten(
    at_close: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run must not take for written what only memory has."""
    path, tried = tmp_path / "x", threading.Event()
    with path.open("wb") as file:
        file.write(bytes(100_000))
        file.flush()
        os.fsync(file.fileno())
    assert is_in_memory(path)

    def broken(descriptor: int) -> None:
        tried.set()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    sync = BackgroundSync(path)
    monkeypatch.setattr(os, "fsync", broken)
    assert at_close or tried.wait(10)
    with pytest.raises(OSError, match="Input/output error"):
        sync.close()
    assert not is_in_memory(path)
