"""Asking a server for files: which troubles pass, how long they are borne with, and how they are told.

HTTP as in RFC 9110 (status codes, Retry-After).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from synthgen import __version__
from synthgen.errors import Interrupted

if TYPE_CHECKING:
    import requests

T = TypeVar("T")

#: As Wikimedia asks: name and version of the client.
USER_AGENT = f"synthgen-memories/{__version__} (reads one dump of Wikipedia)"
_PASSING = {408, 425, 429}
_SLICE_S = 0.2


@dataclass(frozen=True)
class Patience:
    """How long a server is borne with: so many ``attempts`` in a row that bring nothing new, with waits that
    double from ``backoff_s``; a server that asks for more than ``longest_wait_s`` is left alone.
    """

    attempts: int = 5
    backoff_s: float = 1.0
    longest_wait_s: float = 120.0
    timeout_s: float = 60.0


class Broken(Exception):
    """An attempt that may go better next time, in ``wait_s`` seconds if the server said so."""

    def __init__(self, what: str, wait_s: float | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.wait_s = wait_s


class Refused(Exception):
    """What will not go better next time."""


class Remote:
    """A session with servers; ``stop`` tells whether the user wants an end."""

    def __init__(self, patience: Patience, stop: Callable[[], bool]) -> None:
        import requests

        self._patience = patience
        self._stop = stop
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def check_stop(self) -> None:
        """Raise Interrupted when the user wants an end."""
        if self._stop():
            raise Interrupted(
                "stopped; what has come is kept", next_step="the same command goes on where it ended"
            )

    @contextlib.contextmanager
    def get(self, url: str, headers: dict[str, str]) -> Iterator[requests.Response]:
        """Give the answer to a request, its body not read yet.

        Trouble on the way, also while the body is read, raises :class:`Broken` or :class:`Refused`.
        """
        import requests
        import urllib3

        timeout_s = self._patience.timeout_s
        try:
            with self._session.get(url, headers=headers, stream=True, timeout=timeout_s) as response:
                status = response.status_code
                if status in _PASSING or status >= 500:
                    wait_s = _wait_s(response.headers.get("Retry-After"))
                    raise Broken(f"the server answers {status} {response.reason}", wait_s)
                yield response
        except requests.exceptions.TooManyRedirects as error:
            raise Refused("it is redirected without end") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            if isinstance(error, ValueError):  # requests' own for addresses that make no sense
                raise Refused(f"no address that can be asked ({error})") from error
            raise Broken(_tell(error)) from error

    def persist(self, attempt: Callable[[], T], measure: Callable[[], int]) -> T:
        """Return what ``attempt`` does; try again while that is of use.

        ``measure`` tells how much has come. Raises :class:`Refused` after too many attempts in a row that
        brought no more than the best before.
        """
        n_failed, most = 0, measure()
        while True:
            self.check_stop()
            try:
                return attempt()
            except Broken as broken:
                n_failed = 0 if measure() > most else n_failed + 1
                most = max(most, measure())
                self._wait(broken, n_failed)

    def _wait(self, broken: Broken, n_failed: int) -> None:
        wait_s = broken.wait_s
        if wait_s is not None and wait_s > self._patience.longest_wait_s:
            raise Refused(f"{broken.what}, and asks to wait {wait_s:,.0f} s") from broken
        if n_failed >= self._patience.attempts:
            raise Refused(f"{broken.what} (tried {n_failed} times)") from broken
        backoff_s = self._patience.backoff_s * 2 ** max(0, n_failed - 1)
        until_s = time.monotonic() + (backoff_s if wait_s is None else wait_s)
        while (left_s := until_s - time.monotonic()) > 0:
            self.check_stop()
            time.sleep(min(left_s, _SLICE_S))


def _wait_s(retry_after: str | None) -> float | None:
    """Return what a Retry-After header asks for, in seconds or as a date."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    return None


_TOLD = [
    (("NameResolution", "resolve"), "the name of the server is not found (no network?)"),
    (("Connection refused",), "the server refuses the connection"),
    (("timed out", "Timeout"), "the server does not answer in time"),
    (("SSL", "CERTIFICATE"), "no secure connection can be made"),
    (("unreachable",), "the network is unreachable"),
    (("IncompleteRead", "Connection broken", "reset", "aborted"), "the connection broke"),
]


def _tell(error: Exception) -> str:
    """Return what went wrong on the way, without the insides of the client."""
    text = f"{type(error).__name__} {error}"
    return next((what for words, what in _TOLD if any(word in text for word in words)), text[:200])
