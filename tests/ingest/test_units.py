"""Policies, plans and counts, without a server."""

from __future__ import annotations

import pickle
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.errors import TargetError, UsageError
from synthgen.ingest.endpoint import parse_endpoint
from synthgen.ingest.engram import Engram, check_space
from synthgen.ingest.outlook import Outlook
from synthgen.ingest.plan import Batch, Finished, Intervals, count_rows, plan_batches
from synthgen.ingest.retry import Fault, GaveUp, Retry, RetryBudget, RetryPolicy, parse_retry_after
from synthgen.ingest.stats import Stats, count_latencies
from synthgen.ingest.target import RequestHeads, Verdict

POLICY = RetryPolicy()


# --- endpoints


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:7432", "http://127.0.0.1:7432"),
        ("http://LocalHost:7432/", "http://localhost:7432"),
        ("http://[::1]:7432/engram/", "http://[::1]:7432/engram"),
        ("http://db", "http://db:80"),
    ],
)
def test_an_endpoint_has_one_spelling(text: str, url: str) -> None:
    assert parse_endpoint(text).url == url
    assert parse_endpoint(url) == parse_endpoint(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://db:1", "https"),
        ("db:7432", "no http URL"),
        ("http://", "no http URL"),
        ("http://me:hunter2@db", "SYNTHGEN_API_KEY"),
        ("http://db:99999", "no URL"),
        ("http://db/?x=1", "query"),
        ("http://db:0", "port 0"),
    ],
)
def test_other_endpoints_are_refused_without_leaking(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        parse_endpoint(text)
    assert "hunter2" not in str(caught.value)


def test_a_host_without_an_address_is_a_target_error() -> None:
    with pytest.raises(TargetError, match="no address for the host"):
        parse_endpoint("http://nowhere.invalid:1").addresses()


def test_the_head_of_a_request() -> None:
    heads = RequestHeads(Engram(parse_endpoint("http://[::1]:1/p")), "/r", "one")
    head = heads[1234]
    assert head.startswith(b"POST /p/r HTTP/1.1\r\nHost: [::1]:1\r\nContent-Type: application/json\r\n")
    assert head.endswith(b"\r\nX-Memory-Space: one\r\nContent-Length: 1234\r\n\r\n")
    with pytest.raises(UsageError, match="3 to 64"):
        check_space("a\r\nEvil: 1")


def test_what_statuses_mean() -> None:
    judge = Engram(parse_endpoint("http://x")).judge
    meant = {verdict: [code for code in range(200, 600) if judge(code) is verdict] for verdict in Verdict}
    assert meant[Verdict.ACKED] == [200, 201]
    assert {401, 403, 301} < set(meant[Verdict.STOP])
    assert {400, 404, 405, 413, 415, 422} < set(meant[Verdict.DEAD])
    assert {408, 425, 429, 500, 502, 503, 504} < set(meant[Verdict.RETRY])


# --- trying again


def test_a_history_never_changes_and_ends() -> None:
    policy = RetryPolicy(max_attempts=3)
    first = Retry(policy)
    second = first.increment(Fault("500"), 1.0)
    third = second.increment(Fault("reset", "closed"), 2.0)
    assert (first.n_failed, second.n_failed, third.n_failed) == (0, 1, 2)
    with pytest.raises(GaveUp) as caught:
        third.increment(Fault("timeout", "late"), 4.0)
    assert caught.value.retry.describe(4.0) == "timeout after 3 attempts in 3 s: late"
    assert pickle.loads(pickle.dumps(caught.value)).retry == caught.value.retry
    with pytest.raises(GaveUp):
        second.increment(Fault("500"), 1.0 + policy.give_up_s)


def test_delays_are_full_jitter_from_a_seed_and_never_below_what_was_asked() -> None:
    policy = RetryPolicy(base_delay_s=0.1, max_delay_s=10.0)
    retry = Retry(policy, n_failed=3, first_failed_s=0.0)
    delays = [retry.delay_s(random.Random(seed)) for seed in range(2_000)]
    assert 0.0 <= min(delays) < 0.02
    assert 0.78 < max(delays) <= 0.8
    assert delays == [retry.delay_s(random.Random(seed)) for seed in range(2_000)]
    assert Retry(policy, n_failed=900).delay_s(random.Random(0)) <= 10.0
    asked = Retry(policy).increment(Fault("429", retry_after_s=7.0), 0.0)
    assert asked.delay_s(random.Random(0)) == 7.0
    assert retry.delay_s(random.Random(0), budget_left=False) == 10.0


def test_the_budget_is_earned_by_successes() -> None:
    budget = RetryBudget(RetryPolicy(budget_floor=2, budget_share=0.5))
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    budget.earn(2)
    assert [budget.spend(), budget.spend()] == [True, False]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("9" * 400, 60.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 30.0),
        ("Sun, 06 Nov 1994 08:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 60.0),
        ("-3", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
    ],
)
def test_retry_after_in_all_its_forms(text: str, seconds: float | None) -> None:
    assert parse_retry_after(text, POLICY, now_s=784111747.0) == seconds


@given(st.text(max_size=40))
def test_retry_after_never_fails(text: str) -> None:
    seconds = parse_retry_after(text, POLICY)
    assert seconds is None or 0.0 <= seconds <= POLICY.max_retry_after_s


def test_an_outlook_pauses_probes_and_gives_up() -> None:
    outlook = Outlook(RetryPolicy(away_s=60.0, probe_delay_s=2.0), 4, random.Random(0), 0.0)
    for number in range(18):
        assert outlook.may_send(float(number)), "too early a pause"
        outlook.bad(Fault("connect", "refused"), float(number))
    assert not outlook.may_send(18.0)
    assert outlook.describe(18.0, waiting=True) == "paused: connect: refused, nothing good for 18 s"
    assert outlook.may_probe(18.0)
    assert not outlook.may_probe(18.5)
    assert outlook.may_probe(20.1)
    assert not outlook.is_hopeless(59.0)
    assert outlook.is_hopeless(60.0)
    outlook.good(61.0)
    assert outlook.may_send(61.0)
    assert not outlook.is_hopeless(1e9)
    assert outlook.describe(65.0, waiting=True) == outlook.describe(69.0, waiting=False) == ""
    assert outlook.describe(69.0, waiting=True) == "nothing good for 8 s"
    outlook.alive(69.5)
    assert outlook.describe(70.0, waiting=True) == "", "what is refused is answered"
    outlook.good(61.0)
    outlook.bad(Fault.of_status(503, "503 Full.", 5.0), 70.0)
    assert not outlook.may_send(74.9)
    assert outlook.describe(72.0, waiting=True) == "waiting 3 s, as asked by the server (503: Full)"
    assert outlook.may_send(75.0)
    assert outlook.describe(75.0, waiting=True) == "nothing good for 14 s (last: 503: Full)"


# --- rows


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12))
def test_intervals_are_sets_of_rows(pairs: list[tuple[int, int]]) -> None:
    intervals = Intervals(pairs)
    rows = {row for start, stop in pairs for row in range(start, stop)}
    assert {row for start, stop in intervals for row in range(start, stop)} == rows
    found = list(intervals)
    assert all(start < stop for start, stop in found)
    assert all(found[i][1] < found[i + 1][0] for i in range(len(found) - 1))
    assert all(intervals.covers(row, row + 1) == (row in rows) for row in range(61))


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 7))
def test_rows_are_counted_by_residue(start: int, length: int, n_spaces: int) -> None:
    for residue in range(n_spaces):
        expected = sum(row % n_spaces == residue for row in range(start, start + length))
        assert count_rows(start, start + length, n_spaces, (residue,)) == expected


@given(
    st.integers(0, 300),
    st.integers(1, 50),
    st.integers(1, 5),
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60), st.integers(0, 4)), max_size=6),
)
def test_batches_cover_what_is_pending_once(
    n_rows: int, batch_rows: int, n_spaces: int, n_groups: int, done: list[tuple[int, int, int]]
) -> None:
    finished = Finished(n_spaces)
    gone = set()
    for start, length, residue in done:
        finished.add(start, start + length, (residue % n_spaces,))
        gone |= {r for r in range(start, start + length) if r % n_spaces == residue % n_spaces}
    owners: dict[int, set[int | None]] = {}
    counts: Counter[int] = Counter()
    for batch in plan_batches(finished, n_rows, batch_rows, n_groups):
        rows = [r for r in range(batch.start, batch.stop) if r % n_spaces in batch.residues]
        assert 0 < len(rows) <= batch_rows + n_spaces
        counts.update(rows)
        for residue in batch.residues:
            owners.setdefault(residue, set()).add(batch.lane)
    assert counts == Counter(set(range(n_rows)) - gone)
    n_lanes = min(n_spaces, n_groups)
    assert all(lanes == {r % n_lanes if n_lanes > 1 else None} for r, lanes in owners.items())
    assert finished.count(n_rows) == len({row for row in gone if row < n_rows})


def test_a_batch_says_its_rows() -> None:
    assert str(Batch(0, 1_000)) == "rows 0 to 999"
    assert str(Batch(0, 10, 3, (0, 2), 0)) == "rows 0 to 9 of spaces 0, 2"


# --- counts


def test_latencies_are_kept_within_five_percent() -> None:
    seconds = np.random.Generator(np.random.PCG64(1)).lognormal(-6.0, 1.0, 10_000)
    stats = Stats(latencies=count_latencies(seconds.tolist()))
    for quantile in (0.5, 0.9, 0.99):
        exact_ms = float(np.quantile(seconds, quantile)) * 1e3
        assert stats.latency_ms(quantile) == pytest.approx(exact_ms, rel=0.05)
    assert Stats().latency_ms(0.5) == 0.0


def test_refusals_are_no_retries() -> None:
    stats = Stats()
    stats.add(Stats(refusals=Counter({"400": 2})))
    assert stats.describe() == "2 refused (400 2)"
    stats.add(Stats(n_retries=3, errors=Counter({"503": 3, "stale": 1}), refusals=Counter({"422": 1})))
    assert stats.describe() == "4 tried again (503 3, stale 1), 3 refused (400 2, 422 1)"
