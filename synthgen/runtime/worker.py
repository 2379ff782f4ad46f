"""The worker's side of a pool: its channel, its main function, and its end when the parent is gone."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from synthgen.errors import ResourceError, SynthgenError
from synthgen.runtime.interrupts import STOP_SIGNALS
from synthgen.runtime.payload import Payload

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

#: Numeric libraries would start a thread per core in each worker; the pool is the parallelism.
_ENVIRONMENT = threading.Lock()
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True)
class Assignment:
    """A task on its way to a worker, under the number by which it is acknowledged."""

    number: int
    task: Any


@dataclass(frozen=True)
class Told:
    """What the parent told a worker beside its assignments (:meth:`Pool.tell`)."""

    value: Any


class Channel:
    """A worker's end of its pipe. ``index``: which worker of the pool this is, 0-based; a worker that takes
    the place of a dead one has the same.
    """

    def __init__(self, connection: Connection, index: int = 0) -> None:
        self.index = index
        self._connection = connection

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when an assignment has come."""
        return self._connection.fileno()

    def poll(self, timeout_s: float = 0.0) -> bool:
        """Return whether :meth:`get` would return without waiting."""
        return self._connection.poll(timeout_s)

    def get(self) -> Assignment | None:
        """Return the next assignment, or None when there will be no more.

        None may come while assignments are unfinished: :meth:`Pool.stop` was told to hurry. A worker may
        then finish them in part and say so in their values.
        """
        assignment: Assignment | None = self._connection.recv()
        return assignment

    def receive(self) -> Assignment | Told | None:
        """Return what comes next, in place of :meth:`get` where :meth:`Pool.tell` is used."""
        message: Assignment | Told | None = self._connection.recv()
        return message

    def done(self, number: int, value: Any = None) -> None:
        """Report that the assignment ``number`` is finished."""
        self._connection.send(("done", number, value))

    def note(self, value: Any) -> None:
        """Report something that is no end of an assignment (progress, say)."""
        self._connection.send(("note", 0, value))


@contextlib.contextmanager
def worker_environment() -> Iterator[None]:
    """Start workers within this block: numeric libraries held to one thread, signals to stop kept from them.

    Ctrl-C reaches every process of a terminal's group, SIGTERM of `timeout` or systemd every one of theirs: a
    worker that died of it would take with it what it has not reported; one that is starting, loudly.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        resource_tracker.ensure_running()  # starting it lets signals through again (Python 3.11)
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        with _one_thread():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    with _ENVIRONMENT:  # pools of several threads may start workers at a time
        saved = {name: os.environ.get(name) for name in _ONE_THREAD}
        os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
        try:
            yield
        finally:
            for name, value in saved.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def worker_main(connection: Connection, index: int, payload: Payload) -> None:
    """Run the target and the arguments of ``payload`` in a worker; tell the parent what it raised."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the parent decides
    _die_with_parent()
    try:
        target, args = payload.load()
        target(Channel(connection, index), *args)
    except (EOFError, BrokenPipeError):
        os._exit(1)  # the parent is gone
    except Exception as error:
        with contextlib.suppress(OSError):  # the parent is gone
            connection.send(("error", 0, _readable(error)))
    connection.close()  # there is no more to tell: nobody needs to wait for the interpreter's end


def _readable(error: Exception) -> SynthgenError:
    if isinstance(error, SynthgenError):
        return error
    if isinstance(error, MemoryError):
        return ResourceError("a worker got no more memory", next_step="lower --workers or --memory-budget")
    if isinstance(error, OSError):
        from synthgen.runtime.files import os_error_about  # it loads numpy: a worker has first things to do

        return os_error_about(Path(error.filename or "a worker"), error)
    trace = traceback.format_exception(error)
    place = trace[-2].strip().splitlines()[0] if len(trace) > 1 else ""
    return SynthgenError(
        f"a worker failed: {type(error).__name__}: {error} ({place})",
        next_step="this is a defect of synthgen: please report it with the command",
    )


def _die_with_parent() -> None:
    """Linux kills this process with its parent, even where it is stopped or in a long call; a thread does the
    same elsewhere, and where the parent died before it was asked for.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_await_end_of_parent, daemon=True).start()


def _await_end_of_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
