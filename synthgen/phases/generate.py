"""Phase 3: a dataset into a file, into the null sink, or in order into a stream."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen.formats.chunks import OrderedDigest, PackedPlaces
from synthgen.formats.dataset_file import DatasetFile
from synthgen.formats.encoding import Encoding
from synthgen.formats.outputs import format_of
from synthgen.formats.placement import Placement, SizeChanged
from synthgen.generate.dataset import Dataset
from synthgen.phases.datasets import encoding_of
from synthgen.phases.inorder import Pieces, open_stream
from synthgen.phases.making import (
    Chunk,
    Effort,
    GenerateOptions,
    Job,
    Work,
    Written,
    check_budget,
    run_workers,
)
from synthgen.runtime import files
from synthgen.runtime.memory import Governor
from synthgen.runtime.progress import Progress
from synthgen.specs import Grid, Role, n_chunks

__all__ = ["GenerateOptions", "GenerateReport", "generate"]


@dataclass(frozen=True)
class GenerateReport:
    """What was made, by how many, how fast, and in how much memory (peak of the process tree).

    ``n_bytes``: of the file, or of what was written (of the null sink: without a tail). ``line_bytes``: of a
    row as a line of JSON, compressed or not; 0 where rows are none. ``dataset_fingerprint``: of the dataset
    that queries are meant for; of memories, their own.
    """

    output: str
    format: str
    rows: int
    rows_made: int
    n_bytes: int
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
        document = {**self.__dict__, "grid": self.grid.to_document(), "rows_per_s": self.rate_per_s}
        document["bytes"] = document.pop("n_bytes")
        return document

    @property
    def rate_per_s(self) -> float:
        """Rows made a second of this run."""
        return self.rows_made / self.elapsed_s if self.elapsed_s > 0 else 0.0


@dataclass(frozen=True)
class _Made:
    """What came of a run: the digest of all chunks, the bytes, the rows made now, and what it took."""

    digest: str
    n_bytes: int
    rows: int
    effort: Effort


def generate(dataset: Dataset, output: Path | None, options: GenerateOptions) -> GenerateReport:
    """Write the dataset to ``output`` (None: standard output) and return what was done.

    The format is that of the options, else what the name means, else JSON lines. A regular file appears under
    its name only when whole, with a manifest beside it; an interrupted one is continued by the same call. A
    file of another spec or format, or with more rows, is never touched, unless ``options.overwrite``.
    Anything but a regular file is streamed. Raises UsageError, InputError, ResourceError, WorkerDied, or
    Interrupted (resumable).
    """
    started_s = time.monotonic()
    if output is not None:
        files.refuse_folder(output)
    encoding = encoding_of(dataset, options.format or format_of(output))
    if output is None or (output.exists() and not output.is_file() and not _is_null(output)):
        made = _stream(dataset, encoding, output, options)
    elif output.exists() and _is_null(output):
        made = _discard(Job(dataset, encoding, output, in_place=False), options)
    else:
        made = _write_file(dataset, encoding, output, options)
    return _report(str(output or "-"), encoding, made, time.monotonic() - started_s)


def _is_null(path: Path) -> bool:
    mode = path.stat().st_mode
    return stat.S_ISCHR(mode) and path.stat().st_rdev == Path(os.devnull).stat().st_rdev


def _report(output: str, encoding: Encoding, made: _Made, elapsed_s: float) -> GenerateReport:
    spec = encoding.spec
    return GenerateReport(
        output=output,
        format=encoding.name,
        rows=spec.count,
        rows_made=made.rows,
        n_bytes=made.n_bytes,
        line_bytes=encoding.line_bytes,
        decimals_asked=spec.decimals,
        grid=encoding.layout.grid,
        role=spec.role,
        fingerprint=spec.fingerprint,
        dataset_fingerprint=spec.dataset_fingerprint,
        digest=made.digest,
        workers=made.effort.workers,
        elapsed_s=elapsed_s,
        peak_bytes=made.effort.peak_bytes,
    )


def _write_file(dataset: Dataset, encoding: Encoding, output: Path, options: GenerateOptions) -> _Made:
    """Make one regular file, or continue it."""
    job = Job(dataset, encoding, output, in_place=True)
    check_budget(job, options)
    rows_made, effort = 0, Effort()
    with DatasetFile(output, encoding) as file:
        manifest = None if options.overwrite else file.finished()
        if manifest is None:
            file.begin(overwrite=options.overwrite)
            rows_made, effort = _fill(file, Job(dataset, encoding, file.partial, in_place=True), options)
            manifest = file.finish()
    return _Made(manifest.digest, manifest.n_bytes, rows_made, effort)


def _fill(file: DatasetFile, job: Job, options: GenerateOptions) -> tuple[int, Effort]:
    """Make what is missing; return the rows made, and what it took."""
    rows_made, effort = 0, Effort()

    def finished(chunk: Chunk, written: Written) -> None:
        nonlocal rows_made
        file.record(chunk.number, written.digest)
        rows_made += chunk.stop - chunk.start

    while n_rows := file.n_missing_rows:
        placement = Placement(file.places) if isinstance(file.places, PackedPlaces) else None
        try:
            effort = run_workers(Work(job, file.missing(), n_rows, finished, placement), options)
        except SizeChanged as changed:  # another version encoded it: what follows has to move
            file.forget_from(changed.chunk)
    return rows_made, effort


def _discard(job: Job, options: GenerateOptions) -> _Made:
    """Make everything and keep nothing: the null sink that rates are measured against.

    What is held does not grow with the number of rows: a packed format gets no tail.
    """
    count, digest = job.dataset.spec.count, OrderedDigest()
    n_bytes = len(job.encoding.head())

    def finished(chunk: Chunk, written: Written) -> None:
        nonlocal n_bytes
        digest.add(chunk.number, written.digest)
        n_bytes += written.n_bytes

    effort = run_workers(Work(job, range(n_chunks(count)), count, finished), options)
    return _Made(digest.hexdigest(), n_bytes, count, effort)


def _stream(dataset: Dataset, encoding: Encoding, output: Path | None, options: GenerateOptions) -> _Made:
    """Write rows in order to standard output or a FIFO from this process: the pipe is slower than it."""
    check_budget(Job(dataset, encoding, output or Path("-"), in_place=False), options)
    spec = dataset.spec
    progress = Progress("generate", spec.count, spec.role, quiet=options.quiet)
    pieces = Pieces(dataset, encoding, progress)
    with open_stream(output) as sink:
        sink.writelines(pieces)
    progress.finish(f"{spec.count:,} {spec.role}")
    effort = Effort(1, Governor(options.memory_budget_bytes).sample())
    return _Made(pieces.digest, pieces.n_bytes, spec.count, effort)
