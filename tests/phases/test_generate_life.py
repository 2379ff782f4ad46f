"""What stops a run of generate: signals, a terminal, deaths of workers and of the parent, at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from synthgen.formats.manifest import manifest_path
from tests.phases.generating import (
    Terminal,
    TooFast,
    catch,
    command,
    finish_here,
    left_of_session,
    n_lines_of_journal,
    sha256,
    started,
    workers_of,
)
from tests.processes import kill_all, still_running

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal")
#: More rows than are made before a signal comes: in a file, which the disk must have room for, and elsewhere.
MANY, ENDLESS = "150000", "100000000"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "x.jsonl"


def is_begun(output: Path) -> bool:
    """Return whether a chunk is in the journal."""
    return n_lines_of_journal(output) >= 2


def delays_s(n: int, longest_s: float) -> list[float]:
    rng = random.Random(5)
    return [rng.uniform(0.0, longest_s) for _ in range(n)]


def wait_until_begun(terminal: Terminal, output: Path) -> None:
    while not is_begun(output):
        terminal.pause(0.01)


@pytest.mark.parametrize("kind", ["file", "null", "stream"])
def test_ctrl_c_in_a_terminal_stops_clean(kind: str, centroids: Path, output: Path) -> None:
    """Ctrl-C reaches the parent and all workers; what they print would be seen in the terminal."""
    target = {"file": str(output), "null": "/dev/null", "stream": "-"}[kind]
    argv = command(centroids, target, "--count", MANY if kind == "file" else ENDLESS)
    if kind == "stream":
        argv = ["/bin/sh", "-c", 'exec "$@" > /dev/null', "sh", *argv]
    terminal = Terminal(argv)
    terminal.wait_for("warning")  # about the noise: before anything is made
    if kind == "file":
        wait_until_begun(terminal, output)
    else:
        terminal.pause(1.0)
    terminal.press_ctrl_c()
    ended = terminal.end()
    assert ended.code == 130, ended.printed
    assert "Traceback" not in ended.printed and "Exception ignored" not in ended.printed
    assert ended.after_s < 5 and not left_of_session(terminal.pid, 2)
    if kind == "stream":
        assert "standard output: stopped in the middle; the same command begins again" in ended.printed
    if kind == "file":
        assert "the same command continues" in ended.printed
        assert not output.exists() and is_begun(output)


def test_ctrl_c_while_it_starts_stops_clean(centroids: Path) -> None:
    """From the first module of ours on: before, the interpreter itself answers."""
    for delay_s in delays_s(8, 0.6):
        terminal = Terminal(command(centroids, "/dev/null", "--count", ENDLESS))
        terminal.wait_for("warning")
        terminal.pause(delay_s)
        terminal.press_ctrl_c()
        ended = terminal.end()
        assert ended.code == 130, (delay_s, ended)
        assert "Traceback" not in ended.printed and "Exception ignored" not in ended.printed, ended.printed
        assert not left_of_session(terminal.pid, 2)


def test_ctrl_c_twice_ends_at_once(centroids: Path, output: Path) -> None:
    terminal = Terminal(command(centroids, output, "--count", MANY))
    wait_until_begun(terminal, output)
    for worker in workers_in(terminal.pid):
        os.kill(worker, signal.SIGSTOP)  # so that the first one cannot end it
    terminal.press_ctrl_c()
    terminal.wait_for("once more to stop at once")
    terminal.press_ctrl_c()
    ended = terminal.end()
    assert (ended.code, "Traceback" in ended.printed) == (130, False), ended.printed
    assert ended.after_s < 5 and not left_of_session(terminal.pid, 2)
    assert_it_continues(centroids, output)


def workers_in(parent: int) -> list[int]:
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    children = [int(pid) for pid in text.split()]
    return [pid for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]


def assert_it_continues(centroids: Path, output: Path) -> None:
    """The same command, for fewer rows to save time, keeps what is made and ends with the same bytes."""
    whole = output.with_name("whole.jsonl")
    reports = []
    for path in (output, whole):
        flags = ["--count", "10000", "-q", "--json", "--workers", "1"]
        done = finish_here(command(centroids, path, *flags))
        assert done.returncode == 0, done.stderr
        reports.append(json.loads(done.stdout))
    assert reports[0]["rows_made"] < reports[1]["rows_made"] == 10_000
    assert sha256(output) == sha256(whole)
    assert not [path.name for path in output.parent.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_stop_is_as_ctrl_c(number: signal.Signals, centroids: Path, output: Path) -> None:
    with started(command(centroids, output, "--count", MANY)) as process:
        while not is_begun(output):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        os.killpg(process.pid, number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130, errors
        assert b"the same command continues" in errors and b"Traceback" not in errors
        assert not left_of_session(process.pid, 2)
    assert_it_continues(centroids, output)


def test_a_terminal_that_is_closed_stops_it_clean(centroids: Path, output: Path) -> None:
    terminal = Terminal(command(centroids, output, "--count", MANY))
    wait_until_begun(terminal, output)
    terminal.close()
    ended = terminal.end()
    assert ended.code == 130 and not left_of_session(terminal.pid, 2)
    assert_it_continues(centroids, output)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_parent_killed_at_any_moment_leaves_nothing_behind(centroids: Path, tmp_path: Path) -> None:
    """While it starts workers, while they start, while they work: nothing is left of it after 2 s."""
    for delay_s in delays_s(15, 0.7):
        with started(command(centroids, "/dev/null", "--count", ENDLESS, "-q")) as process:
            time.sleep(delay_s)
            process.kill()
            process.wait()
            assert not left_of_session(process.pid, 2), delay_s
            assert process.stderr is not None
            errors = process.stderr.read()
            # The interpreter's own, where the parent dies between starting a worker and telling it its work.
            assert b"Traceback" not in errors or b"EOFError: Ran out of input" in errors, (delay_s, errors)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a worker that is stopped outlives its parent")
def test_workers_that_are_stopped_die_with_their_parent(centroids: Path) -> None:
    with started(command(centroids, "/dev/null", "--count", ENDLESS, "-q")) as process:
        for worker in workers_of(process):
            while worker.cpu_times().user < 1.0:  # it works
                time.sleep(0.05)
            worker.suspend()
        process.kill()
        process.wait()
        assert not left_of_session(process.pid, 2)


def test_workers_that_are_stopped_are_waited_for(centroids: Path, output: Path) -> None:
    with started(command(centroids, output, "--count", "60000", "-q")) as process:
        workers = workers_of(process)
        for worker in workers:
            worker.suspend()
        time.sleep(1.0)
        assert process.poll() is None
        for worker in workers:
            worker.resume()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert manifest_path(output).exists()


def test_all_workers_killed_again_and_again_only_delay_it(centroids: Path, tmp_path: Path) -> None:
    flags = ["--count", "60000", "-q"]

    def kill_workers(output: Path) -> None:
        with started(command(centroids, output, *flags)) as process:
            while not is_begun(output):
                if process.poll() is not None:
                    raise TooFast(process.communicate())
                time.sleep(0.01)
            for _ in range(2):
                workers = workers_of(process)
                kill_all(workers)
                assert not still_running(workers, 10)  # they would be taken for the next ones
                time.sleep(0.1)
            _, errors = process.communicate(timeout=60)
            assert (process.returncode, errors) == (0, b"")

    output = catch(tmp_path, "x.jsonl", kill_workers)
    whole = output.with_name("whole.jsonl")
    assert finish_here(command(centroids, whole, *flags, "--workers", "1")).returncode == 0
    assert sha256(output) == sha256(whole)
