"""Engram as a target: routes, spaces, and what its answers mean.

Engram's wire, measured on orchard9/engram of 2025-11-21: `POST /api/v1/memories/remember` keeps id and
embedding; `POST /api/v1/memories` drops both; a space is named by the header X-Memory-Space; errors are
``{"error": {"code", "message", ...}}``, but 413, 415, 422 and malformed JSON answer text/plain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from synthgen import __version__
from synthgen.errors import UsageError
from synthgen.ingest.endpoint import Endpoint, bearer_header
from synthgen.ingest.retry import RETRY_STATUSES
from synthgen.ingest.target import Verdict

SPACE_HEADER = "X-Memory-Space"
USER_AGENT = f"synthgen/{__version__}"
_SPACE_NAME = re.compile(r"[a-z0-9_-]{3,64}")
_REASON_CHARACTERS = 300


def check_space(space: str) -> None:
    """Raise UsageError unless ``space`` has 3 to 64 characters of a-z, 0-9, _ and -."""
    if not _SPACE_NAME.fullmatch(space):
        raise UsageError(
            f"--space {space!r} is no name that Engram takes",
            next_step="use 3 to 64 of the characters a-z, 0-9, _ and -",
        )


@dataclass(frozen=True)
class Engram:
    """The Engram server at ``endpoint``."""

    endpoint: Endpoint

    @property
    def routes(self) -> tuple[str, ...]:
        """The route that keeps id and embedding; then the one that other servers may have."""
        return "/api/v1/memories/remember", "/api/v1/memories"

    def headers(self, space: str | None) -> Mapping[str, str]:
        """Return the fields of a request to store one memory, with the bearer token if one is set."""
        fields = {"Content-Type": "application/json", "User-Agent": USER_AGENT, **bearer_header()}
        if space is not None:
            fields[SPACE_HEADER] = space
        return fields

    def judge(self, status: int) -> Verdict:
        """Return what ``status`` means: 200 and 201 are stored, 401 and 403 stop, other 4xx are dead."""
        if status in (200, 201):
            return Verdict.ACKED
        if status in (401, 403) or 300 <= status < 400:
            return Verdict.STOP
        if 400 <= status < 500 and status not in RETRY_STATUSES:
            return Verdict.DEAD
        return Verdict.RETRY

    def reason(self, status: int, body: bytes) -> str:
        """Return what :func:`describe_answer` does."""
        return describe_answer(status, body)


def describe_answer(status: int, body: bytes) -> str:
    """Return status, Engram's code and message; else the beginning of the body."""
    text = _message_of(body) or body.decode("utf-8", "replace")
    text = " ".join(text.split())[:_REASON_CHARACTERS]
    return f"{status} {text}".strip()


def _message_of(body: bytes) -> str:
    try:
        error = orjson.loads(body)["error"]
        return f"{error['code']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return ""
