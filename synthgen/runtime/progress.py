"""Progress of long work: one living line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import TextIO

_TERMINAL_INTERVAL_S = 0.2
_PLAIN_INTERVAL_S = 10.0
#: The rate, and the ETA from it, look back this far: an average since the start hides a slowing.
_WINDOW_S = 15.0


def format_duration(seconds: float) -> str:
    """Return ``seconds`` as ``12 s``, ``3 min 05 s`` or ``2 h 07 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress:
    """Tells how far ``label`` is: done of ``total`` ``unit``, rate per second, time left.

    Writes to standard error; nothing when ``quiet``. ``update`` may be called as often as one likes.
    """

    def __init__(
        self, label: str, total: int, unit: str, *, quiet: bool = False, stream: TextIO | None = None
    ) -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.done = 0
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._terminal = self._stream.isatty()
        self._started_s = time.monotonic()
        self._shown_s = self._started_s
        self._history: deque[tuple[float, int]] = deque()
        self._width = 0

    def start_at(self, done: int) -> None:
        """Say that ``done`` were finished by an earlier run; they do not count into the rate."""
        self.done = done
        self._history.clear()
        self._history.append((time.monotonic(), done))

    @property
    def elapsed_s(self) -> float:
        """Seconds since the work began."""
        return time.monotonic() - self._started_s

    @property
    def rate_per_s(self) -> float:
        """Rate over the last seconds, per second."""
        if len(self._history) < 2:
            return 0.0
        (first_s, first), (last_s, last) = self._history[0], self._history[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else 0.0

    def update(self, done: int, note: str = "") -> None:
        """Say that ``done`` are finished in all; ``note`` is shown behind the figures."""
        now_s = time.monotonic()
        self.done = done
        interval_s = _TERMINAL_INTERVAL_S if self._terminal else _PLAIN_INTERVAL_S
        if not self._history:
            self._history.append((self._started_s, 0))
        if now_s - self._history[-1][0] >= _TERMINAL_INTERVAL_S:
            self._history.append((now_s, done))
            while now_s - self._history[0][0] > _WINDOW_S and len(self._history) > 2:
                self._history.popleft()
        if now_s - self._shown_s >= interval_s:
            self._shown_s = now_s
            self._show(self._line(note))

    def finish(self, summary: str) -> None:
        """Replace the living line by ``summary``, for good."""
        self._show(f"{self.label}: {summary}", final=True)

    def _line(self, note: str) -> str:
        rate = self.rate_per_s
        left = format_duration((self.total - self.done) / rate) if rate > 0 else "unknown"
        share = self.done / self.total if self.total else 1.0
        line = f"{self.label}: {self.done:,} of {self.total:,} {self.unit} ({share:.0%}), "
        line += f"{rate:,.0f}/s, ETA {left}"
        return f"{line}, {note}" if note else line

    def _show(self, line: str, *, final: bool = False) -> None:
        if self._quiet:
            return
        if self._terminal:
            self._stream.write(f"\r{line:<{self._width}}" + ("\n" if final else ""))
            self._width = 0 if final else len(line)
        else:
            self._stream.write(f"{line}\n")
        self._stream.flush()
