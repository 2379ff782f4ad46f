"""Phase 3: a dataset into a file, by a pool of workers that write their own ranges of it in place.

parent: chunk numbers ──> pool ──> worker: make rows, encode, pwrite at row x line_bytes, hash
   journal line a chunk <── digest ──┘          all done: fsync, rename, manifest
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

from synthgen.errors import Interrupted, ResourceError, UsageError
from synthgen.formats.dataset_file import DatasetFile
from synthgen.formats.jsonl import LineEncoder, LineLayout
from synthgen.formats.manifest import Manifest
from synthgen.generate.dataset import Dataset
from synthgen.phases.datasets import source_of
from synthgen.runtime import files
from synthgen.runtime.interrupts import Interrupts
from synthgen.runtime.memory import Governor, available_cores
from synthgen.runtime.pool import Channel, Done, Pool
from synthgen.runtime.progress import Progress
from synthgen.specs import Grid, Role, chunk_bounds, n_chunks

#: Measured: a spawned worker with numpy, its tables and scratch; and this process.
_WORKER_BYTES = 80_000_000
_BASE_BYTES = 80_000_000


@dataclass(frozen=True)
class GenerateOptions:
    """How to make a file; nothing here changes a byte of it. ``workers`` 0: as many as cores."""

    workers: int = 0
    memory_budget_bytes: int = 4_000_000_000
    overwrite: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.workers <= 1_024:
            raise UsageError(f"--workers must be a whole number from 0 to 1,024, not {self.workers}")


@dataclass(frozen=True)
class GenerateReport:
    """What was made, by how many, how fast, and in how much memory (peak of the process tree).

    ``dataset_fingerprint``: of the dataset that queries are meant for; of memories, their own.
    """

    output: str
    rows: int
    rows_made: int
    line_bytes: int
    decimals_asked: int
    grid: Grid
    role: Role
    fingerprint: str
    dataset_fingerprint: str
    digest: str
    workers: int
    elapsed_s: float
    peak_bytes: int

    def to_document(self) -> dict[str, Any]:
        """Return the report as JSON."""
        derived = {"bytes": self.rows * self.line_bytes, "rows_per_s": self.rate_per_s}
        return {**self.__dict__, "grid": self.grid.to_document(), **derived}

    @property
    def rate_per_s(self) -> float:
        """Rows made a second of this run."""
        return self.rows_made / self.elapsed_s if self.elapsed_s > 0 else 0.0


@dataclass(frozen=True)
class _Job:
    """What a worker needs: the dataset, and the file to write into."""

    dataset: Dataset
    layout: LineLayout
    path: Path
    in_place: bool


def generate(dataset: Dataset, output: Path | None, options: GenerateOptions) -> GenerateReport:
    """Write the dataset to ``output`` (None: standard output) and return what was done.

    A regular file appears under its name only when whole, with a manifest beside it; an interrupted one is
    continued by the same call. A file of another spec, or with more rows, is never touched, unless
    ``options.overwrite``. Anything but a regular file is streamed. Raises InputError, ResourceError,
    WorkerDied, or Interrupted (resumable).
    """
    if output is not None:
        files.refuse_folder(output)
    if output is None or (output.exists() and not output.is_file() and not _is_null(output)):
        return _stream(dataset, output, options)
    if output.exists() and _is_null(output):
        return _discard(dataset, output, options)
    return _write_file(dataset, output, options)


def _is_null(path: Path) -> bool:
    mode = path.stat().st_mode
    return stat.S_ISCHR(mode) and path.stat().st_rdev == Path(os.devnull).stat().st_rdev


def _write_chunks(channel: Channel, job: _Job) -> None:
    """Make, encode, write and hash the chunks whose numbers come, until no more come (in a worker)."""
    encoder = LineEncoder(job.layout)
    descriptor = os.open(job.path, os.O_WRONLY | os.O_CLOEXEC)
    while (assignment := channel.get()) is not None:
        with files.explain_os_errors(job.path):
            digest = _write_chunk(job, encoder, descriptor, assignment.task)
        channel.done(assignment.number, digest)


def _write_chunk(job: _Job, encoder: LineEncoder, descriptor: int, chunk: _Chunk) -> str:
    hasher = xxhash.xxh3_128()
    at = chunk.start * job.layout.line_bytes
    for rows in job.dataset.blocks(chunk.start, chunk.stop):
        data = encoder.encode(rows).data.cast("B")
        hasher.update(data)
        while data:
            n = os.pwrite(descriptor, data, at) if job.in_place else os.write(descriptor, data)
            at, data = at + n, data[n:]
    return hasher.hexdigest()


def _layout(dataset: Dataset) -> LineLayout:
    return source_of(dataset).layout


@dataclass(frozen=True)
class _Chunk:
    """A chunk as a task, so that messages can name its rows."""

    number: int
    start: int
    stop: int

    def __str__(self) -> str:
        return f"chunk {self.number} (rows {self.start:,} to {self.stop - 1:,})"


def check_budget(dataset: Dataset, options: GenerateOptions) -> None:
    """Raise ResourceError where the memory budget holds not one worker; nothing is touched."""
    _plan_workers(Governor(options.memory_budget_bytes), dataset, options, 1)


def _plan_workers(governor: Governor, dataset: Dataset, options: GenerateOptions, n_tasks: int) -> int:
    wanted = min(options.workers or available_cores(), max(1, n_tasks))
    model_bytes = 3 * dataset.model_bytes  # as read, in the law's units, and while they are made
    return governor.plan_workers(wanted, _BASE_BYTES + model_bytes, _WORKER_BYTES + model_bytes)


def _run_pool(
    job: _Job, chunks: list[int], options: GenerateOptions, finished: Callable[[int, str], None]
) -> tuple[int, int]:
    """Make ``chunks``, calling ``finished`` for each; return the number of workers and the peak in bytes."""
    count = job.dataset.spec.count
    governor = Governor(options.memory_budget_bytes)
    workers = _plan_workers(governor, job.dataset, options, len(chunks))
    progress = Progress("generate", count, job.dataset.spec.role, quiet=options.quiet)
    tasks = [_Chunk(number, *chunk_bounds(number, count)) for number in chunks]
    done = count - sum(task.stop - task.start for task in tasks)
    progress.start_at(done)
    with Interrupts() as interrupts, Pool(_write_chunks, (job,), workers) as pool:
        for event in pool.run(tasks, admit=governor.admits):
            governor.sample()
            if isinstance(event, Done):
                finished(event.task.number, event.value)
                done += event.task.stop - event.task.start
            progress.update(done)
            if interrupts.requested:
                pool.stop()
    progress.finish(f"{done:,} of {count:,} {job.dataset.spec.role}")
    if done < count:
        raise Interrupted(
            f"stopped after {done:,} of {count:,} rows", next_step="the same command continues from there"
        )
    return workers, governor.peak_bytes


def _write_file(dataset: Dataset, output: Path, options: GenerateOptions) -> GenerateReport:
    """Make one regular file, or continue it."""
    started_s = time.monotonic()
    check_budget(dataset, options)
    layout, spec = _layout(dataset), dataset.spec
    with DatasetFile(output, spec, layout) as file:
        manifest = None if options.overwrite else file.finished()
        made, workers, peak_bytes = 0, 0, 0
        if manifest is None:
            digests = file.begin(overwrite=options.overwrite)
            todo = [c for c in range(n_chunks(spec.count)) if c not in digests]
            made = sum(stop - start for start, stop in (chunk_bounds(c, spec.count) for c in todo))
            job = _Job(dataset, layout, file.partial, in_place=True)
            if todo:
                workers, peak_bytes = _run_pool(job, todo, options, file.record)
            manifest = file.finish()
    return _report(str(output), manifest, made, _Effort(workers, peak_bytes, started_s))


@dataclass(frozen=True)
class _Effort:
    workers: int
    peak_bytes: int
    started_s: float


def _report(output: str, manifest: Manifest, rows_made: int, effort: _Effort) -> GenerateReport:
    return GenerateReport(
        output=output,
        rows=manifest.spec.count,
        rows_made=rows_made,
        line_bytes=manifest.line_bytes,
        decimals_asked=manifest.spec.decimals,
        grid=manifest.grid,
        role=manifest.spec.role,
        fingerprint=manifest.spec.fingerprint,
        dataset_fingerprint=manifest.spec.dataset_fingerprint,
        digest=manifest.digest,
        workers=effort.workers,
        elapsed_s=time.monotonic() - effort.started_s,
        peak_bytes=effort.peak_bytes,
    )


def _discard(dataset: Dataset, output: Path, options: GenerateOptions) -> GenerateReport:
    """Make everything and keep nothing: the null sink that rates are measured against."""
    started_s = time.monotonic()
    layout, count = _layout(dataset), dataset.spec.count
    digests: dict[int, str] = {}
    job = _Job(dataset, layout, output, in_place=False)
    workers, peak = _run_pool(job, list(range(n_chunks(count))), options, digests.__setitem__)
    chunks = tuple(digests[c] for c in sorted(digests))
    manifest = Manifest(dataset.spec, layout.line_bytes, chunks, layout.grid)
    return _report(str(output), manifest, count, _Effort(workers, peak, started_s))


def _stream(dataset: Dataset, output: Path | None, options: GenerateOptions) -> GenerateReport:
    """Write rows in order to standard output or a FIFO from this process: the pipe is slower than it."""
    started_s = time.monotonic()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader that has seen enough is no error
    layout, spec = _layout(dataset), dataset.spec
    encoder = LineEncoder(layout)
    digests: list[str] = []
    progress = Progress("generate", spec.count, spec.role, quiet=options.quiet)
    with _open_stream(output) as sink:
        for chunk in range(n_chunks(spec.count)):
            hasher = xxhash.xxh3_128()
            for data in _encoded(dataset, encoder, chunk):
                hasher.update(data)
                sink.write(data)
            digests.append(hasher.hexdigest())
            progress.update(chunk_bounds(chunk, spec.count)[1])
    progress.finish(f"{spec.count:,} {spec.role}")
    manifest = Manifest(spec, layout.line_bytes, tuple(digests), layout.grid)
    peak = Governor(options.memory_budget_bytes).sample()
    return _report(str(output or "-"), manifest, spec.count, _Effort(1, peak, started_s))


@contextlib.contextmanager
def _open_stream(output: Path | None) -> Iterator[BinaryIO]:
    try:
        with Path(output).open("wb") if output else os.fdopen(os.dup(sys.stdout.fileno()), "wb") as sink:
            yield sink
    except OSError as error:
        where = str(output or "standard output")
        raise ResourceError(
            error.strerror or str(error), where=where, next_step=files.advice_on(error)
        ) from error


def _encoded(dataset: Dataset, encoder: LineEncoder, chunk: int) -> Iterator[memoryview]:
    for rows in dataset.blocks(*chunk_bounds(chunk, dataset.spec.count)):
        yield encoder.encode(rows).data.cast("B")
