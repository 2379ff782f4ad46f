"""Requests off the hot path: health, first rows, listings. A thin layer over requests.Session.

Every answer is read whole, bounded in bytes and seconds, and its length is checked; what may pass is tried
again by the one policy of retry.py; what remains becomes a TargetError of one line. Whoever waits is told for
what.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType

import requests
import urllib3.exceptions

from synthgen.errors import Interrupted, TargetError
from synthgen.ingest.endpoint import Endpoint, bearer_header
from synthgen.ingest.engram import USER_AGENT, describe_answer
from synthgen.ingest.notice import Tell, Waiting, say
from synthgen.ingest.retry import (
    RETRY_STATUSES,
    Fault,
    GaveUp,
    Retry,
    RetryPolicy,
    parse_retry_after,
)

#: No answer may be longer: a page of 1,000 memories with 768 numbers each is about 17 MB.
MAX_ANSWER_BYTES = 256 * 2**20
_PIECE_BYTES = 4 * 2**20
_SLICE_S = 0.1


@dataclass(frozen=True)
class Answer:
    """A whole response."""

    status: int
    body: bytes
    retry_after_s: float | None = None


def never() -> bool:
    """Return False: the ``cancelled`` of a caller who never cancels."""
    return False


@dataclass
class Client:
    """A persistent session with one database; used by one thread.

    ``patient`` False fails at the first connect error: the first contact, when waiting for a server that
    was never started helps nobody. ``cancelled`` is asked between attempts; then Interrupted is raised.
    ``retry_statuses`` are the answers that are not taken for final. ``tell`` gets the line that says what is
    waited for; None: nobody does.
    """

    endpoint: Endpoint
    timeout_s: float = 30.0
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    cancelled: Callable[[], bool] = never
    patient: bool = True
    retry_statuses: frozenset[int] = RETRY_STATUSES
    tell: Tell | None = say

    def __post_init__(self) -> None:
        self._rng = random.Random(self.policy.seed)
        self._waiting = Waiting(self.tell)
        self._session = requests.Session()
        self._session.trust_env = False  # no proxies, no .netrc: the endpoint is meant as given
        self._session.headers.update(
            {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **bearer_header()}
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._waiting.close()
        self._session.close()

    def get(
        self, path: str, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Return the answer to a GET of ``path`` (below the prefix); see :meth:`_persist`."""
        return self._persist(f"GET {path}", lambda: self._once("GET", path, params, headers, None))

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Return the answer to a POST of ``body``; it may be sent more than once."""
        return self._persist(f"POST {path}", lambda: self._once("POST", path, None, headers, body))

    def _persist(self, what: str, attempt: Callable[[], Answer | Fault]) -> Answer:
        """Return a final answer; raise TargetError when none comes, or it is 401 or 403."""
        faults: list[Fault] = []
        with self._waiting.on(lambda: self._wait_text(what, faults)):
            return self._try(attempt, faults)

    def _try(self, attempt: Callable[[], Answer | Fault], faults: list[Fault]) -> Answer:
        retry = Retry(self.policy)
        started_s = time.monotonic()
        while True:
            outcome = attempt()
            if isinstance(outcome, Answer):
                return self._admitted(outcome)
            faults.append(outcome)
            if outcome.kind == "connect" and not self.patient:
                raise self._unreachable(outcome)
            try:
                retry = retry.increment(outcome, time.monotonic())
            except GaveUp as error:
                raise TargetError(
                    f"no usable answer within {time.monotonic() - started_s:.0f} s "
                    f"({len(faults)} attempts, the last: {outcome})",
                    where=self.endpoint.url,
                    next_step="see to the database or to --endpoint, then run the same command again",
                ) from error
            self._sleep(retry.delay_s(self._rng))

    def _wait_text(self, what: str, faults: list[Fault]) -> str:
        last = f" (last: {faults[-1]})" if faults else ""
        limit = f"{self.policy.max_attempts} attempts of at most {self.timeout_s:g} s"
        return f"{self.endpoint.url}: waiting for the answer to {what}{last}; giving up after {limit}"

    def _admitted(self, answer: Answer) -> Answer:
        if answer.status in (401, 403):
            raise refused_credentials(self.endpoint, answer.status)
        return answer

    def _unreachable(self, fault: Fault) -> TargetError:
        return TargetError(
            f"no server there ({fault.detail})",
            where=self.endpoint.url,
            next_step="start one with `synthgen serve`, or give another --endpoint",
        )

    def _sleep(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            if self.cancelled():
                raise Interrupted("stopped", where=self.endpoint.url, next_step="the same command continues")
            time.sleep(min(left_s, _SLICE_S))

    def _once(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: bytes | None,
    ) -> Answer | Fault:
        url = f"{self.endpoint.url}{path}"
        try:
            with self._session.request(
                method,
                url,
                params=params,
                headers=headers,
                data=body,
                timeout=self.timeout_s,
                stream=True,
                allow_redirects=False,
            ) as response:
                return self._read(response)
        except requests.ConnectTimeout:
            return Fault("connect", "timed out")
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            return Fault("timeout", f"nothing within {self.timeout_s:g} s")
        except requests.ConnectionError as error:
            return _connection_fault(error)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            return Fault("malformed", f"{type(error).__name__}: {error}"[:200])

    def _read(self, response: requests.Response) -> Answer | Fault:
        started_s = time.monotonic()
        pieces: list[bytes] = []
        n_bytes = 0
        while piece := response.raw.read(_PIECE_BYTES):
            pieces.append(piece)
            n_bytes += len(piece)
            if n_bytes > MAX_ANSWER_BYTES:
                return Fault("malformed", f"an answer of more than {MAX_ANSWER_BYTES:,} bytes")
            if time.monotonic() - started_s > self.timeout_s:
                return Fault("timeout", f"not whole within {self.timeout_s:g} s")
        expected = response.headers.get("Content-Length", str(n_bytes))
        if expected != str(n_bytes):  # urllib3 1.26 does not look
            return Fault("malformed", f"{n_bytes} bytes instead of {expected}")
        waits = response.headers.get("Retry-After")
        wait_s = parse_retry_after(waits, self.policy) if waits else None
        status, body = response.status_code, b"".join(pieces)
        if status in self.retry_statuses:
            return Fault.of_status(status, describe_answer(status, body), wait_s)
        return Answer(status, body, wait_s)


def refused_credentials(endpoint: Endpoint, status: int) -> TargetError:
    """Return the error for 401 and 403."""
    return TargetError(
        f"the database refuses access ({status})",
        where=endpoint.url,
        next_step="put a valid bearer token into SYNTHGEN_API_KEY and run the same command again",
    )


def _connection_fault(error: requests.ConnectionError) -> Fault:
    cause: BaseException | None = error
    seen = 0
    while cause is not None and seen < 10:  # the interesting one is at the bottom of requests' wrapping
        if isinstance(cause, OSError) and cause.errno is not None and cause.strerror:
            kind = "reset" if isinstance(cause, (ConnectionResetError, BrokenPipeError)) else "connect"
            return Fault(kind, cause.strerror)
        inner = cause.args[-1] if cause.args and isinstance(cause.args[-1], BaseException) else None
        reason = getattr(cause, "reason", None)
        cause = reason if isinstance(reason, BaseException) else inner or cause.__cause__ or cause.__context__
        seen += 1
    if "NewConnectionError" in repr(error) or "NameResolution" in repr(error):
        return Fault("connect", "cannot connect")
    return Fault("reset", "connection closed")
