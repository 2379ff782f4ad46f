"""Kills, Ctrl-C, full disks and torn files: the same command again ends with exactly the input.

Against the embedded server, in processes of their own. The numbers are those of the table in this package's
docstring.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from synthgen.errors import InputError, ResourceError
from synthgen.ingest import IngestReport, count_hint, ingest, verify
from synthgen.specs import IngestSpec
from tests.ingest.faulty import FaultyServer, during, faulty_server, sometimes
from tests.ingest.rows import TestRows
from tests.processes import command_line_of, still_running
from tests.serverproc import ServerProcess, running_server

WAIT_S = 90.0
N_ROWS = 1_200
SLOWLY = ("--quirks", "slow-store=3")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("served") / "db") as process:
        yield process


@pytest.fixture(scope="module")
def slow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that takes seconds for ``N_ROWS`` on any machine: a run is met in the middle of its work."""
    with running_server(tmp_path_factory.mktemp("slow") / "db", *SLOWLY) as process:
        yield process


_KEYS = iter(range(100, 10_000))


class Command:
    """One ingest command over rows of its own, in a space of its own."""

    def __init__(
        self, server: ServerProcess | FaultyServer, folder: Path, n_rows: int = N_ROWS, **settings: Any
    ) -> None:
        self.key = next(_KEYS)
        self.rows = TestRows(n_rows, key=self.key)
        self.space = f"space-{self.key}"
        self.endpoint = server.endpoint
        self.ledger = folder / "x.ledger"
        self.settings = {
            "rows": {"n_rows": n_rows, "key": self.key},
            "endpoint": server.endpoint,
            "ledger": str(self.ledger),
            "spaces": [self.space],
            "batch_size": 100,
            **settings,
        }

    def start(self, **settings: Any) -> subprocess.Popen[str]:
        text = json.dumps({**self.settings, **settings})
        return subprocess.Popen(
            [sys.executable, "-m", "tests.ingest.driver", text],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        output, errors = process.communicate(timeout=WAIT_S)
        return process.returncode, output, errors

    def again(self) -> dict[str, Any]:
        """Run it to its end and return the report."""
        code, output, errors = self.finish(self.start(quiet=True))
        assert code == 0, errors
        return self.exact(output)

    def exact(self, output: str) -> dict[str, Any]:
        """Return the report in ``output``: the space holds every row once, equal, and nothing else."""
        report: dict[str, Any] = json.loads(output)
        proof = report["verification"]
        assert proof["is_proven"]
        assert (proof["n_found"], proof["n_listed"]) == (report["n_rows"], report["n_rows"])
        return report

    def n_lines(self) -> int:
        with contextlib.suppress(OSError):
            return self.ledger.read_bytes().count(b"\n")
        return 0


def wait_for(condition: Callable[[], bool], seconds: float = WAIT_S) -> None:
    deadline_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.005)


def children_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def group_of(process: subprocess.Popen[str]) -> psutil.Process:
    """Return the group: the child that is no resource tracker."""
    found: list[psutil.Process] = []

    def look() -> bool:
        found[:] = [c for c in children_of(process) if "spawn_main" in " ".join(command_line_of(c))]
        return bool(found)

    wait_for(look)
    return found[0]


@pytest.mark.parametrize("lines", [3, 7])
def test_kill_9_of_the_parent_then_the_same_command(
    slow_server: ServerProcess, tmp_path: Path, lines: int
) -> None:  # 1
    command = Command(slow_server, tmp_path)
    process = command.start()
    wait_for(lambda: command.n_lines() >= lines)
    children = children_of(process)
    assert children
    process.kill()
    process.communicate()
    assert not still_running(children, 2.0)
    report = command.again()
    assert 0 < report["n_acked_before"] < N_ROWS
    # Sent again: at most what was in flight (two batches), and the rows of the first check.
    assert report["n_sent"] <= N_ROWS - report["n_acked_before"]


def test_kill_9_of_a_group_ends_in_all_in_the_same_run(
    slow_server: ServerProcess, tmp_path: Path
) -> None:  # 2
    command = Command(slow_server, tmp_path)
    process = command.start(quiet=True)
    wait_for(lambda: command.n_lines() >= 4)
    group_of(process).kill()
    code, output, errors = command.finish(process)
    assert code == 0, errors
    assert command.exact(output)["errors"]["group died"] == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_drains_and_the_same_command_continues(
    slow_server: ServerProcess, tmp_path: Path, number: signal.Signals
) -> None:  # 3
    command = Command(slow_server, tmp_path)
    process = command.start()
    wait_for(lambda: command.n_lines() >= 4)
    os.killpg(process.pid, number)  # as a terminal, `timeout` or systemd does
    code, _, errors = command.finish(process)
    assert code == 130
    assert "run the same command again to continue" in errors
    n_stored = count_hint(slow_server.endpoint, command.space)
    report = command.again()
    # Drained: all that is stored is acknowledged, so every row but those of the first check is sent once.
    assert report["n_acked_before"] == n_stored > 0
    assert report["n_sent"] + report["n_acked_before"] == N_ROWS


def test_ctrl_c_twice_stops_at_once(tmp_path: Path) -> None:  # 4
    with faulty_server(misbehave=during(150, 10**9, "silence")) as silent:
        command = Command(silent, tmp_path)
        process = command.start()
        wait_for(lambda: silent.n_posts > 160)
        children = children_of(process)
        process.send_signal(signal.SIGINT)
        wait_for(lambda: _has_handled_sigint(process))
        process.send_signal(signal.SIGINT)
        code, _, errors = command.finish(process)
        assert code == 130
        assert "the same command" not in errors  # it did not wait for the silent server
        assert not still_running(children, 2.0)
        silent.misbehave = sometimes(0.0)
        command.again()


def test_ctrl_c_during_the_proof(tmp_path: Path) -> None:  # 3
    with faulty_server(lie="lists one a page") as slow:
        command = Command(slow, tmp_path)
        process = command.start()
        wait_for(lambda: slow.n_pages > 40)
        process.send_signal(signal.SIGINT)
        code, _, errors = command.finish(process)
        assert code == 130
        assert "verification stopped; run the same command again" in errors
        slow.lie = ""
        report = command.again()
        assert report["n_sent"] == 0


def _has_handled_sigint(process: subprocess.Popen[str]) -> bool:
    assert process.stderr is not None
    return "once more to stop at once" in process.stderr.readline()


def test_a_full_disk_under_the_ledger_stops_and_the_same_command_continues(
    server: ServerProcess, tmp_path: Path
) -> None:  # 5
    command = Command(server, tmp_path, n_rows=1_000)
    code, _, errors = command.finish(command.start(file_bytes=500))
    assert code == 3
    assert "x.ledger" in errors
    assert "what is finished is kept" in errors
    command.again()


def test_a_full_disk_under_the_dead_letters_loses_none(server: ServerProcess, tmp_path: Path) -> None:  # 6
    command = Command(server, tmp_path, n_rows=600)
    poison = {300: command.rows.body(300).replace(b'"content"', b'"nothing"')}
    folder = tmp_path / "full"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        _mount_tiny(folder, stack)
        ledger = folder / "x.ledger"
        rows = TestRows(600, key=command.key, bodies=poison)
        spec = IngestSpec(command.endpoint, ledger, spaces=(command.space,), batch_size=200, quiet=True)
        filler = folder / "filler"
        filler.write_bytes(b"x" * (20 * 1024))
        with pytest.raises(ResourceError, match=r"x\.dead\.jsonl"):
            ingest(rows, spec)
        filler.unlink()
        report = ingest(rows, spec)
        assert (report.exit_code, report.n_dead) == (1, 1)
        assert (folder / "x.dead.jsonl").read_bytes() == poison[300] + b"\n"


def _mount_tiny(folder: Path, stack: contextlib.ExitStack) -> None:
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=28k", "none", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("needs the right to mount a file system")
    stack.callback(subprocess.run, ["umount", str(folder)], check=True)


def test_a_failing_fsync_stops_and_the_same_command_continues(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # 7
    command = Command(server, tmp_path, n_rows=800)
    spec = IngestSpec(command.endpoint, command.ledger, spaces=(command.space,), batch_size=200, quiet=True)
    fsync = os.fsync

    def failing(descriptor: int) -> None:
        if command.n_lines() > 2:
            raise OSError(5, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(ResourceError, match="Input/output error"):
        ingest(command.rows, spec)
    monkeypatch.undo()
    command.again()


def test_a_torn_last_line_is_cut_off(server: ServerProcess, tmp_path: Path) -> None:  # 8
    command = Command(server, tmp_path, n_rows=1_000)
    command.again()
    data = command.ledger.read_bytes()
    whole = data[: data.rindex(b'{"rows"')]
    command.ledger.write_bytes(data[:-7])
    report = command.again()
    assert report["n_acked_before"] == 900
    assert command.ledger.read_bytes().startswith(whole)


def test_an_unreadable_row_stops_after_the_rows_before_it(server: ServerProcess, tmp_path: Path) -> None:  # 9
    command = Command(server, tmp_path, n_rows=2_000)
    rows = TestRows(2_000, key=command.key, broken_at=1_500)
    spec = IngestSpec(command.endpoint, command.ledger, spaces=(command.space,), batch_size=500, quiet=True)
    with pytest.raises(InputError, match=r"offset 150000: row 1500 is damaged"):
        ingest(rows, spec)
    before = verify(TestRows(1_000, key=command.key), command.endpoint, (command.space,), quiet=True)
    assert before.is_proven
    command.again()


def test_two_runs_on_one_ledger(tmp_path: Path) -> None:  # 10
    with faulty_server(misbehave=during(800, 10**9, "silence")) as silent:  # the first is held up
        command = Command(silent, tmp_path, timeout_s=3.0)
        first = command.start(quiet=True)
        wait_for(lambda: command.n_lines() >= 3)
        code, _, errors = command.finish(command.start())
        assert code == 3
        assert f"another run holds this ledger (process {first.pid})" in errors
        silent.misbehave = sometimes(0.0)
        code, output, errors = command.finish(first)
        assert code == 0, errors
        command.exact(output)


def test_a_server_killed_and_started_again_with_its_data(tmp_path: Path) -> None:  # 21
    with running_server(tmp_path / "db", *SLOWLY) as server:
        port = server.port
        command = Command(server, tmp_path, n_rows=1_500)
        process = command.start(quiet=True)
        wait_for(lambda: command.n_lines() >= 5)
        server.kill()
        with running_server(tmp_path / "db", port=port):
            code, output, errors = command.finish(process)
            assert code == 0, errors
            assert command.exact(output)["errors"]["connect"] > 0


def test_a_finished_run_sends_nothing_and_proves_again(server: ServerProcess, tmp_path: Path) -> None:
    command = Command(server, tmp_path, n_rows=1_000)
    command.again()
    report = command.again()
    assert (report["n_sent"], report["n_acked"], report["n_acked_before"]) == (0, 1_000, 1_000)
    assert report["verification"]["is_proven"]


def test_more_rows_of_the_same_input_are_added(server: ServerProcess, tmp_path: Path) -> None:
    command = Command(server, tmp_path, n_rows=500)
    command.again()
    command.settings["rows"] = {"n_rows": 900, "key": command.key}
    command.settings["batch_size"] = 77
    report = command.again()
    assert (report["n_sent"], report["n_acked"]) == (400, 900)


def test_after_an_older_backup_was_restored_it_says_how_all_is_sent_again(tmp_path: Path) -> None:
    """The backup is the same database by its id, so the ledger believes that all is there."""
    with running_server(tmp_path / "data") as empty:
        port = empty.port
        empty.stop()
    shutil.copytree(tmp_path / "data", tmp_path / "backup")

    def send(folder: str, ledger: str) -> IngestReport:
        with running_server(tmp_path / folder, port=port) as server:
            return ingest(TestRows(40, key=7), IngestSpec(server.endpoint, tmp_path / ledger, quiet=True))

    assert send("data", "one").exit_code == 0
    again = send("backup", "one")
    assert again.exit_code == 1 and again.verification is not None and again.verification.n_missing == 40
    assert f"give another --ledger than {tmp_path / 'one'}" in again.lines()[-1]
    assert send("backup", "two").exit_code == 0
