"""What a person must know while a command waits: a plain line on standard error, with progress or without.

`-q` silences progress; that a database does not answer is none. Each trouble is told once.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

from synthgen.runtime.progress import end_living_line

#: Seconds without anything good after which it is told.
TELL_AFTER_S = 5.0

Tell = Callable[[str], None]


def say(text: str) -> None:
    """Write one line to standard error."""
    end_living_line()
    print(f"synthgen: {' '.join(text.split())}", file=sys.stderr, flush=True)


class Waiting:
    """Watches what may block, one thing after the other, and tells of each that takes long, once.

    One thread looks a few times in ``TELL_AFTER_S``, since starting one for each request would cost more than
    many a request. ``tell`` None watches nothing.
    """

    def __init__(self, tell: Tell | None) -> None:
        self._tell = tell
        self._current: tuple[float, Callable[[], str]] | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    @contextlib.contextmanager
    def on(self, describe: Callable[[], str]) -> Iterator[None]:
        """Watch the block; ``describe()`` is what to tell."""
        if self._tell is not None and self._thread is None:
            self._thread = threading.Thread(target=self._watch, args=(self._tell,), daemon=True)
            self._thread.start()
        self._current = time.monotonic(), describe
        try:
            yield
        finally:
            self._current = None

    def close(self) -> None:
        """Let the thread end."""
        self._ended.set()

    def _watch(self, tell: Tell) -> None:
        told = None
        while not self._ended.wait(TELL_AFTER_S / 5):
            current = self._current
            if current is not None and current is not told:
                since_s, describe = current
                if time.monotonic() - since_s >= TELL_AFTER_S:
                    told = current
                    tell(describe())


class Lasting:
    """Tells of a trouble that lasts; of the next one, when it was over in between."""

    def __init__(self, tell: Tell = say) -> None:
        self._tell = tell
        self._since_s: float | None = None
        self._told = False

    def update(self, trouble: str, now_s: float) -> None:
        """Take note of what the trouble is at ``now_s`` seconds; empty: there is none."""
        if not trouble:
            self._since_s, self._told = None, False
            return
        if self._since_s is None:
            self._since_s = now_s
        if not self._told and now_s - self._since_s >= TELL_AFTER_S:
            self._told = True
            self._tell(trouble)
