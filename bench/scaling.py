"""How do rates grow with workers, what does one parent cost, and what is in the way?"""

from __future__ import annotations

import multiprocessing
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from bench.commands import run_command, save_centroids
from bench.disk import remove
from bench.settings import Settings
from bench.table import Cell, Result, Spread, Table
from synthgen.runtime.memory import available_cores
from synthgen.specs import CHUNK_ROWS

_PROBE_S = 0.5
_NAMES = {"null": "to nowhere", "rows.jsonl": "to a file"}
#: What a run with workers that make nothing is called, before the name of its output.
_SATURATED = "saturated "
_MEASURED = ("elapsed_s", "parent_cpu_s", "sync_cpu_s", "workers_cpu_s")
_CACHED_BYTES, _UNCACHED_BYTES = 1 << 14, 1 << 26


@dataclass(frozen=True)
class _Run:
    """The difference of a run and one of a tenth of its rows, by as many workers, so that starting does not
    count; seconds of CPU time.
    """

    output: str
    workers: int
    rows: int
    elapsed_s: float
    parent_cpu_s: float
    sync_cpu_s: float
    workers_cpu_s: float

    @property
    def rows_per_s(self) -> float | None:
        return self.rows / self.elapsed_s if self.elapsed_s > 0 else None

    @property
    def parent_cpu_us_a_chunk(self) -> float:
        return self.parent_cpu_s / self.rows * CHUNK_ROWS * 1e6

    @property
    def sync_cpu_us_a_chunk(self) -> float:
        return self.sync_cpu_s / self.rows * CHUNK_ROWS * 1e6

    @property
    def workers_cpu_us_a_chunk(self) -> float:
        return self.workers_cpu_s / self.rows * CHUNK_ROWS * 1e6


@dataclass(frozen=True)
class _Probe:
    """What the machine itself does with as many processes, bytes a second in all: hashing what lies in a
    core's first cache, and copying what lies in no cache.
    """

    processes: int
    cached_bytes_per_s: float
    copied_bytes_per_s: float
    core_mhz: float | None


def run(settings: Settings) -> Result:
    """Measure and return the tables."""
    n_rows = settings.rows_of(quick=100_000, normal=400_000, full=2_000_000)
    counts = list(settings.workers) or list(range(1, available_cores() + 1))
    runs: list[_Run] = []
    probes: list[_Probe] = []
    with settings.scratch() as folder:
        centroids, line = save_centroids(folder), save_centroids(folder, 1, "line.npy")
        for repetition in range(settings.n_repetitions):
            for workers in counts if repetition % 2 == 0 else counts[::-1]:
                probes.append(_probe(workers))
                runs.append(_drive(centroids, n_rows, workers, Path("/dev/null")))
                runs.append(_drive(centroids, n_rows // 4, workers, folder / "rows.jsonl"))
            for output in (Path("/dev/null"), folder / "rows.npy"):
                runs.append(_saturate(line, max(100, n_rows // 40), counts[-1], output))
    configuration = {**settings.to_document(), "rows": n_rows, "workers": counts, "law": "isotropic"}
    tables = [_scaling_table(runs, probes, counts), _parent_table(runs, counts)]
    return Result("scaling", configuration, tables, [vars(found) for found in (*runs, *probes)])


def serial_fraction(speedup: float, n: int) -> float:
    """Return the share of the work that is serial, by what ``n`` workers gain: (1/speedup - 1/n) / (1 - 1/n).

    Amdahl's law, speedup = 1 / (f + (1 - f) / n), solved for f (Karp and Flatt 1990). Noise makes it negative
    at times. n > 1.
    """
    return (1 / speedup - 1 / n) / (1 - 1 / n)


def _drive(centroids: Path, n_rows: int, workers: int, output: Path) -> _Run:
    few_rows = max(CHUNK_ROWS, n_rows // 10)
    few, many = (_time_one(centroids, count, workers, output) for count in (few_rows, n_rows))
    differences = [many[name] - few[name] for name in _MEASURED]
    return _Run(output.name, workers, n_rows - few_rows, *differences)


def _time_one(centroids: Path, count: int, workers: int, output: Path, *flags: str) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.driven", str(centroids), str(count), str(workers), str(output)]
    found: dict[str, float] = run_command([*command, *flags]).report
    if output.is_file():
        remove(output, output.with_suffix(".manifest.json"), output.with_name(f"{output.name}.manifest.json"))
    return found


def _saturate(line: Path, n_chunks: int, workers: int, output: Path) -> _Run:
    """Run a parent whose workers make nothing: it never waits, so that no wake-up is paid for each chunk.

    ``line``: centroids of one component, since the file is as long as if rows were in it.
    """
    few_chunks = n_chunks // 10
    few, many = (_time_one(line, n * CHUNK_ROWS, workers, output, "idle") for n in (few_chunks, n_chunks))
    differences = [many[name] - few[name] for name in _MEASURED]
    return _Run(f"{_SATURATED}{output.name}", workers, (n_chunks - few_chunks) * CHUNK_ROWS, *differences)


def _probe(processes: int) -> _Probe:
    cached = _in_parallel(_hash_cached, processes)
    return _Probe(processes, cached, _in_parallel(_copy_uncached, processes), _core_mhz())


def _in_parallel(work: Callable[[float], float], processes: int) -> float:
    """Return the sum of what ``processes`` of their own get from ``work`` at the same time."""
    begin_at = time.time() + 1.0  # all have started by then
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return sum(pool.map(work, [begin_at] * processes, chunksize=1))


def _hash_cached(begin_at: float) -> float:
    data = bytes(_CACHED_BYTES)
    return _rate(begin_at, lambda: xxhash.xxh3_128_digest(data), _CACHED_BYTES)


def _copy_uncached(begin_at: float) -> float:
    source, target = np.zeros(_UNCACHED_BYTES, np.uint8), np.ones(_UNCACHED_BYTES, np.uint8)
    return _rate(begin_at, lambda: np.copyto(target, source), _UNCACHED_BYTES)


def _rate(begin_at: float, work: Callable[[], object], n_bytes: int) -> float:
    time.sleep(max(0.0, begin_at - time.time()))
    begun_s, done = time.perf_counter(), 0
    while (elapsed_s := time.perf_counter() - begun_s) < _PROBE_S or not done:
        work()
        done += 1
    return done * n_bytes / elapsed_s


def _core_mhz() -> float | None:
    """Return the fastest core's frequency as Linux tells it, in MHz; None where it does not."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return None
    found = [float(value) for value in re.findall(r"^cpu MHz\s*:\s*([\d.]+)", text, re.MULTILINE)]
    return max(found, default=None)


def _scaling_table(runs: Sequence[_Run], probes: Sequence[_Probe], counts: Sequence[int]) -> Table:
    rates = {(out, n): _rates(runs, out, n) for out in ("null", "rows.jsonl") for n in counts}
    rows: list[tuple[Cell, ...]] = []
    for n in counts:
        null, file = rates["null", n], rates["rows.jsonl", n]
        gain, cores, memory = (
            _gain(null, rates["null", counts[0]]),
            _gain(*(_probed(probes, count, "cached_bytes_per_s") for count in (n, counts[0]))),
            _gain(*(_probed(probes, count, "copied_bytes_per_s") for count in (n, counts[0]))),
        )
        relative = n / counts[0]
        serial = serial_fraction(gain, n) if gain and counts[0] == 1 and n > 1 else None
        rows.append((n, null, gain, serial, file, cores, memory, None if gain is None else gain / relative))
    columns = (
        "workers",
        "to nowhere, rows/s",
        "gain",
        "serial share",
        "to a file, rows/s",
        "cores' own gain",
        "memory's own gain",
        "gain / workers",
    )
    last = next(probe for probe in reversed(probes) if probe.processes == counts[-1])
    frequency = f"{last.core_mhz:,.0f} MHz" if last.core_mhz else "not told"
    notes = (
        "rates are of the difference to a tenth of the rows; serial share: Amdahl's, from the gain",
        "cores' own gain: of processes that hash 16 KB in their first cache; memory's: that copy 64 MB",
        f"{last.copied_bytes_per_s / 1e9:.1f} GB/s copied by {last.processes}; cores at {frequency}",
        _limit(rows[-1]),
    )
    return Table("generation by workers", columns, rows, notes)


def _limit(last: tuple[Cell, ...]) -> str:
    gain, cores, memory = last[2], last[5], last[6]
    if not all(isinstance(value, float) for value in (gain, cores, memory)) or last[0] == 1:
        return "with one worker there is nothing to compare"
    assert isinstance(gain, float) and isinstance(cores, float) and isinstance(memory, float)
    if gain >= 0.9 * cores:
        return f"what limits: the cores themselves gain {cores:.2f}, generation {gain:.2f} of it"
    if gain >= 0.9 * memory:
        return f"what limits: memory, which gains {memory:.2f}; generation gains {gain:.2f}"
    return f"what limits: neither cores ({cores:.2f}) nor memory ({memory:.2f}); generation gains {gain:.2f}"


def _parent_table(runs: Sequence[_Run], counts: Sequence[int]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for output in ("null", "rows.jsonl"):
        for n in counts:
            mine = [found for found in runs if (found.output, found.workers) == (output, n)]
            parents = Spread.of(found.parent_cpu_us_a_chunk for found in mine)
            workers = Spread.of(found.workers_cpu_us_a_chunk for found in mine)
            syncs = Spread.of(found.sync_cpu_us_a_chunk for found in mine)
            fed = workers.median / parents.median if workers.median and parents.median else None
            rows.append((f"{_NAMES[output]}, {n}", parents, syncs, workers, fed))
    for output, idle, name in (("null", "null", "to nowhere"), ("rows.jsonl", "rows.npy", "to a file")):
        last = [found for found in runs if (found.output, found.workers) == (output, counts[-1])]
        workers = Spread.of(found.workers_cpu_us_a_chunk for found in last)
        mine = [found for found in runs if found.output == f"{_SATURATED}{idle}"]
        parents = Spread.of(found.parent_cpu_us_a_chunk for found in mine)
        syncs = Spread.of(found.sync_cpu_us_a_chunk for found in mine)
        fed = workers.median / parents.median if workers.median and parents.median else None
        rows.append((f"{name}, always busy", parents, syncs, workers, fed))
    columns = (
        "output, workers",
        "parent, CPU us a chunk",
        "its thread that syncs",
        "workers",
        "workers one parent feeds",
    )
    notes = (
        f"a chunk is {CHUNK_ROWS:,} rows; a parent that is always busy feeds as many workers as its time",
        "a chunk goes into theirs: on paper, beyond the cores of this machine",
        "always busy: workers that make nothing, so that the parent never waits, and no chunk costs a",
        "wake-up; beside it the CPU time of workers that do make rows, from above",
    )
    return Table("what the parent costs", columns, rows, notes)


def _rates(runs: Sequence[_Run], output: str, workers: int) -> Spread:
    return Spread.of(found.rows_per_s for found in runs if (found.output, found.workers) == (output, workers))


def _probed(probes: Sequence[_Probe], processes: int, name: str) -> Spread:
    return Spread.of(getattr(probe, name) for probe in probes if probe.processes == processes)


def _gain(these: Spread, first: Spread) -> float | None:
    return these.median / first.median if these.median and first.median else None
