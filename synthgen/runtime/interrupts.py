"""Ctrl-C and SIGTERM: once is a wish to stop cleanly, twice an order to stop at once."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from synthgen.errors import EXIT_INTERRUPTED


class Interrupts:
    """While active, the first SIGINT or SIGTERM sets ``requested``; the second ends the process (130).

    Workers die with their parent (see pool), so ending at once leaves nothing behind.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            os._exit(EXIT_INTERRUPTED)
        self.requested = True
        print("\nstopping: finishing what is under way; once more to stop at once", file=sys.stderr)
