"""Memories into the database while more are made: a thread that sends what the spool has, part by part.

There is one way into the database, :func:`synthgen.ingest.ingest`: each part is an ingest that continues the
one before it, by the same ledger. To start one takes some tenths of a second of processor time, so parts are
large or seldom.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType

from synthgen.errors import TargetError
from synthgen.formats.source import HeadSource
from synthgen.ingest import IngestReport, ingest
from synthgen.ingest.listing import check_health
from synthgen.ingest.retry import RetryPolicy
from synthgen.phases.spool import Spool
from synthgen.runtime.progress import end_living_line
from synthgen.specs import IngestSpec

#: A part is sent when it has so many memories, or after so long.
PART_ROWS = 5_000
PART_INTERVAL_S = 30.0
_LOOK_INTERVAL_S = 1.0


class Storing:
    """Sends the first ``limit`` memories (None: all) of ``spool`` as they come; a context.

    What goes wrong is raised by :meth:`check` and :meth:`finish`, in the thread that calls them. When the
    context is left early, or once ``stop`` says so, the part under way ends as an interrupted ingest does.
    """

    def __init__(
        self,
        spool: Spool,
        spec: IngestSpec,
        limit: int | None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._spool = spool
        self._spec = spec
        self._limit = limit
        self._error: Exception | None = None
        self._n_sent = 0
        self._grown = threading.Event()
        self._stopping = threading.Event()
        self._stop_asked = stop
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._run, name="storing", daemon=True)

    def __enter__(self) -> Storing:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._abandoned.set()
        self._stop()

    def check(self) -> None:
        """Say that the spool has grown; raise what went wrong with an earlier part."""
        if self._n_new >= PART_ROWS:
            self._grown.set()
        if self._error is not None:
            raise self._error

    def finish(self, *, verify: bool) -> IngestReport:
        """Send what is left, and prove all of it where asked to; return the report of the whole.

        A database that is away is waited for, as long as an ingest waits for one. Where the proof fails, the
        ledger speaks of what has been changed since: all is sent again, once, and proven again.
        """
        self._stop()
        self.check()
        self._await_database()
        spec = replace(self._spec, verify=verify)
        report = self._send(self._n_rows, spec)
        if report.verification is None or report.verification.is_proven:
            return report
        self._say("the database does not hold what it acknowledged: all is sent again")
        self._spec.ledger.unlink(missing_ok=True)
        return self._send(self._n_rows, spec)

    @property
    def _n_rows(self) -> int:
        return min(self._spool.at.rows, self._limit or self._spool.at.rows)

    @property
    def _n_new(self) -> int:
        return self._n_rows - self._n_sent

    def _stop(self) -> None:
        self._stopping.set()
        self._grown.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._grown.wait(PART_INTERVAL_S)
            self._grown.clear()
            n_rows = self._n_rows
            if n_rows == self._n_sent or self._stopping.is_set() or not self._is_there():
                continue  # a database that is away now may be there for the next part
            try:
                self._send(n_rows, replace(self._spec, verify=False, quiet=True))
            except Exception as error:  # it belongs to whoever asks
                self._error = error
                return
            self._n_sent = n_rows

    def _send(self, n_rows: int, spec: IngestSpec) -> IngestReport:
        return ingest(HeadSource(self._spool.source(), n_rows), spec, stop=self._is_unwanted)

    def _is_there(self) -> bool:
        try:
            check_health(self._spec.endpoint)
        except TargetError:
            return False
        return True

    def _await_database(self) -> None:
        deadline_s = time.monotonic() + RetryPolicy().away_s
        if not self._is_there():
            self._say(f"waiting for the database at {self._spec.endpoint}")
        while not self._is_there() and time.monotonic() < deadline_s and not self._is_unwanted():
            time.sleep(_LOOK_INTERVAL_S)

    def _say(self, text: str) -> None:
        end_living_line()
        print(f"synthgen wikipedia: {text}", file=sys.stderr, flush=True)

    def _is_unwanted(self) -> bool:
        return self._abandoned.is_set() or self._stop_asked()
