"""When to try again, and when to give up: one layer, for every request of ingest and verify.

A policy is an immutable value; the history of one request is another, whose :meth:`Retry.increment`
returns a longer one or raises :class:`GaveUp` (after urllib3's ``util/retry.py``).
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

#: Answers that say "not now": the request may be repeated (RFC 9110, 15.5 and 15.6; RFC 6585, 4; RFC 8470).
RETRY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
#: What is wrong with the server or the way to it, whatever the row: no row dies of these.
_SERVER_WIDE = frozenset({"connect", "429", "503", "507"})


@dataclass(frozen=True)
class RetryPolicy:
    """Limits of trying again.

    ``max_attempts`` and ``give_up_s`` bound one request (``give_up_s`` seconds since its first failure);
    the n-th delay is drawn evenly from [0, min(``max_delay_s``, ``base_delay_s`` * 2**n)] ("full jitter",
    M. Brooker, AWS Architecture Blog, 2015). ``max_retry_after_s`` is the longest wait a server can ask for.
    ``budget_floor`` retries plus ``budget_share`` for each success may be made at that pace; beyond them
    every retry waits ``max_delay_s``. A server from which nothing good came for ``away_s`` ends the run.
    """

    max_attempts: int = 12
    give_up_s: float = 300.0
    base_delay_s: float = 0.1
    max_delay_s: float = 10.0
    max_retry_after_s: float = 60.0
    budget_floor: int = 500
    budget_share: float = 0.5
    away_s: float = 300.0
    probe_delay_s: float = 2.0
    drain_s: float = 5.0
    seed: int = 0


@dataclass(frozen=True)
class Fault:
    """What went wrong with one attempt: a class of error (``connect``, ``reset``, ``timeout``, ``malformed``,
    or a status such as ``503``), what was seen of it, and the wait the server asked for, in seconds.
    """

    kind: str
    detail: str = ""
    retry_after_s: float | None = None

    @property
    def is_server_wide(self) -> bool:
        """Whether the fault says nothing of the row that met it."""
        return self.kind in _SERVER_WIDE

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind

    @classmethod
    def of_status(cls, status: int, reason: str, retry_after_s: float | None = None) -> Fault:
        """Return the fault that an answer with ``status`` is; ``reason`` may begin with it."""
        kind = str(status)
        return cls(kind, reason.removeprefix(kind).strip().rstrip("."), retry_after_s)


class GaveUp(Exception):
    """The attempts of one request are used up; ``retry`` tells their history."""

    def __init__(self, retry: Retry) -> None:
        super().__init__(retry)
        self.retry = retry

    def __reduce__(self) -> tuple[object, ...]:
        return GaveUp, (self.retry,)


@dataclass(frozen=True)
class Retry:
    """The failures of one request so far. Times are seconds of one monotonic clock."""

    policy: RetryPolicy
    n_failed: int = 0
    first_failed_s: float = math.inf
    last: Fault = Fault("")

    def increment(self, fault: Fault, now_s: float) -> Retry:
        """Return the history with ``fault`` added; raise GaveUp when no attempt is left."""
        longer = replace(
            self, n_failed=self.n_failed + 1, first_failed_s=min(self.first_failed_s, now_s), last=fault
        )
        if longer.n_failed >= self.policy.max_attempts or longer.age_s(now_s) >= self.policy.give_up_s:
            raise GaveUp(longer)
        return longer

    def age_s(self, now_s: float) -> float:
        """Return the seconds since the first failure; 0 when nothing failed yet."""
        return max(0.0, now_s - self.first_failed_s)

    def delay_s(self, rng: random.Random, *, budget_left: bool = True) -> float:
        """Return how long to wait now, in seconds: full jitter, and never less than the server asked for."""
        policy = self.policy
        ceiling_s = min(policy.max_delay_s, policy.base_delay_s * 2.0 ** min(self.n_failed, 30))
        delay_s = rng.uniform(0.0, ceiling_s) if budget_left else policy.max_delay_s
        return max(delay_s, self.last.retry_after_s or 0.0)

    def describe(self, now_s: float) -> str:
        """Return for people what happened, as ``500 after 10 attempts in 12 s: ...``."""
        detail = f": {self.last.detail}" if self.last.detail else ""
        return f"{self.last.kind} after {self.n_failed} attempts in {self.age_s(now_s):.0f} s{detail}"


class RetryBudget:
    """How many retries all requests together may still make at full pace."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._share = policy.budget_share
        self._left = float(policy.budget_floor)

    def earn(self, n_successes: int = 1) -> None:
        """Count successes."""
        self._left += self._share * n_successes

    def spend(self) -> bool:
        """Return whether one more retry at full pace is allowed, and count it if so."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


def parse_retry_after(text: str, policy: RetryPolicy, *, now_s: float | None = None) -> float | None:
    """Return the seconds that a Retry-After field asks for, within [0, ``max_retry_after_s``].

    Either seconds or an HTTP date (RFC 9110, 10.2.3); None for anything else. ``now_s`` is seconds since
    1970 (default: this machine's clock).
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:12])  # a longer number is beyond any limit anyway
    else:
        try:
            date = parsedate_to_datetime(text)
            seconds = date.timestamp() - (time.time() if now_s is None else now_s)
        except (ValueError, TypeError, OverflowError, IndexError, OSError):
            return None
    return min(max(seconds, 0.0), policy.max_retry_after_s)
