"""Faults of a server and of the way to it, each against a real one, and how the run ends.

The numbers are those of the table in this package's docstring.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from synthgen.errors import InputError, SynthgenError, TargetError
from synthgen.ingest import IngestReport, RetryPolicy, ingest
from synthgen.specs import IngestSpec
from tests.ingest.faulty import FaultyServer, during, faulty_server, sometimes, to_rows
from tests.ingest.rows import TestRows

QUICK = RetryPolicy(
    base_delay_s=0.004,
    max_delay_s=0.1,
    max_retry_after_s=0.3,
    probe_delay_s=0.1,
    away_s=20.0,
    drain_s=2.0,
    max_attempts=20,
)
ROWS = TestRows(400, dimension=8)
#: Posts of the first check, which come before those of the groups.
FIRST = 8


def run(server: FaultyServer, folder: Path, rows: TestRows = ROWS, **settings: Any) -> IngestReport:
    policy = settings.pop("policy", QUICK)
    spec = IngestSpec(
        **{
            "endpoint": server.endpoint,
            "ledger": folder / "x.ledger",
            "concurrent": 8,
            "batch_size": 100,
            "quiet": True,
            "timeout_s": 30.0,
            **settings,
        }
    )
    return ingest(rows, spec, policy=policy)


def assert_all(report: IngestReport, server: FaultyServer, rows: TestRows = ROWS) -> None:
    assert report.exit_code == 0
    assert (report.n_acked, report.n_dead) == (rows.n_rows, 0)
    assert server.ids() == {rows.memory_id(row) for row in range(rows.n_rows)}


BROKEN = [
    ("13", "500", "502", "503", "504"),
    ("13", "408", "425", "429"),
    ("16", "reset before body", "reset during body", "reset after body"),
    ("17", "reset after storing"),
    ("18", "close when idle", "say close and go deaf"),
    ("22", "truncated head", "truncated body"),
    ("22", "malformed", "too short a length", "two answers"),
    ("22", "endless body", "endless head"),
]


@pytest.mark.parametrize("actions", BROKEN, ids=lambda actions: f"{actions[0]}: {actions[1]}")
def test_scattered_faults_end_in_all(tmp_path: Path, actions: tuple[str, ...]) -> None:
    with faulty_server(misbehave=sometimes(0.2, *actions[1:])) as server:
        report = run(server, tmp_path)
        assert_all(report, server)
        # Each was seen for what it is: nothing had to wait for a timeout.
        assert report.stats.errors["timeout"] == 0
        if "say close and go deaf" not in actions:
            assert report.stats.errors.total() > 20


def test_bursts_of_503_pause_the_run_and_cost_no_row(tmp_path: Path) -> None:  # 13
    with faulty_server(misbehave=during(100, 140, "500", "502", "503", "504")) as server:
        report = run(server, tmp_path)
        assert_all(report, server)
        assert sum(report.stats.errors[status] for status in ("500", "502", "503", "504")) == 40


@pytest.mark.parametrize(
    "value",
    ["1", "Wed, 21 Oct 2015 07:28:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "99999999999999999999", "x"],
)
def test_429_with_any_retry_after_ends_in_all(tmp_path: Path, value: str) -> None:  # 12
    with faulty_server(misbehave=during(50, 54, f"429 {value}")) as server:
        report = run(server, tmp_path)
        assert_all(report, server)
        assert report.stats.errors["429"] == 4


def test_a_response_of_a_wrong_length_is_waited_for_and_sent_again(tmp_path: Path) -> None:  # 22
    with faulty_server(misbehave=during(50, 53, "too long a length")) as server:
        report = run(server, tmp_path, timeout_s=0.5)
        assert_all(report, server)
        # On a machine that stands still a while, others are given up, too.
        assert report.stats.errors["malformed"] + report.stats.errors["timeout"] >= 3


def test_a_black_hole_that_recovers_ends_in_all(tmp_path: Path) -> None:  # 19
    with faulty_server(misbehave=during(50, 80, "silence")) as server:
        report = run(server, tmp_path, timeout_s=0.3)
        assert_all(report, server)
        assert report.stats.errors["timeout"] >= 30


def test_a_black_hole_that_stays_stops_the_run_without_dead_letters(tmp_path: Path) -> None:  # 19
    policy = RetryPolicy(base_delay_s=0.01, probe_delay_s=0.1, away_s=3.0, max_attempts=2)
    with faulty_server(misbehave=during(150, 10**9, "silence")) as server:
        with pytest.raises(TargetError, match="nothing good came for 3 s") as caught:
            run(server, tmp_path, timeout_s=1.0, policy=policy)
        assert caught.value.exit_code == 3
        assert not list(tmp_path.glob("*.dead*"))
        server.misbehave = sometimes(0.0)
        assert_all(run(server, tmp_path), server)


def test_a_server_that_goes_and_comes_back_ends_in_all(tmp_path: Path) -> None:  # 20, 21
    with faulty_server(misbehave=during(150, 151, "vanish")) as server:
        report = run(server, tmp_path)
        assert_all(report, server)
        assert report.stats.errors["connect"] > 0


def test_a_server_that_stays_away_stops_resumable(tmp_path: Path) -> None:  # 20
    policy = RetryPolicy(base_delay_s=0.01, probe_delay_s=0.05, away_s=0.8, max_attempts=3, max_delay_s=0.05)
    with faulty_server(misbehave=during(150, 151, "vanish")) as server:
        server.vanish_for = lambda seconds: FaultyServer.vanish_for(server, 3600)  # type: ignore[method-assign]
        with pytest.raises(TargetError, match=r"connect.*the same command"):
            run(server, tmp_path, policy=policy)
        assert not list(tmp_path.glob("*.dead*"))
        server.misbehave = sometimes(0.0)
        server.listen()
        assert_all(run(server, tmp_path), server)


def test_slow_reading_of_one_request_hinders_no_other(tmp_path: Path) -> None:  # 23
    """It is read at 1 kB/s, and its last part when nearly all others are there."""
    rows = TestRows(400, dimension=8, content_bytes=2_000)
    order: list[int] = []

    def misbehave(n: int, row: int) -> str | None:
        order.append(n)
        return "read slowly" if n == 100 else None

    with faulty_server(misbehave=misbehave, slow_until=350) as server:
        report = run(server, tmp_path, rows, concurrent=4)
        assert_all(report, server, rows)
        assert report.stats.errors.total() == 0, "it was given up: the others waited for it"
        position = list(server.ids_in_order()).index(rows.memory_id(100 - FIRST))
        assert position >= server.slow_until


@pytest.mark.parametrize("status", ["400", "404", "413", "415", "422"])
def test_poison_rows_die_alone_and_are_the_next_input(tmp_path: Path, status: str) -> None:  # 14
    poison = {0: status, 77: status, 399: status}
    with faulty_server(
        misbehave=to_rows({row: s for row, s in poison.items() if row or s != "404"})
    ) as server:
        dead = sorted(row for row in poison if row or status != "404")
        report = run(server, tmp_path)
        assert report.exit_code == 1
        assert (report.n_acked, report.n_dead) == (400 - len(dead), len(dead))
        bodies = (tmp_path / "x.dead.jsonl").read_bytes().splitlines()
        assert sorted(bodies) == sorted(ROWS.body(row) for row in dead)
        reasons = [json.loads(line) for line in (tmp_path / "x.dead.reasons.jsonl").read_text().splitlines()]
        assert sorted(reason["row"] for reason in reasons) == dead
        assert all(reason["reason"].startswith(f"{status} SCRIPTED") for reason in reasons)
        assert server.ids() == {ROWS.memory_id(row) for row in range(400) if row not in dead}
        assert any("row 77" in line for line in report.lines())
        again = run(
            server, tmp_path
        )  # nothing is sent, no letter is written twice, the proof leaves them out
        assert (again.exit_code, again.n_acked_now, again.n_dead) == (1, 0, len(dead))
        assert (tmp_path / "x.dead.jsonl").read_bytes().splitlines() == bodies


def test_a_413_in_mid_body_kills_that_row_alone(tmp_path: Path) -> None:  # 14
    huge = ROWS.body(200).replace(b'"content":"', b'"content":"' + b"x" * 5_000_000)
    rows = TestRows(400, dimension=8, bodies={200: huge})
    with faulty_server(max_body_bytes=2_000_000) as server:
        report = run(server, tmp_path, rows)
        assert (report.n_acked, report.n_dead, report.exit_code) == (399, 1, 1)
        assert (tmp_path / "x.dead.jsonl").read_bytes() == huge + b"\n"
        assert any("row 200" in line for line in report.lines())


def test_a_row_that_always_fails_dies_while_the_others_live(tmp_path: Path) -> None:
    policy = RetryPolicy(base_delay_s=0.001, max_delay_s=0.01, max_attempts=5, probe_delay_s=0.02)
    actions = {399: "500", 200: "malformed"}
    with faulty_server(misbehave=to_rows(actions)) as server:
        report = run(server, tmp_path, policy=policy, verify=False)
        assert report.n_dead == 2
        reasons = (tmp_path / "x.dead.reasons.jsonl").read_text()
        assert "500 after " in reasons
        assert "malformed after " in reasons


def test_an_overloaded_server_stops_the_run_and_costs_no_row(tmp_path: Path) -> None:
    """503 to the same rows again and again while others pass: the server's trouble, not theirs."""
    policy = RetryPolicy(base_delay_s=0.001, max_delay_s=0.02, max_attempts=3, give_up_s=0.5)
    with faulty_server(misbehave=to_rows(dict.fromkeys(range(100, 110), "503"))) as server:
        with pytest.raises(TargetError, match="the database keeps answering 503"):
            run(server, tmp_path, policy=policy)
        assert not list(tmp_path.glob("*.dead*"))
        server.misbehave = sometimes(0.0)
        assert_all(run(server, tmp_path), server)


def test_an_unreadable_row_lets_the_rows_before_it_be_tried_again(tmp_path: Path) -> None:  # 9
    failed: list[int] = []

    def misbehave(n: int, row: int) -> str | None:
        failed.extend([row] if row == 299 and len(failed) < 6 else [])
        return "500" if row == 299 and len(failed) < 6 else None

    with faulty_server(misbehave=misbehave) as server:
        rows = TestRows(400, dimension=8, broken_at=350)
        with pytest.raises(InputError, match="row 350 is damaged"):
            run(server, tmp_path, rows, verify=False, policy=RetryPolicy(base_delay_s=0.05, max_delay_s=0.1))
        assert server.ids() == {ROWS.memory_id(row) for row in range(300)}
        assert_all(run(server, tmp_path), server)


@pytest.mark.parametrize("status", ["401", "403", "301"])
def test_a_refusal_of_access_stops_at_once(tmp_path: Path, status: str) -> None:  # 15
    with faulty_server(misbehave=during(100, 10**9, status)) as server:
        with pytest.raises(TargetError, match=status) as caught:
            run(server, tmp_path)
        assert caught.value.exit_code == 3
        assert server.n_posts < 150
        server.misbehave = sometimes(0.0)
        assert_all(run(server, tmp_path), server)


def test_too_many_dead_rows_stop_the_run(tmp_path: Path) -> None:
    with faulty_server(misbehave=to_rows(dict.fromkeys(range(100, 400), "400"))) as server:
        with pytest.raises(SynthgenError, match="--max-errors") as caught:
            run(server, tmp_path, max_errors=20)
        assert caught.value.exit_code == 1
        with pytest.raises(SynthgenError, match="--max-errors"):
            run(server, tmp_path, max_error_share=0.2, batch_size=50)


def test_a_bearer_token_is_sent_and_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHGEN_API_KEY", "engram_key_a_secret")
    with faulty_server(token="engram_key_a_secret") as server:
        assert_all(run(server, tmp_path), server)
    assert all(b"secret" not in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize(("host", "name"), [("127.0.0.1", "localhost"), ("::1", "[::1]")])
def test_every_spelling_of_the_host_works(tmp_path: Path, host: str, name: str) -> None:
    if host == "::1" and not _has_ipv6():
        pytest.skip("needs IPv6 on loopback")
    with faulty_server(host=host) as server:
        assert_all(run(server, tmp_path, endpoint=f"http://{name}:{server.port}"), server)
        assert f"\r\nHost: {name}:{server.port}\r\n" in server.heads[-1]


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_several_groups_own_their_spaces(tmp_path: Path) -> None:
    rows = TestRows(300, dimension=8)
    spaces = ("alpha", "beta", "gamma")
    with faulty_server(misbehave=sometimes(0.1, "reset after storing", "503")) as server:
        report = run(server, tmp_path, rows, spaces=spaces, processes=2, batch_size=30)
        assert report.exit_code == 0
        assert report.n_groups == 2
        for index, space in enumerate(spaces):
            assert server.ids(space) == {rows.memory_id(row) for row in range(index, 300, 3)}
        assert report.verification is not None
        assert [count.n_found for count in report.verification.by_space] == [100, 100, 100]
