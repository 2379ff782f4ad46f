"""Who is let in: whoever has the one key, where one is required; else whoever names this machine.

Authorization: RFC 9110, section 11; bearer tokens: RFC 6750; statuses: Engram's wire. Names: RFC 9110,
sections 7.2 and 15.5.20 (421).
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from synthgen.errors import UsageError
from synthgen.server.answers import Answer, refusal, text_refusal
from synthgen.specs import API_KEY_VARIABLE, check_api_key

if TYPE_CHECKING:
    from synthgen.server.exchange import Request

#: What anybody may ask: load balancers whether the server is well, and a browser for the page, which holds
#: no data.
OPEN_PATHS = frozenset(("/", "/health", "/health/alive"))

_MISSING = refusal(
    401,
    "UNAUTHORIZED",
    "This server requires a key. Send it as `Authorization: Bearer engram_key_<id>_<secret>`.",
    [("www-authenticate", "Bearer")],
).answer
_ANOTHER = refusal(403, "FORBIDDEN", "The key that was sent is not the one of this server.").answer
_FOREIGN = text_refusal(
    421,
    "This server requires no key, so it answers to localhost and to IP addresses alone: a web page could lead"
    " a name of its own here. Use http://127.0.0.1 with the port, or send `Host: localhost`; or start the"
    " server with --require-key, or with --host NAME, a name that this machine has.",
).answer
_PORT = re.compile(r":\d*\Z", re.ASCII)
#: Spellings of its name that a server remembers.
_MAX_SPELLINGS = 64


def read_key() -> str:
    """Return the key that the environment holds; raise UsageError for none, and for one that cannot be sent.

    The key is in no message: what is wrong with it is said of its variable.
    """
    key = check_api_key(os.environ.get(API_KEY_VARIABLE, ""))
    if not key:
        raise UsageError(
            f"--require-key takes the key from {API_KEY_VARIABLE}, which is not set, or empty",
            next_step=f"export {API_KEY_VARIABLE}=engram_key_<id>_<secret> and run the same command again",
        )
    return key


class Guard:
    """Hands requests that have ``key``, or need none, to ``serve``, and refuses all others.

    A refusal costs a comparison: neither the route nor the body of what is refused is looked at.
    """

    def __init__(self, key: str, serve: Callable[[Request], None]) -> None:
        self._key = key.encode()
        self._serve = serve

    def serve(self, request: Request) -> None:
        """Have ``request`` answered; never raises."""
        refused = None if request.path in OPEN_PATHS else self._refusal_of(request.header("authorization"))
        if refused is None:
            self._serve(request)
        else:
            request.answer(refused)

    def _refusal_of(self, credentials: str | None) -> Answer | None:
        scheme, _, token = (credentials or "").strip().partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or " " in token:
            return _MISSING
        # In a time that does not depend on where they differ.
        return None if hmac.compare_digest(token.encode(), self._key) else _ANOTHER


class NameGuard:
    """Hands requests that call this machine by a name of its own to ``serve``, and refuses all others.

    For a server that nobody but this machine can reach, and that requires no key: a web page that has its own
    name lead to 127.0.0.1 (DNS rebinding) would read and write as if the server were its own. ``host``: the
    name that the server was told to listen at. Who says nothing of encodings is no browser: those always do,
    and no page can keep them from it (a forbidden request-header of the Fetch standard).
    """

    def __init__(self, host: str, serve: Callable[[Request], None]) -> None:
        self._given = _bare(host)
        self._serve = serve
        self._is_own = lru_cache(_MAX_SPELLINGS)(self._names_this_machine)

    def serve(self, request: Request) -> None:
        """Have ``request`` answered; never raises."""
        is_own = self._is_own(request.target_host) and self._is_own(request.host)
        if is_own or not request.may_be_browser:
            self._serve(request)
        else:
            request.answer(_FOREIGN)

    def _names_this_machine(self, said: bytes) -> bool:
        name = _bare(_without_port(said.decode("latin-1").strip()))
        return name in ("", "localhost", self._given) or name.endswith(".localhost") or _is_address(name)


def _without_port(said: str) -> str:
    return said if _is_address(said) else _PORT.sub("", said)  # ::1 ends as if it had a port


def _bare(name: str) -> str:
    """Return a name as it is compared: without brackets, in small letters, without the dot of the root."""
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    return name.lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
