"""The worker's side of a pool: its channel, its main function, and its end when the parent is gone."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from synthgen.errors import SynthgenError

#: Numeric libraries would start a thread per core in each worker; the pool is the parallelism.
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True)
class Assignment:
    """A task on its way to a worker, under the number by which it is acknowledged."""

    number: int
    task: Any


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
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        with _one_thread():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
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


def worker_main(
    connection: Connection, index: int, target: Callable[..., None], args: tuple[Any, ...]
) -> None:
    """Run ``target`` in a worker; tell the parent what it raised."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        target(Channel(connection, index), *args)
    except (EOFError, BrokenPipeError):
        os._exit(1)  # the parent is gone
    except SynthgenError as error:
        connection.send(("error", 0, error))
    except Exception as error:
        trace = traceback.format_exception(error)
        place = trace[-2].strip().splitlines()[0] if len(trace) > 1 else ""
        failure = SynthgenError(
            f"a worker failed: {type(error).__name__}: {error} ({place})",
            next_step="this is a defect of synthgen: please report it with the command",
        )
        connection.send(("error", 0, failure))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
