"""Progress of long work: one living line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections import deque
from itertools import pairwise
from statistics import StatisticsError, correlation, linear_regression
from typing import ClassVar, TextIO

_TERMINAL_INTERVAL_S = 0.2
_PLAIN_INTERVAL_S = 10.0
#: The rate, and the ETA from it, look back this far: an average since the start hides a slowing.
_WINDOW_S = 15.0
_COURSE_INTERVAL_S = 1.0
_COURSE_POINTS = 64
_CLEAR_TREND = 0.7


def format_duration(seconds: float) -> str:
    """Return ``seconds`` as ``12 s``, ``3 min 05 s`` or ``2 h 07 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Course:
    """The whole way so far, thinned out, to see whether each further unit takes longer than the last.

    Engram scans a whole space at each store, so that its time per memory grows with the memories stored: an
    ETA from a rate alone is wrong by an order of magnitude. Other work does not slow down, and noise must
    not look like it; so a trend counts only when it explains most of what is seen (r**2 of 0.7 or more).
    """

    def __init__(self) -> None:
        self._points: list[tuple[float, int]] = []
        self._apart_s = _COURSE_INTERVAL_S

    def add(self, now_s: float, done: int) -> None:
        """Take note that ``done`` units were finished at ``now_s`` seconds."""
        if self._points and (done <= self._points[-1][1] or now_s - self._points[-1][0] < self._apart_s):
            return
        self._points.append((now_s, done))
        if len(self._points) > _COURSE_POINTS:
            self._points = self._points[::2]
            self._apart_s *= 2

    def slowing_s(self) -> float:
        """Return by how many seconds a unit takes longer for each unit before it; 0 without a clear trend."""
        if len(self._points) < _COURSE_POINTS // 4:
            return 0.0
        middles = [(a[1] + b[1]) / 2 for a, b in pairwise(self._points)]
        costs = [(b[0] - a[0]) / (b[1] - a[1]) for a, b in pairwise(self._points)]
        try:
            slope = linear_regression(middles, costs).slope
            return slope if slope > 0 and correlation(middles, costs) ** 2 >= _CLEAR_TREND else 0.0
        except StatisticsError:  # all the same
            return 0.0


class Progress:
    """Tells how far ``label`` is: done of ``total`` ``unit``, rate per second, time left.

    Writes to standard error; nothing when ``quiet``. ``update`` may be called as often as one likes.
    """

    _living: ClassVar[Progress | None] = None

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
        self._course = Course()
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
            self._course.add(now_s, done)
            while now_s - self._history[0][0] > _WINDOW_S and len(self._history) > 2:
                self._history.popleft()
        if now_s - self._shown_s >= interval_s:
            self._shown_s = now_s
            self._show(self._line(note))

    def finish(self, summary: str) -> None:
        """Replace the living line by ``summary``, for good."""
        self._show(f"{self.label}: {summary}", final=True)

    def _left_s(self, rate_per_s: float) -> float:
        n_left = self.total - self.done
        return n_left / rate_per_s + self._course.slowing_s() * n_left * n_left / 2

    def _line(self, note: str) -> str:
        rate = self.rate_per_s
        left = format_duration(self._left_s(rate)) if rate > 0 else "unknown"
        share = self.done / self.total if self.total else 1.0
        line = f"{self.label}: {self.done:,} of {self.total:,} {self.unit} ({share:.0%}), "
        line += f"{rate:,.0f}/s, ETA {left}" if rate >= 10 else f"{rate:.1f}/s, ETA {left}"
        return f"{line}, {note}" if note else line

    def _show(self, line: str, *, final: bool = False) -> None:
        if not self._quiet:
            with contextlib.suppress(OSError):  # a terminal that was closed is no reason to end in the middle
                self._write(line, final=final)

    def _write(self, line: str, *, final: bool) -> None:
        if self._terminal:
            if Progress._living is not self:
                end_living_line()
            columns = shutil.get_terminal_size().columns - 1  # a wrapped line could not be written over
            line = line if final else line[:columns]
            self._stream.write(f"\r{line:<{self._width}}" + ("\n" if final else ""))
            self._width = 0 if final else len(line)
            Progress._living = None if final else self
        else:
            self._stream.write(f"{line}\n")
        self._stream.flush()


def end_living_line() -> None:
    """Begin a new line on the terminal where work that was not finished left a living one."""
    living, Progress._living = Progress._living, None
    if living is not None:
        living._width = 0
        with contextlib.suppress(OSError):
            living._stream.write("\n")
            living._stream.flush()
