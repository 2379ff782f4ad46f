"""Ctrl-C, SIGTERM and SIGHUP: once is a wish to stop cleanly, twice an order to stop at once."""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType

from synthgen.errors import EXIT_INTERRUPTED

#: Ctrl-C, `kill` or `timeout`, and a terminal that was closed.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STANDARD_ERROR = 2


class Interrupts:
    """While active, the first of ``STOP_SIGNALS`` sets ``requested``; the second ends the process (130).

    Workers die with their parent (see pool), so ending at once leaves nothing behind. SIGHUP stays ignored
    where it was: `nohup` asks for that.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interrupts:
        for number in STOP_SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            os._exit(EXIT_INTERRUPTED)
        self.requested = True
        # Not print(): buffers of files may not be entered twice. The terminal may be gone.
        with contextlib.suppress(OSError):
            text = b"\nstopping: finishing what is under way; once more to stop at once\n"
            os.write(_STANDARD_ERROR, text)
