"""The two doors of this room: :func:`ingest` and :func:`verify`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from synthgen.errors import UsageError
from synthgen.ingest.endpoint import parse_endpoint
from synthgen.ingest.engram import Engram, check_space
from synthgen.ingest.firstline import check_first_row
from synthgen.ingest.ledger import Ledger, LedgerKey
from synthgen.ingest.listing import check_health
from synthgen.ingest.reconcile import VerifyPlan, reconcile
from synthgen.ingest.report import IngestReport, VerifyReport
from synthgen.ingest.retry import RetryPolicy
from synthgen.ingest.sample import check_sample
from synthgen.ingest.sending import Sending
from synthgen.runtime.interrupts import Interrupts
from synthgen.specs import IngestSpec, RowSource


def ingest(
    source: RowSource,
    spec: IngestSpec,
    *,
    truth: RowSource | None = None,
    policy: RetryPolicy | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> IngestReport:
    """Bring every row of ``source`` into the database at ``spec.endpoint``, and prove it.

    Continues where the ledger says an earlier run stopped; sends again what is not in it, which the ids make
    harmless. ``truth`` (default: ``source``) is what the proof recomputes the rows from. Raises UsageError,
    InputError, TargetError or ResourceError, all with the state kept so that the same call continues;
    Interrupted after SIGINT or SIGTERM, or once ``stop`` says so. What the database holds afterwards
    depends on ``source`` alone.
    """
    policy = policy or RetryPolicy()
    endpoint = parse_endpoint(spec.endpoint)
    spaces = check_spaces(spec.spaces)
    target = Engram(endpoint)
    key = LedgerKey(source.digest, source.name, spec.target or endpoint.url, spec.spaces)
    with _interrupts(stop) as cancelled, Ledger(spec.ledger, key) as ledger:
        sending = Sending(source, spec, policy, target, spaces, ledger, cancelled)
        sending.run()
        report = sending.report()
        if spec.verify:
            plan = VerifyPlan(
                truth or source,
                endpoint.url,
                spaces,
                frozenset(ledger.state.dead),
                quiet=spec.quiet,
                timeout_s=max(spec.timeout_s, 60.0),
                policy=policy,
                cancelled=cancelled,
            )
            report = replace(report, verification=reconcile(plan))
        return report


def verify(
    source: RowSource,
    endpoint: str,
    spaces: tuple[str, ...] = (),
    *,
    sample: int | None = None,
    processes: int = 0,
    quiet: bool = False,
) -> VerifyReport:
    """Compare the database at ``endpoint`` with every row of ``source``, or with ``sample`` random ones.

    Row i is looked for in the space i modulo their number. Raises TargetError when the database cannot be
    read, InputError when the source cannot; what differs is in the report, not raised.
    """
    check_health(endpoint)
    with contextlib.closing(source.open()) as reader:
        check_first_row(reader.read(0, 1)[0], source.name)
    with _interrupts() as cancelled:
        plan = VerifyPlan(
            source,
            parse_endpoint(endpoint).url,
            check_spaces(spaces),
            processes=processes,
            quiet=quiet,
            cancelled=cancelled,
        )
        return reconcile(plan) if sample is None else check_sample(plan, sample)


def check_spaces(spaces: tuple[str, ...]) -> tuple[str | None, ...]:
    """Return the spaces with None for the default one; raise UsageError for bad names and repeated ones."""
    for space in spaces:
        check_space(space)
    if len(set(spaces)) != len(spaces):
        raise UsageError("--space names a space twice")
    return spaces or (None,)


@contextlib.contextmanager
def _interrupts(stop: Callable[[], bool] = lambda: False) -> Iterator[Callable[[], bool]]:
    # Signals reach the main thread alone; called from another one, ingest leaves them be.
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    with Interrupts() as interrupts:
        yield lambda: interrupts.requested or stop()
