"""Starts the embedded server as a process of its own, for any test that needs a database to talk to."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

STOP_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class ServerProcess:
    """A server that accepts connections."""

    endpoint: str
    pid: int
    data_dir: Path
    process: subprocess.Popen[str]
    errors: Path

    @property
    def port(self) -> int:
        port = urlsplit(self.endpoint).port
        assert port is not None
        return port

    def kill(self) -> None:
        """End it as a power cut would, as far as a process can."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it gracefully; return its exit code."""
        self.process.terminate()
        return self.process.wait(STOP_TIMEOUT_S)


def command(data_dir: Path, *flags: str, port: int = 0, module: str = "synthgen.server") -> list[str]:
    return [sys.executable, "-m", module, "--data-dir", str(data_dir), "--port", str(port), *flags]


@contextlib.contextmanager
def running_server(
    data_dir: Path,
    *flags: str,
    prefix: Sequence[str] = (),
    port: int = 0,
    module: str = "synthgen.server",
) -> Iterator[ServerProcess]:
    """Run a server on ``data_dir`` while the block lasts; it must not print to stderr unnoticed.

    ``prefix`` is put before the command (a tracer, say); ``port`` 0 takes a free one. The block may
    kill or stop the server itself.
    """
    errors = data_dir.with_name(f"{data_dir.name}.{time.monotonic_ns()}.stderr")
    errors.parent.mkdir(parents=True, exist_ok=True)
    with errors.open("wb") as error_file:
        process = subprocess.Popen(
            [*prefix, *command(data_dir, *flags, "--json", "--stop-on-stdin-eof", port=port, module=module)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=error_file,
            text=True,
        )
    with process:
        try:
            record = _first_line(process.stdout, errors)
            yield ServerProcess(record["endpoint"], record["pid"], data_dir, process, errors)
        finally:
            _end(process)


def _first_line(output: IO[str] | None, errors: Path) -> dict[str, Any]:
    assert output is not None
    line = output.readline()
    assert line, f"the server did not start: {errors.read_text()}"
    record: dict[str, Any] = json.loads(line)
    assert record["event"] == "listening"
    return record


def _end(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        process.stdin.close()  # reaches the server behind a tracer, too, which a signal may not
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    if process.poll() is None:
        process.kill()
