"""Whoever waits is told for what, quiet or not, and not for ever."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from synthgen.cli import main
from synthgen.errors import TargetError
from synthgen.ingest import RetryPolicy, check_health, count_hint, ingest, listing, notice
from synthgen.ingest.notice import Lasting
from synthgen.specs import IngestSpec
from tests.ingest.faulty import FaultyServer, during, faulty_server, sometimes, to_rows
from tests.ingest.rows import TestRows

ROWS = TestRows(400, dimension=8)
QUICK = RetryPolicy(base_delay_s=0.004, max_delay_s=0.05, max_retry_after_s=0.1, probe_delay_s=0.05)


@pytest.fixture
def hole() -> Iterator[str]:
    """An endpoint that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notice, "TELL_AFTER_S", 0.15)
    monkeypatch.setattr(listing, "FIRST_TIMEOUT_S", 0.2)


def run(server: FaultyServer, folder: Path, policy: RetryPolicy = QUICK, rows: TestRows = ROWS) -> int:
    spec = IngestSpec(server.endpoint, folder / "x.ledger", concurrent=4, quiet=True, timeout_s=30.0)
    return ingest(rows, spec, policy=policy).exit_code


def test_a_first_contact_is_told_of_within_ten_seconds_and_over_within_a_minute() -> None:
    attempts_s = listing.FIRST_CONTACT.max_attempts * listing.FIRST_TIMEOUT_S
    assert notice.TELL_AFTER_S <= 10 and attempts_s <= 50


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("contact", [check_health, count_hint])
def test_a_silent_endpoint_is_told_of_and_given_up(
    hole: str, contact: Callable[[str], object], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TargetError, match=r"no usable answer within \d+ s \(3 attempts, the last: timeout:"):
        contact(hole)
    said = capfd.readouterr().err
    assert said.startswith(f"synthgen: {hole}: waiting for the answer to GET ")
    assert said.count("\n") == 1 and "giving up after 3 attempts of at most 0.2 s" in said


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("command", ["ingest", "verify", "centroids", "fit"])
@pytest.mark.parametrize("flags", [[], ["--quiet"]])
def test_every_command_tells_of_a_silent_endpoint(
    hole: str, command: str, flags: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = {"centroids": ["--output", str(tmp_path / "c.npy")], "fit": ["--output", str(tmp_path / "m.npz")]}
    path = tmp_path / "x.jsonl"
    path.write_bytes(ROWS.body(0) + b"\n")
    assert main([command, *given.get(command, ["--input", str(path)]), "--endpoint", hole, *flags]) == 3
    waits, error = capfd.readouterr().err.splitlines()
    assert "waiting for the answer to GET" in waits
    assert "no usable answer" in error and "; see to the database or to --endpoint" in error


def test_a_healthy_server_is_not_worth_a_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with faulty_server(misbehave=sometimes(0.2, "503", "reset before body")) as server:
        assert run(server, tmp_path) == 0
    assert capfd.readouterr().err == ""


def test_a_full_disk_at_the_first_row_is_told_in_the_servers_words(tmp_path: Path) -> None:
    policy = RetryPolicy(base_delay_s=0.001, max_delay_s=0.002, max_attempts=3)
    with faulty_server(misbehave=during(0, 10**9, "503")) as server:
        with pytest.raises(TargetError, match=r"3 attempts, the last: 503: SCRIPTED: 503\)"):
            run(server, tmp_path, policy)
    with faulty_server(misbehave=during(0, 10**9, "507")) as server:
        with pytest.raises(TargetError, match="the last with: 507 SCRIPTED: 507; see to the database"):
            run(server, tmp_path, policy)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", ["503", "507"])
def test_a_pause_is_told_of_once_and_ends_naming_the_last_fault(
    tmp_path: Path, status: str, capfd: pytest.CaptureFixture[str]
) -> None:
    policy = RetryPolicy(base_delay_s=0.004, max_delay_s=0.02, probe_delay_s=0.05, away_s=1.5)
    with faulty_server(misbehave=during(100, 10**9, f"{status} 0")) as server:
        with pytest.raises(
            TargetError, match=f"nothing good came for 2 s .last: {status}: SCRIPTED: {status} 0"
        ):
            run(server, tmp_path, policy)
        said = [line for line in capfd.readouterr().err.splitlines() if "paused" in line]
        assert len(said) == 1 and f"{server.endpoint}: paused: {status}: SCRIPTED: {status} 0" in said[0]
        assert said[0].endswith("of 400 rows acknowledged); trying on, for 2 s at most")
        server.misbehave = sometimes(0.0)
        assert run(server, tmp_path) == 0


def test_no_row_dies_of_a_full_disk(tmp_path: Path) -> None:
    """507 to the same rows again and again while others pass."""
    policy = RetryPolicy(base_delay_s=0.001, max_delay_s=0.02, max_attempts=3, give_up_s=0.3)
    with faulty_server(misbehave=to_rows(dict.fromkeys(range(100, 110), "507"))) as server:
        with pytest.raises(TargetError, match="the database keeps answering 507"):
            run(server, tmp_path, policy)
    assert not list(tmp_path.glob("*.dead*"))


def test_a_lasting_trouble_is_told_once_and_the_next_one_again() -> None:
    told: list[str] = []
    lasting = Lasting(told.append)
    for now_s, trouble in enumerate(["a", "a", "", *"bbbbbbb", "", *"cccccc"]):
        lasting.update(trouble, float(now_s))
    assert told == ["b", "c"]
