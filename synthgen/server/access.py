"""Who is let in: whoever has the one key, where the server is told to require it.

Authorization: RFC 9110, section 11; bearer tokens: RFC 6750; statuses: Engram's wire.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from synthgen.errors import UsageError
from synthgen.server.answers import Answer, refusal
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
