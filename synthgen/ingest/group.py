"""A group: one process, its connections, one loop.

    channel ──batches──> Supply ──jobs──> idle connections ──> answered / broken
       ^                                                           │ acked, dead
       └──── Outcome when a batch is over, Stats four times a second┘ or due again later (heap)

When nothing good comes any more the group pauses: one connection probes with a row that is known to be
acceptable (sending it again is harmless), the others wait. So a server that stays away costs no dead letters,
and a row that fails while the probe succeeds is itself to blame.
"""

from __future__ import annotations

import contextlib
import random
import selectors
import time
from dataclasses import dataclass

from synthgen.errors import SynthgenError, TargetError
from synthgen.ingest.deadletters import DeadLetter
from synthgen.ingest.endpoint import Address
from synthgen.ingest.outlook import Outlook
from synthgen.ingest.retry import Fault, GaveUp, Retry, RetryBudget, RetryPolicy, parse_retry_after
from synthgen.ingest.stats import Recorder, Stats
from synthgen.ingest.supply import Job, Later, Outcome, Supply
from synthgen.ingest.target import RequestHeads, Target, Verdict
from synthgen.ingest.wire import Connection, Reply
from synthgen.runtime.pool import Channel
from synthgen.specs import RowSource

TICK_S = 0.05
REPORT_INTERVAL_S = 0.25


@dataclass(frozen=True)
class GroupPlan:
    """What every group is told once. ``spaces`` holds None for the default space; ``control_row`` is a row
    that the database has accepted, or None; ``body_bytes`` the size of a typical body.
    """

    source: RowSource
    target: Target
    route: str
    spaces: tuple[str | None, ...]
    n_connections: tuple[int, ...]
    timeout_s: float
    policy: RetryPolicy
    control_row: int | None
    body_bytes: int


def run_group(channel: Channel, plan: GroupPlan) -> None:
    """Send what the channel hands out until it ends: the target of the pool's workers."""
    reader = plan.source.open()
    try:
        Group(channel, plan, Supply(reader, plan.body_bytes, Retry(plan.policy))).run()
    finally:
        reader.close()


class Group:
    """See the module. Owner of its connections."""

    def __init__(self, channel: Channel, plan: GroupPlan, supply: Supply) -> None:
        n_connections = plan.n_connections[channel.index]
        now_s = time.perf_counter()
        self._channel = channel
        self._plan = plan
        self._policy = plan.policy
        self._supply = supply
        self._heads = [RequestHeads(plan.target, plan.route, space) for space in plan.spaces]
        self._rng = random.Random(f"{plan.policy.seed} {channel.index}")
        self._budget = RetryBudget(plan.policy)
        self._outlook = Outlook(plan.policy, n_connections, self._rng, now_s)
        self._selector = selectors.DefaultSelector()
        self._connections = [Connection(self, self._selector, self._resolve) for _ in range(n_connections)]
        self._idle = list(self._connections)
        self._later = Later()
        self._control: Job | None = None
        self._leaving_s: float | None = None
        self._failure: SynthgenError | None = None
        self._recorder = Recorder(now_s)

    def run(self) -> None:
        """Loop until the channel ends and everything is accounted for."""
        self._selector.register(self._channel, selectors.EVENT_READ, self._on_channel)
        tick_s = time.perf_counter() + TICK_S
        while True:
            self._fill()
            self._settle()
            if self._leaving_s is not None and not self._supply.open:
                break
            for key, events in self._selector.select(self._wait_s()):
                key.data(events)
            now_s = time.perf_counter()
            if now_s >= tick_s:
                tick_s = now_s + TICK_S
                self._tick(now_s)
        for connection in self._connections:
            connection.close()
        self._selector.close()
        self._channel.note(self._take_stats())

    # --- the channel

    def _on_channel(self, events: int) -> None:
        while self._channel.poll():
            assignment = self._channel.get()
            if assignment is None:
                self._leaving_s = time.perf_counter()
                self._selector.unregister(self._channel)
                return
            self._supply.add(assignment)

    def _settle(self) -> None:
        # Report the batches that are over; all of them when the group is on its way out and quiet.
        cut_short = self._is_stopping and self._is_quiet
        for number, opened in list(self._supply.open.items()):
            if opened.is_over or cut_short:
                del self._supply.open[number]
                failure = opened.failure or self._failure
                runs = opened.runs(self._later.rows_of(opened) | opened.lost_rows)
                self._channel.done(number, Outcome(runs, tuple(opened.dead), self._take_stats(), failure))

    @property
    def _is_stopping(self) -> bool:
        return self._leaving_s is not None or self._failure is not None

    @property
    def _is_quiet(self) -> bool:
        return len(self._idle) == len(self._connections)

    # --- sending

    def _fill(self) -> None:
        now_s = time.perf_counter()
        if self._outlook.paused:
            self._probe(now_s)
            return
        while self._idle:
            job = self._next_job(now_s)
            if job is None:
                return
            self._send(self._idle.pop(), job)

    def _next_job(self, now_s: float) -> Job | None:
        if self._is_stopping or not self._outlook.may_send(now_s):
            return None
        return self._take_job(now_s)

    def _take_job(self, now_s: float) -> Job | None:
        return self._later.take(now_s) or self._supply.next()

    def _send(self, connection: Connection, job: Job) -> None:
        self._recorder.stats.n_sent += 1
        connection.send(job, self._heads[job.row % len(self._heads)][len(job.body)])

    def _probe(self, now_s: float) -> None:
        # One request at a time, by a row that is known to be good, else by one that waits.
        if self._is_stopping or not self._is_quiet or not self._outlook.may_probe(now_s):
            return
        job = self._control or self._make_control() or self._take_job(float("inf"))
        if job is not None:
            self._send(self._idle.pop(), job)

    def _make_control(self) -> Job | None:
        row = self._plan.control_row
        if row is not None:
            with contextlib.suppress(SynthgenError):  # it was readable before; its batch will tell
                self._control = Job(None, row, self._supply.body_of(row), Retry(self._policy))
        return self._control

    # --- how requests end

    def answered(self, connection: Connection, job: Job, reply: Reply) -> None:
        """Take a whole answer; send the next row on the same connection."""
        now_s = time.perf_counter()
        verdict = self._plan.target.judge(reply.status)
        if verdict is Verdict.ACKED:
            self._outlook.good(now_s)
            self._budget.earn()
            self._recorder.latencies_s.append(reply.latency_s)
            if job.batch is not None:
                job.batch.n_open -= 1
                self._recorder.stats.n_acked += 1
        else:
            self._refused(job, reply, verdict)
        following = self._next_job(now_s)
        if following is None:
            self._idle.append(connection)
        else:
            self._send(connection, following)

    def _refused(self, job: Job, reply: Reply, verdict: Verdict) -> None:
        reason = self._plan.target.reason(reply.status, reply.body)
        if verdict is Verdict.RETRY:
            wait_s = parse_retry_after(reply.retry_after, self._policy) if reply.retry_after else None
            self._failed(job, Fault.of_status(reply.status, reason, wait_s))
            return
        self._recorder.stats.refusals[str(reply.status)] += 1
        if verdict is Verdict.DEAD:
            self._outlook.alive(time.perf_counter())
            self._bury(job, reason)
        else:
            self._lose(job)
            self._fail(f"the database answers {reason}", "see to --endpoint and SYNTHGEN_API_KEY")

    def broken(self, connection: Connection, job: Job, fault: Fault, *, stale: bool) -> None:
        """Take note that nobody knows what became of ``job``; it will be sent again."""
        self._idle.append(connection)
        if stale and not job.was_stale and job.batch is not None:
            job.was_stale = True  # one fresh connection is free
            self._recorder.stats.errors["stale"] += 1
            self._later.add(job, 0.0)
        else:
            self._failed(job, fault)

    def _failed(self, job: Job, fault: Fault) -> None:
        now_s = time.perf_counter()
        self._recorder.stats.errors[fault.kind] += 1
        self._outlook.bad(fault, now_s)
        if job.batch is None:
            return
        self._recorder.stats.n_retries += 1
        try:
            job.retry = job.retry.increment(fault, now_s)
        except GaveUp as error:
            job.retry = error.retry
            if self._is_to_blame(job, fault, now_s):
                self._bury(job, job.retry.describe(now_s))
                return
        self._later.add(job, now_s + job.retry.delay_s(self._rng, budget_left=self._budget.spend()))

    def _is_to_blame(self, job: Job, fault: Fault, now_s: float) -> bool:
        # Only a row that fails while others succeed is at fault; else a pause and its probe will tell.
        if fault.is_server_wide:
            if job.retry.age_s(now_s) >= self._policy.give_up_s:
                self._fail(f"the database keeps answering {fault}", "give it time, or lower --concurrent")
            return False
        if self._outlook.good_s > job.retry.first_failed_s:
            return True
        self._outlook.paused = True
        return False

    def _bury(self, job: Job, reason: str) -> None:
        if job.batch is not None:
            job.batch.n_open -= 1
            job.batch.dead.append(DeadLetter(job.row, reason))

    def _lose(self, job: Job) -> None:
        if job.batch is not None:
            job.batch.lost_rows.add(job.row)

    def _fail(self, what: str, next_step: str) -> None:
        if self._failure is None:
            self._failure = TargetError(
                what,
                where=self._plan.target.endpoint.url,
                next_step=f"{next_step}, then run the same command again: what is acknowledged is kept",
            )

    # --- time

    def _wait_s(self) -> float:
        now_s = time.perf_counter()
        if not self._idle or not self._outlook.may_send(now_s):
            return TICK_S
        return min(max(self._later.next_s() - now_s, 0.001), TICK_S)

    def _tick(self, now_s: float) -> None:
        for connection in self._connections:
            connection.expire(self._plan.timeout_s)
        if self._outlook.is_hopeless(now_s):
            self._fail(
                f"nothing good came for {self._policy.away_s:.0f} s (last: {self._outlook.last_fault})",
                "see to the database",
            )
        drained = self._leaving_s is not None and now_s - self._leaving_s >= self._policy.drain_s
        if drained or self._failure is not None:
            self._abandon()
        if now_s - self._recorder.taken_s >= REPORT_INTERVAL_S:
            self._channel.note(self._take_stats())

    def _abandon(self) -> None:
        for connection in self._connections:
            job = connection.abandon()
            if job is not None:
                self._lose(job)
                self._idle.append(connection)

    def _take_stats(self) -> Stats:
        now_s, waiting = time.perf_counter(), not self._is_quiet or bool(self._later)
        return self._recorder.take(now_s, self._outlook.describe(now_s, waiting=waiting))

    def _resolve(self) -> list[Address]:
        try:
            return self._plan.target.endpoint.addresses()
        except TargetError:
            return []  # counts as a failed connect, and is tried again
