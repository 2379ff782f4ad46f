"""Chunks made by a pool of workers, each written by the worker that made it.

Of a fixed format the place of a chunk is known:

    parent: chunk number ──> worker: make rows, encode, pwrite, hash ──> parent: digest into the journal

Of a packed one the worker asks for it, and makes the next chunk meanwhile:

    parent: chunk number ──> worker: make rows, encode ──> parent: size; sizes of all chunks before are known
                             worker: pwrite, hash <── place ──┘
                                       └──> parent: digest into the journal

Rows never pass through the parent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import xxhash

from synthgen.errors import Interrupted, UsageError
from synthgen.formats.encoding import ChunkPacker, Encoding
from synthgen.formats.placement import Placement
from synthgen.generate.dataset import Dataset
from synthgen.runtime import files
from synthgen.runtime.interrupts import Interrupts
from synthgen.runtime.memory import Governor, available_cores
from synthgen.runtime.placed import Discard, PlacedWriter, Sink
from synthgen.runtime.pool import Assignment, Channel, Done, Note, Pool, Restarted
from synthgen.runtime.progress import Progress
from synthgen.specs import chunk_bounds, n_chunks

#: Measured as PSS (tests/phases/test_generate_memory.py): this process and the one that the interpreter
#: starts beside it, with the libraries that all share; and what each worker adds, with its scratch.
_BASE_BYTES, _WORKER_BYTES = 50_000_000, 32_000_000
#: What a model adds to them, in its own size: as read, as all workers share it, and in the units of the law;
#: and in each worker in the units of the law. While those of the isotropic law are made, they take more.
_MODEL_SHARES = {"isotropic": (6.0, 5.0), "mixture": (5.0, 1.7)}
#: Chunks a worker holds: one being written, one being made, one to go on with or that waits for its place.
_IN_FLIGHT = 3


@dataclass(frozen=True)
class GenerateOptions:
    """How to make a file. ``workers`` 0: as many as cores; ``format`` None: what the name of the file means.

    But for the format, nothing here changes a byte of it.
    """

    workers: int = 0
    memory_budget_bytes: int = 4_000_000_000
    overwrite: bool = False
    quiet: bool = False
    format: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.workers <= 1_024:
            raise UsageError(f"--workers must be a whole number from 0 to 1,024, not {self.workers}")


@dataclass(frozen=True)
class Job:
    """What a worker needs: the rows, the format, and the file; ``in_place`` is false for the null sink."""

    dataset: Dataset
    encoding: Encoding
    path: Path
    in_place: bool

    @property
    def is_placed(self) -> bool:
        """Whether workers have to ask where chunks lie."""
        return self.in_place and not self.encoding.row_bytes


@dataclass(frozen=True)
class Chunk:
    """A chunk as a task, so that messages can name its rows."""

    number: int
    start: int
    stop: int

    def __str__(self) -> str:
        return f"chunk {self.number} (rows {self.start:,} to {self.stop - 1:,})"


@dataclass(frozen=True)
class Written:
    """A chunk's bytes are where they belong: how many, and their XXH3-128 (hex)."""

    digest: str
    n_bytes: int


@dataclass(frozen=True)
class Work:
    """The chunks ``todo`` of ``job``, ``n_rows`` rows in all; ``finished`` hears of each that is written.

    ``placement`` tells where chunks lie, where the job ``is_placed``.
    """

    job: Job
    todo: Iterable[int]
    n_rows: int
    finished: Callable[[Chunk, Written], None]
    placement: Placement | None = None


@dataclass(frozen=True)
class Effort:
    """What it took: how many workers, and the largest size of the process tree in bytes."""

    workers: int = 0
    peak_bytes: int = 0


def check_budget(job: Job, options: GenerateOptions) -> None:
    """Raise ResourceError where the memory budget holds not one worker; nothing is touched."""
    _plan_workers(Governor(options.memory_budget_bytes), job, options, 1)


def run_workers(work: Work, options: GenerateOptions) -> Effort:
    """Make the chunks of ``work`` by a pool of workers.

    Raises Interrupted when the user stops it, WorkerDied, SizeChanged (placement.py), and what workers raise.
    """
    spec, job = work.job.dataset.spec, work.job
    governor = Governor(options.memory_budget_bytes)
    workers = _plan_workers(governor, job, options, n_chunks(work.n_rows))
    target = _pack_chunks if job.is_placed else _write_chunks
    tasks = (Chunk(number, *chunk_bounds(number, spec.count)) for number in work.todo)
    progress = Progress("generate", spec.count, spec.role, quiet=options.quiet)
    done = spec.count - work.n_rows
    progress.start_at(done)
    with Interrupts() as interrupts, Pool(target, (job,), workers, in_flight=_IN_FLIGHT) as pool:
        for event in pool.run(tasks, admit=governor.admits):
            if isinstance(event, Done):
                work.finished(event.task, event.value)
                done += event.task.stop - event.task.start
                governor.sample(now=done == spec.count)  # a short run is over before the first one
            elif work.placement is not None:
                _place(event, work.placement, pool)
            progress.update(done)
            if interrupts.requested:
                pool.stop()
    progress.finish(f"{done:,} of {spec.count:,} {spec.role}")
    if done < spec.count:
        raise Interrupted(
            f"stopped after {done:,} of {spec.count:,} rows",
            next_step="the same command continues from there" if job.in_place else "",
        )
    return Effort(workers, governor.peak_bytes)


def _plan_workers(governor: Governor, job: Job, options: GenerateOptions, n_tasks: int) -> int:
    wanted = min(options.workers or available_cores(), max(1, n_tasks))
    shares = _MODEL_SHARES[job.dataset.spec.model.law]
    base_bytes, worker_bytes = (int(share * job.dataset.model_bytes) for share in shares)
    worker_bytes += _WORKER_BYTES + job.encoding.worker_bytes
    return governor.plan_workers(wanted, base_bytes + _BASE_BYTES, worker_bytes)


def _place(event: Note | Restarted | None, placement: Placement, pool: Pool) -> None:
    """Tell workers where the chunks lie that they have encoded."""
    if isinstance(event, Note):
        number, n_bytes = event.value
        for answer in placement.offer(number, n_bytes, event.worker):
            pool.tell(answer.asker, (answer.chunk, answer.start))
    elif isinstance(event, Restarted):
        for chunk in event.tasks:
            placement.withdraw(chunk.number)


def _write_chunks(channel: Channel, job: Job) -> None:
    """Make, encode, hash and write the chunks that come, each in its place (in a worker).

    A chunk is reported once it is written, which is while the next one is made.
    """
    encoder, head_bytes = job.encoding.open(), len(job.encoding.head())
    with files.explain_os_errors(job.path):
        writing = _Writing(channel, PlacedWriter(job.path) if job.in_place else Discard(job.path))
        while writing.settle() and (assignment := channel.get()) is not None:
            chunk: Chunk = assignment.task
            pieces = encoder.encode(job.dataset, chunk.start, chunk.stop)
            writing.write(assignment.number, pieces, head_bytes + chunk.start * job.encoding.row_bytes)


def _pack_chunks(channel: Channel, job: Job) -> None:
    """Make and encode the chunks that come, ask for their places, hash and write them (in a worker)."""
    packer = cast(ChunkPacker, job.encoding.open())
    held: dict[int, tuple[int, memoryview, memoryview]] = {}
    spare: list[memoryview] = []
    with files.explain_os_errors(job.path):
        writing = _Writing(channel, PlacedWriter(job.path))
        while writing.settle() and (message := channel.receive()) is not None:
            if isinstance(message, Assignment):
                chunk: Chunk = message.task
                buffer = spare.pop() if spare else np.empty(packer.capacity_bytes, np.uint8).data
                data = packer.pack(job.dataset, range(chunk.start, chunk.stop), buffer)
                held[chunk.number] = (message.number, buffer, data)
                channel.note((chunk.number, len(data)))
            else:
                number, start = message.value
                task, buffer, data = held.pop(number)
                writing.write(task, [data], start)
                spare.append(buffer)


class _Writing:
    """Chunks on their way into a sink; the last one is reported when the next is made, or none has come."""

    def __init__(self, channel: Channel, sink: Sink) -> None:
        self._channel, self._sink = channel, sink
        self._last: tuple[int, int, Written] | None = None

    def write(self, assignment: int, pieces: Iterable[memoryview], at: int) -> None:
        """Hash and write the chunk of ``assignment`` at byte ``at``; report the one before."""
        hasher, n_bytes = xxhash.xxh3_128(), 0
        self._sink.begin(at)
        for piece in pieces:
            hasher.update(piece)
            self._sink.add(piece)
            n_bytes += len(piece)
        ticket = self._sink.end()
        self._report()
        self._last = assignment, ticket, Written(hasher.hexdigest(), n_bytes)

    def settle(self) -> bool:
        """Report the last chunk where there is nothing else to do; return True."""
        if self._last is not None and not self._channel.poll():
            self._report()
        return True

    def _report(self) -> None:
        if self._last is not None:
            assignment, ticket, written = self._last
            self._sink.wait(ticket)
            self._last = None
            self._channel.done(assignment, written)
