"""Files that appear under their final name only when whole, locks, and room on the disk."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import json
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import InputError, ResourceError

#: What to do about an error of the system, by its number.
_ADVICE = {
    errno.ENOSPC: "free some room, or name another disk,",
    errno.EDQUOT: "free some room, or name another disk,",
    errno.EACCES: "name a place that you may write to",
    errno.EPERM: "name a place that you may write to",
    errno.EROFS: "name a place that can be written to",
    errno.ENOENT: "name another place",
    errno.ENOTDIR: "name another place",
    errno.EISDIR: "name another place",
    errno.EIO: "look at the disk, and at what the system's log says of it,",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or name another disk,",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}


def sync_folder(folder: Path) -> None:
    """Make a rename or a new name in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` durably: the file is the old one or the new one, never a part."""
    write_pieces(path, [data])


def write_pieces(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    """Write ``pieces``, one behind the other, as :func:`write_whole` does."""
    partial = path.with_name(f".{path.name}.partial")
    with explain_os_errors(path):
        with partial.open("wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        publish(partial, path)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write ``document`` to ``path`` as indented JSON, durably and whole."""
    write_whole(path, json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n")


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write ``array`` to ``path`` as .npy, durably and whole."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    write_whole(path, buffer.getvalue())


def publish(partial: Path, path: Path) -> None:
    """Give a finished, synced file its final name, durably."""
    partial.replace(path)
    sync_folder(path.parent)


class BackgroundSync:
    """Syncs a file while others write it, so that the disk works beside the processors and not after them.

    :meth:`close` ends it and raises the OSError of a sync that failed: the system tells it only once, to
    whoever syncs next, so a later fsync would see nothing of it.
    """

    _INTERVAL_S = 0.1

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._stop = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Sync a last time and end; raise the OSError of a sync that failed."""
        self._stop.set()
        self._thread.join()
        try:
            if self._error is None:
                self._sync()
            if self._error is not None:
                raise self._error
        finally:
            os.close(self._descriptor)

    def _run(self) -> None:
        while self._error is None and not self._stop.wait(self._INTERVAL_S):
            self._sync()

    def _sync(self) -> None:
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            self._error = error
            # What the disk did not take still lies in memory, as if it had: the next run must read the disk.
            with contextlib.suppress(AttributeError, OSError):  # not every system can be told
                os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def check_free_space(folder: Path, needed_bytes: int) -> None:
    """Raise ResourceError when the disk of ``folder`` has less than ``needed_bytes`` free."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise ResourceError(
            f"the disk has {_format_size(free_bytes)} free, {_format_size(needed_bytes)} are needed",
            where=str(folder),
            next_step="free some room, ask for less, or name another folder",
        )


def _format_size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.2f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:,.1f} MB"


def check_parent_folder(path: Path) -> None:
    """Raise InputError unless a file can have the name ``path``: no folder has it, and the folder that it
    lies in exists and can be written to.
    """
    refuse_folder(path)
    folder = path.absolute().parent
    if not folder.is_dir():
        raise InputError("no such folder", where=str(folder), next_step="make it, or name another")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError("folder is not writable", where=str(folder), next_step="name another")


def refuse_folder(path: Path) -> None:
    """Raise InputError when ``path`` is a folder."""
    if path.is_dir():
        raise InputError("is a folder", where=str(path), next_step="name a file in it")


@contextlib.contextmanager
def explain_os_errors(path: Path, *, is_begun: bool = True) -> Iterator[None]:
    """Turn an OSError of the block into a one-line ResourceError about ``path``.

    ``is_begun``: something may be finished by then, of which it is said that it is kept.
    """
    try:
        yield
    except OSError as error:
        raise os_error_about(path, error, is_begun=is_begun) from error


def os_error_about(path: Path, error: OSError, *, is_begun: bool = True) -> ResourceError:
    """Return the ResourceError that tells a person about ``error`` at ``path``."""
    return ResourceError(
        error.strerror or str(error),
        where=str(path),
        next_step=f"{advice_on(error)}{'; what is finished is kept' if is_begun else ''}",
    )


def advice_on(error: OSError) -> str:
    """Return what to do about an error of the system."""
    return f"{_ADVICE.get(error.errno or 0, 'mend that')} and run the same command again"


class FileLock:
    """An advisory lock on a file, held until :meth:`release` or the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Return whether the lock was free; it is then ours, and the file holds our process id."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        if not self._still_named(descriptor):  # its last holder removed it in between
            os.close(descriptor)
            return self.acquire()
        self._descriptor = descriptor
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        except OSError:
            self.remove()
            raise
        return True

    def _still_named(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def holder(self) -> str:
        """Return what the file says of its holder: a process id, or an empty string."""
        with contextlib.suppress(OSError):
            return self._path.read_text().strip()
        return ""

    def remove(self) -> None:
        """Give the lock back and delete its file (while it is held: nobody else can have opened it anew).

        A file that cannot be deleted is left: the next holder of the lock deletes it.
        """
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
        self.release()

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
