"""The embedded server as a child of a run: started on a free port, gone when the run is, however it ends."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import threading
import time
from pathlib import Path

from synthgen.errors import EXIT_UNUSABLE, ResourceError

#: A killed run's server notices within a moment, but may take seconds to stop: it waits for those who read
#: its database, and the machine may be busy. A new run waits for it at most so long.
_LOCK_WAIT_S = 12.0
_START_S = 60.0
_STOP_S = 30.0


class EmbeddedServer:
    """``synthgen serve`` on ``data_dir``; a context. Its messages go to ``log``.

    It runs in a session of its own, so that Ctrl-C reaches the run alone, and stops when its standard input
    ends, which happens even when the run is killed.
    """

    def __init__(self, data_dir: Path, log: Path) -> None:
        self._data_dir = data_dir
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self.endpoint = ""

    def __enter__(self) -> EmbeddedServer:
        deadline_s = time.monotonic() + _LOCK_WAIT_S
        while not self._start():
            reason = self._last_words()
            if "uses this folder" not in reason or time.monotonic() > deadline_s:
                raise ResourceError(
                    "the embedded server did not start",
                    where=str(self._data_dir),
                    next_step=f"it said: {reason}",
                )
            time.sleep(0.5)
        return self

    def __exit__(self, *exc_info: object) -> None:
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        self._stopping = True
        process.stdin.close()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    @property
    def pid(self) -> int:
        """Process id of the server."""
        assert self._process is not None, "not started"
        return self._process.pid

    def _start(self) -> bool:
        self._stopping = False
        command = [sys.executable, "-m", "synthgen", "serve", "--data-dir", str(self._data_dir)]
        command += ["--port", "0", "--json", "--stop-on-stdin-eof"]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        line = self._first_line()
        if line:
            self.endpoint = json.loads(line)["endpoint"]
            threading.Thread(target=self._watch, args=(self._process,), daemon=True).start()
            return True
        self.__exit__()
        self._process = None
        return False

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """End the run when its server ends unasked: at a free port of its own it can never come back."""
        exit_code = process.wait()
        if not self._stopping:
            text = f"synthgen: the embedded server ended unasked (exit code {exit_code}), see {self._log}; "
            print(text + "the same command starts it again and continues", file=sys.stderr, flush=True)
            os._exit(EXIT_UNUSABLE)

    def _first_line(self) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            return self._process.stdout.readline() if selector.select(_START_S) else b""

    def _last_words(self) -> str:
        lines = self._log.read_text("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "nothing"
