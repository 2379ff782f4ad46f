"""``synthgen serve`` as a black box: started, asked over one persistent connection, stopped, killed."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from synthgen.errors import ResourceError, TargetError

#: A million memories may have to be read before the first answer, or written before the end.
_TIMEOUT_S = 600.0
#: A connection that was idle for so long is opened anew.
_IDLE_S = 10.0


class Served:
    """A server on ``data_dir``; its messages go to ``log``. As a context: gone at the end, come what may."""

    def __init__(self, data_dir: Path, log: Path) -> None:
        self._data_dir = data_dir
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._asked_at_s = 0.0
        self._connection: http.client.HTTPConnection | None = None
        self.started_at_s = 0.0
        self.endpoint = ""
        self.pid = 0

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process is not None:
            self._end(self._process.kill)

    def start(self) -> float:
        """Start it; return the seconds until it has answered GET /health. Raises ResourceError if it ends."""
        command = [sys.executable, "-m", "synthgen", "serve", "--data-dir", str(self._data_dir)]
        self.started_at_s = time.perf_counter()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", "0", "--json", "--stop-on-stdin-eof"],  # gone when this process is
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.kill()
            raise ResourceError(
                "the server did not start",
                where=str(self._data_dir),
                next_step=f"it said: {self.last_words()}",
            )
        record = json.loads(line)
        self.endpoint, self.pid = record["endpoint"], record["pid"]
        self._connection = http.client.HTTPConnection(urlsplit(self.endpoint).netloc, timeout=_TIMEOUT_S)
        self.get("/health")
        return self.running_s()

    def running_s(self) -> float:
        """Return the seconds since it was started."""
        return time.perf_counter() - self.started_at_s

    def stop(self) -> float:
        """End it gracefully; return the seconds that took."""
        assert self._process is not None, "not started"
        return self._end(self._process.terminate)

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        assert self._process is not None, "not started"
        self._end(self._process.kill)

    def _end(self, act: Callable[[], None]) -> float:
        assert self._process is not None
        if self._connection is not None:
            self._connection.close()
        began_s = time.perf_counter()
        act()
        self._process.wait(_TIMEOUT_S)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process = None
        return time.perf_counter() - began_s

    def get(self, path: str, **query: Any) -> tuple[float, dict[str, Any]]:
        """Ask; return the seconds until the answer was read, and it. Raises TargetError if not 200."""
        return self._ask("GET", path, f"{path}?{urlencode(query, safe='[],')}" if query else path)

    def post(self, path: str, body: str) -> tuple[float, dict[str, Any]]:
        """Send JSON; as :meth:`get`."""
        return self._ask("POST", path, path, body)

    def _ask(
        self, method: str, path: str, target: str, body: str | None = None
    ) -> tuple[float, dict[str, Any]]:
        assert self._connection is not None, "not started"
        if time.monotonic() - self._asked_at_s > _IDLE_S:  # the server may have ended it
            self._connection.close()
        self._asked_at_s = time.monotonic()
        began_s = time.perf_counter()
        self._connection.request(method, target, body, {"Content-Type": "application/json"} if body else {})
        response = self._connection.getresponse()
        answer = response.read()
        took_s = time.perf_counter() - began_s
        if response.status != 200:
            words = answer.decode("utf-8", "replace")[:200]
            raise TargetError(f"answered {response.status} to {method} {path}: {words}", where=self.endpoint)
        document: dict[str, Any] = json.loads(answer)
        return took_s, document

    def last_words(self) -> str:
        """Return the last line of its messages."""
        lines = self._log.read_text("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "nothing"
