"""What a group makes of its server: well, silent because asked, or away."""

from __future__ import annotations

import random

from synthgen.ingest.retry import Fault, RetryPolicy

#: Failures in a row that make a pause: this many, and twice the connections.
_PAUSE_AFTER = 10
#: Seconds without anything good, while answers are waited for, that are worth telling.
_SILENT_S = 5.0


class Outlook:
    """Counts good and bad ends of requests; says whether to send, to probe, or to give up.

    All times are seconds of one monotonic clock, given by the caller.
    """

    def __init__(self, policy: RetryPolicy, n_connections: int, rng: random.Random, now_s: float) -> None:
        self.paused = False
        self.last_fault = Fault("")
        self.good_s = now_s
        self._heard_s = now_s
        self._policy = policy
        self._pause_after = _PAUSE_AFTER + 2 * n_connections
        self._rng = rng
        self._n_bad = 0
        self._bad_since_s = now_s
        self._probe_s = 0.0
        self._hold_s = 0.0

    def good(self, now_s: float) -> None:
        """Take note of an acknowledgement."""
        self.good_s = now_s
        self.alive(now_s)

    def alive(self, now_s: float) -> None:
        """Take note that somebody read a request, even if it was refused."""
        self._heard_s = now_s
        self._n_bad = 0
        self.paused = False

    def bad(self, fault: Fault, now_s: float) -> None:
        """Take note of a failure; hold back everything if the server asked for time."""
        self.last_fault = fault
        if self._n_bad == 0:
            self._bad_since_s = now_s
        self._n_bad += 1
        if fault.retry_after_s:
            self._hold_s = max(self._hold_s, now_s + fault.retry_after_s)
        if self._n_bad >= self._pause_after:
            self.paused = True

    def may_send(self, now_s: float) -> bool:
        """Return whether rows may be sent."""
        return not self.paused and now_s >= self._hold_s

    def may_probe(self, now_s: float) -> bool:
        """Return whether the one request of a pause is due; if so, the next one is some time away."""
        if now_s < max(self._probe_s, self._hold_s):
            return False
        self._probe_s = now_s + self._rng.uniform(0.5, 1.0) * self._policy.probe_delay_s
        return True

    def is_hopeless(self, now_s: float) -> bool:
        """Return whether nothing good came for so long that the run should end."""
        return self._n_bad > 0 and now_s - self._bad_since_s >= self._policy.away_s

    def describe(self, now_s: float, *, waiting: bool) -> str:
        """Return why nothing is stored, for people; nothing when all is well. ``waiting``: for answers."""
        silent_s, held_s = now_s - self._heard_s, self._hold_s - now_s
        if self.paused:
            return f"paused: {self.last_fault}, nothing good for {now_s - self.good_s:.0f} s"
        if held_s >= 1:
            return f"waiting {held_s:.0f} s, as asked by the server ({self.last_fault})"
        if waiting and silent_s >= _SILENT_S:
            last = f" (last: {self.last_fault})" if self._n_bad else ""
            return f"nothing good for {silent_s:.0f} s{last}"
        return ""
