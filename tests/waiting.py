"""Waiting for what comes in its own time: long, since the machine may be slow, and no longer than needed."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 60.0
_POLL_S = 0.01


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait until ``condition`` holds; fail and say ``otherwise`` where it never does."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, otherwise
        time.sleep(_POLL_S)
