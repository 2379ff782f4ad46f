"""The parent of a run: hands batches to groups, keeps the ledger and the dead letters, shows how it goes.

    plan_batches ──Batch──> Pool of groups ──Outcome──> dead letters on disk, then the ledger's line

Whatever ends a run early (Ctrl-C, a refusal, an unreadable row, a full disk) lets the requests on their way
end, writes down what is known, and leaves a state from which the same command continues.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from synthgen.errors import InputError, Interrupted, SynthgenError
from synthgen.ingest.client import Client
from synthgen.ingest.deadletters import DeadLetter, DeadLetterFile
from synthgen.ingest.engram import Engram
from synthgen.ingest.firstcheck import FirstCheck, FirstRows
from synthgen.ingest.group import GroupPlan, run_group
from synthgen.ingest.ledger import Ledger
from synthgen.ingest.listing import check_health
from synthgen.ingest.notice import Lasting
from synthgen.ingest.plan import Batch, plan_batches
from synthgen.ingest.reconcile import describe_row
from synthgen.ingest.report import IngestReport
from synthgen.ingest.retry import RetryPolicy
from synthgen.ingest.stats import Stats, cpu_seconds
from synthgen.ingest.supply import Outcome
from synthgen.runtime.memory import available_cores
from synthgen.runtime.pool import Done, Note, Pool, Restarted
from synthgen.runtime.progress import Progress, format_duration
from synthgen.specs import IngestSpec, RowReader, RowSource

_EXAMPLES = 5
_MAX_GROUPS = 4


def choose_groups(spec: IngestSpec, n_spaces: int) -> int:
    """Return how many processes send.

    One group drives more than 20,000 requests a second where the databases at hand take some thousand, and
    the database needs the other cores; so more than one is for machines with cores to spare.
    """
    wanted = spec.processes or max(1, min(_MAX_GROUPS, available_cores() // 4))
    most = min(wanted, spec.concurrent)
    return min(most, n_spaces) if n_spaces > 1 else most


@dataclass
class Sending:
    """One run of sending; see the module."""

    source: RowSource
    spec: IngestSpec
    policy: RetryPolicy
    target: Engram
    spaces: tuple[str | None, ...]
    ledger: Ledger
    cancelled: Callable[[], bool]
    stats: Stats = field(default_factory=Stats)
    elapsed_s: float = 0.0
    n_groups: int = 0
    reasons: list[str] = field(default_factory=list)
    _failure: SynthgenError | None = None
    _troubles: dict[int, str] = field(default_factory=dict)
    _lasting: Lasting = field(default_factory=Lasting)

    def __post_init__(self) -> None:
        self.n_rows = self.source.n_rows
        #: Rows that the database refused, in this run or an earlier one.
        self.n_dead = sum(row < self.n_rows for row in self.ledger.state.dead)
        self.n_acked_before = self._shown_base = self.n_acked
        self._progress = Progress("ingest", self.n_rows, "memories", quiet=self.spec.quiet)

    @property
    def n_acked(self) -> int:
        """Rows that the database acknowledged, in this run or an earlier one."""
        return self.ledger.state.finished.count(self.n_rows) - self.n_dead

    def run(self) -> None:
        """Send all that is pending."""
        if self.ledger.state.finished.count(self.n_rows) == self.n_rows:
            check_health(self.spec.endpoint, cancelled=self.cancelled)
            return
        with contextlib.closing(self.source.open()) as reader:
            first = self._check_first(reader)
            self.n_groups = choose_groups(self.spec, len(self.spaces))
            self.ledger.start_run(self._settings(first))
            letters = DeadLetterFile(self.ledger.path, self.ledger.state.dead_bytes)
            started_s, cpu_s = time.monotonic(), cpu_seconds()
            try:
                self._drive(first, letters, reader)
            finally:
                self.elapsed_s = time.monotonic() - started_s
                self.stats.cpu_s += cpu_seconds() - cpu_s
        self.ledger.sync()
        self._progress.finish(f"{self.n_acked:,} of {self.n_rows:,} acknowledged")
        if self._failure is not None:
            raise self._failure
        if self.cancelled() and self.n_acked + self.n_dead < self.n_rows:
            trouble = f" ({self._trouble})" if self._trouble else ""
            raise Interrupted(
                f"stopped with {self.n_acked:,} of {self.n_rows:,} rows acknowledged{trouble}",
                where=str(self.ledger.path),
                next_step="run the same command again to continue",
            )

    def _check_first(self, reader: RowReader) -> FirstRows:
        check_health(self.spec.endpoint, cancelled=self.cancelled)
        with Client(self.target.endpoint, self.spec.timeout_s, self.policy, self.cancelled) as client:
            return FirstCheck(client, self.target, reader, self.spaces, self.n_rows, self.source.name).run()

    def _settings(self, first: FirstRows) -> dict[str, object]:
        return {
            "n_rows": self.n_rows,
            "batch_size": self.spec.batch_size,
            "concurrent": self.spec.concurrent,
            "processes": self.n_groups,
            "route": first.route,
        }

    def _group_plan(self, first: FirstRows) -> GroupPlan:
        share, rest = divmod(self.spec.concurrent, self.n_groups)
        return GroupPlan(
            source=self.source,
            target=self.target,
            route=first.route,
            spaces=self.spaces,
            n_connections=tuple(share + (index < rest) for index in range(self.n_groups)),
            timeout_s=self.spec.timeout_s,
            policy=self.policy,
            control_row=first.control_row,
            body_bytes=first.body_bytes,
        )

    def _drive(self, first: FirstRows, letters: DeadLetterFile, reader: RowReader) -> None:
        batches = plan_batches(self.ledger.state.finished, self.n_rows, self.spec.batch_size, self.n_groups)
        self._progress.start_at(self.n_acked)
        with Pool(run_group, (self._group_plan(first),), self.n_groups) as pool:
            for event in pool.run(batches, lane=lambda batch: batch.lane):
                if isinstance(event, Done):
                    self._record(event.task, event.value, letters, reader)
                    self._limit(event.value, pool)
                elif isinstance(event, Note):
                    self._take(event.worker, event.value)
                elif isinstance(event, Restarted):
                    self.stats.errors["group died"] += 1
                    self._shown_base = self.n_acked - self.stats.n_acked
                if self.cancelled():
                    pool.stop(hurry=True)
                self._show()

    def _record(self, batch: Batch, outcome: Outcome, letters: DeadLetterFile, reader: RowReader) -> None:
        self.stats.add(outcome.stats)
        dead = sorted(outcome.dead, key=lambda letter: letter.row)
        sizes = (0, 0)
        if dead:
            bodies = [reader.read(letter.row, letter.row + 1)[0] for letter in dead]
            sizes = letters.append(dead, bodies)
            self.n_dead += len(dead)
            self._remember(dead, bodies)
        self.ledger.record(batch, outcome.runs, [letter.row for letter in dead], sizes)

    def _remember(self, dead: list[DeadLetter], bodies: list[bytes]) -> None:
        for letter, body in zip(dead, bodies, strict=True):
            if len(self.reasons) < _EXAMPLES:
                self.reasons.append(describe_row(letter.row, body, letter.reason))

    def _limit(self, outcome: Outcome, pool: Pool) -> None:
        failure = outcome.failure or self._too_many_dead()
        if failure is not None and self._failure is None:
            self._failure = failure
            # An unreadable row stops what comes after it; rows handed out before are still sent.
            pool.stop(hurry=not isinstance(failure, InputError))

    def _too_many_dead(self) -> SynthgenError | None:
        spec, n_dead = self.spec, self.n_dead
        share = spec.max_error_share
        if (spec.max_errors is None or n_dead <= spec.max_errors) and (
            share is None or n_dead <= share * self.n_rows
        ):
            return None
        last = f", such as {self.reasons[0]}" if self.reasons else ""
        return SynthgenError(
            f"{n_dead:,} of {self.n_rows:,} rows are refused, more than --max-errors allows{last}",
            where=self.target.endpoint.url,
            next_step="see the dead letters beside the ledger",
        )

    def _take(self, worker: int, stats: Stats) -> None:
        self.stats.add(stats)
        self._troubles[worker] = stats.trouble

    @property
    def _trouble(self) -> str:
        """What a group waits for, if any does."""
        return next((trouble for trouble in self._troubles.values() if trouble), "")

    def _show(self) -> None:
        trouble = self._trouble
        note = ", ".join(part for part in (trouble, self.stats.describe()) if part)
        self._progress.update(min(self.n_rows, self._shown_base + self.stats.n_acked), note)
        self._lasting.update(trouble and self._wait_text(trouble), time.monotonic())

    def _wait_text(self, trouble: str) -> str:
        known = f"{self._progress.done:,} of {self.n_rows:,} rows acknowledged"
        limit = format_duration(self.policy.away_s)
        return f"{self.target.endpoint.url}: {trouble} ({known}); trying on, for {limit} at most"

    def report(self) -> IngestReport:
        """Return how it went."""
        return IngestReport(
            endpoint=self.target.endpoint.url,
            input_name=self.source.name,
            ledger=str(self.ledger.path),
            dead_letters=str(DeadLetterFile.bodies_path_of(self.ledger.path)),
            n_rows=self.n_rows,
            n_acked=self.n_acked,
            n_acked_before=self.n_acked_before,
            n_dead=self.n_dead,
            n_groups=self.n_groups,
            elapsed_s=self.elapsed_s,
            client_cpu_s=self.stats.cpu_s,
            stats=self.stats,
            dead_examples=tuple(self.reasons),
        )
