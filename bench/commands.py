"""Commands run as a user runs them, with what they cost: time, CPU and peak memory."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthgen.errors import SynthgenError
from synthgen.runtime.memory import tree_bytes

#: Reading the sizes of a process tree costs some milliseconds of the measured machine.
SAMPLE_INTERVAL_S = 0.1
N_CENTROIDS = 100
DIMENSION = 768


@dataclass(frozen=True)
class Finished:
    """A command that ended: seconds on the clock, CPU seconds of it and its children, peak of its tree (0
    where nobody watched), and its report.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    output: str

    @property
    def report(self) -> dict[str, Any]:
        """The JSON that the command printed."""
        document: dict[str, Any] = json.loads(self.output)
        return document


class PeakSampler:
    """Watches the memory of a process tree (PSS) while its block lasts, from a thread of this process."""

    def __init__(self, pid: int, interval_s: float = SAMPLE_INTERVAL_S) -> None:
        self.peak_bytes = 0
        self.n_samples = 0
        self._pid = pid
        self._interval_s = interval_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakSampler:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self._interval_s):
            self.peak_bytes = max(self.peak_bytes, tree_bytes(self._pid))
            self.n_samples += 1


def run_command(
    command: Sequence[str],
    *,
    allowed: Sequence[int] = (0,),
    watch: bool = False,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Finished:
    """Run ``command`` to its end, in ``folder`` and ``environment`` (None: this process's); ``watch`` samples
    its memory. Raises SynthgenError with its last words when the exit code is none of ``allowed``.
    """
    cpu_s, started_s, peak_bytes = _children_cpu_s(), time.perf_counter(), 0
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=folder, env=environment
        )
        if watch:
            with PeakSampler(process.pid) as sampler:
                output, _ = process.communicate()
            peak_bytes = sampler.peak_bytes
        else:
            output, _ = process.communicate()
        wall_s = time.perf_counter() - started_s
        if process.returncode not in allowed:
            errors.seek(0)
            last = errors.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            raise SynthgenError(f"exit code {process.returncode}: {' '.join(last)}", where=" ".join(command))
    return Finished(wall_s, _children_cpu_s() - cpu_s, peak_bytes, output)


def run_synthgen(
    name: str, *flags: str | Path, allowed: Sequence[int] = (0,), watch: bool = False
) -> Finished:
    """Run ``synthgen NAME FLAGS --json -q``."""
    command = [sys.executable, "-m", "synthgen", name, *map(str, flags), "--json", "-q"]
    return run_command(command, allowed=allowed, watch=watch)


def _children_cpu_s() -> float:
    """Return the CPU seconds of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def save_centroids(folder: Path, dimension: int = DIMENSION, name: str = "centroids.npy") -> Path:
    """Write ``N_CENTROIDS`` random directions of ``dimension`` components to a .npy; return its path."""
    centroids = np.random.default_rng(7).standard_normal((N_CENTROIDS, dimension))
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    path = folder / name
    np.save(path, centroids.astype(np.float32))
    return path


def generate(centroids: Path, count: int, output: Path, workers: int = 0, *, watch: bool = False) -> Finished:
    """Generate ``count`` rows around ``centroids`` by the law that the seed's flags ask for."""
    flags = ("--centroids", centroids, "--std-dev", "0.1", "--count", str(count), "--output", output)
    return run_synthgen("generate", *flags, "--workers", str(workers), watch=watch)
