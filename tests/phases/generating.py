"""Running ``synthgen generate`` as a person does: in a session of its own, or in a terminal."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from synthgen.cli import main
from synthgen.formats.manifest import journal_path
from tests.processes import LOOK_S, command_line_of, kill_all, status_of

#: Loading the interpreter and our modules; what happens before is not ours.
MODULE = [sys.executable, "-m", "synthgen", "generate"]


def command(centroids: Path, output: Path | str, *more: str) -> list[str]:
    """Return the command that makes ``output`` with two workers."""
    return [*MODULE, "--centroids", str(centroids), "--output", str(output), "--workers", "2", *more]


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def finish(argv: list[str], environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    environment = {**os.environ, **(environment or {})}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=250, check=False)


def finish_here(argv: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command of ours to its end in this process, where that it is one of its own does not matter."""
    assert argv[:3] == MODULE[:3]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(argv[3:])
        except SystemExit as stop:  # the parser's
            code = int(stop.code or 0)
    return subprocess.CompletedProcess(argv, code, out.getvalue(), err.getvalue())


def n_lines_of_journal(output: Path) -> int:
    """Return how many whole lines the journal of ``output`` has; none where there is none, or no more."""
    with contextlib.suppress(FileNotFoundError):
        return journal_path(output).read_bytes().count(b"\n")
    return 0


class TooFast(AssertionError):
    """A run was over before the test came to disturb it."""


def catch(folder: Path, name: str, disturb: Callable[[Path], None]) -> Path:
    """``disturb`` a run whose output is ``name``; try anew, in another folder, where the run was TooFast, as
    it is when this process stands still and that of the run does not. Return the output.
    """
    for number in range(5):
        output = folder / str(number) / name
        output.parent.mkdir()
        with contextlib.suppress(TooFast):
            disturb(output)
            return output
    raise AssertionError("five runs were over before the test came to disturb them")


#: Becomes a command that signals reach: who runs the tests in the background, or with nohup, ignores some.
_HEAR_SIGNALS = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
#: Makes standard input the terminal that controls the session first.
_TAKE_TERMINAL = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)" + _HEAR_SIGNALS


@contextlib.contextmanager
def started(argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command as the leader of a session; whatever of it is left at the end is killed."""
    pipe = subprocess.PIPE
    argv = [sys.executable, "-c", _HEAR_SIGNALS, *argv]
    process = subprocess.Popen(argv, stdout=pipe, stderr=pipe, start_new_session=True)
    try:
        yield process
    finally:
        kill_all(session_of(process.pid))
        process.communicate()


def session_of(leader: int) -> list[psutil.Process]:
    """Return what runs of the session that process ``leader`` began, itself among them."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            if os.getsid(process.pid) == leader and status_of(process) != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def left_of_session(leader: int, timeout_s: float) -> list[psutil.Process]:
    """Return what still runs of a session after ``timeout_s``, which is counted in looks (still_running)."""
    for _ in range(round(timeout_s / LOOK_S)):
        if not session_of(leader):
            break
        time.sleep(LOOK_S)
    return session_of(leader)


def workers_of(process: psutil.Popen | subprocess.Popen[bytes], n_workers: int = 2) -> list[psutil.Process]:
    """Wait until ``n_workers`` run and return all; one that was killed just now may be among them.

    Raises TooFast where the run ends before.
    """
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise TooFast(process.communicate())
        children = psutil.Process(process.pid).children()
        workers = [child for child in children if "spawn_main" in " ".join(command_line_of(child))]
        if len(workers) >= n_workers:
            return workers
        time.sleep(0.005)
    raise AssertionError("no workers were started")


@dataclass(frozen=True)
class Ended:
    """How a command in a terminal ended: its code, what it printed, and how long after the last key, in the
    time of a machine that never stands still.
    """

    code: int
    printed: str
    after_s: float


class Terminal:
    """A terminal with a command in its foreground: Ctrl-C interrupts all processes of it."""

    def __init__(self, argv: list[str]) -> None:
        self._descriptor, theirs = os.openpty()
        argv = [sys.executable, "-c", _TAKE_TERMINAL, *argv]
        self._process = subprocess.Popen(
            argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self.pid = self._process.pid
        self._printed = b""
        self._after_s = 0.0

    def wait_for(self, text: str, timeout_s: float = 60.0) -> None:
        """Wait until the command has printed ``text``."""
        deadline_s = time.monotonic() + timeout_s
        while text.encode() not in self._printed:
            assert time.monotonic() < deadline_s, self._printed
            self._read()

    def pause(self, seconds: float) -> None:
        """Let the command run on for a while."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self._read()

    def press_ctrl_c(self) -> None:
        """Press the key."""
        os.write(self._descriptor, b"\x03")
        self._after_s = 0.0

    def close(self) -> None:
        """Close the terminal's window: the kernel hangs up."""
        os.close(self._descriptor)
        self._descriptor = -1
        self._after_s = 0.0

    def end(self, timeout_s: float = 60.0) -> Ended:
        """Wait until the command has ended."""
        deadline_s = time.monotonic() + timeout_s
        while self._process.poll() is None:
            if time.monotonic() > deadline_s:
                self._process.kill()
            self._read()
        after_s = self._after_s
        if self._descriptor >= 0:
            self.pause(0.05)
            os.close(self._descriptor)
        return Ended(self._process.wait(), self._printed.decode("utf-8", "replace"), after_s)

    def _read(self) -> None:
        began_s = time.monotonic()
        if self._descriptor < 0:
            time.sleep(0.005)
        elif select.select([self._descriptor], [], [], 0.005)[0]:
            with contextlib.suppress(OSError):  # its other end is closed
                self._printed += os.read(self._descriptor, 65_536)
        self._after_s += min(time.monotonic() - began_s, LOOK_S)  # more is the machine's
