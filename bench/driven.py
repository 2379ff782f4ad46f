"""``python -m bench.driven MODEL COUNT WORKERS OUTPUT [idle]``: a run of generate, what its parent spent."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from synthgen.phases import making
from synthgen.phases.datasets import builtin_model, make_dataset
from synthgen.phases.generate import GenerateOptions, generate
from synthgen.phases.making import Job, Written
from synthgen.runtime.pool import Channel


def main() -> None:
    """Run, and print seconds as JSON: elapsed, and CPU time of the parent, of its thread that syncs the file
    (which holds nobody up), and of its workers.

    MODEL: a .npy of centroids, for the isotropic law with a std-dev of 0.1, or ``-`` for the built-in model.
    With ``idle`` workers make nothing and say that they have, so that the parent never waits.
    """
    model, count, workers, output, *idle = sys.argv[1:]
    if idle:
        making._write_chunks = make_nothing
    path, parameters = (builtin_model(), {}) if model == "-" else (Path(model), {"std_dev": 0.1})
    dataset = make_dataset(path, Path(), count=int(count), **parameters)
    before, thread_before_s = _cpu_s(resource.RUSAGE_SELF), time.thread_time()
    report = generate(dataset, Path(output), GenerateOptions(workers=int(workers), quiet=True))
    parent_s = time.thread_time() - thread_before_s
    sync_s = _cpu_s(resource.RUSAGE_SELF) - before - parent_s
    found = {
        "parent_cpu_s": parent_s,
        "sync_cpu_s": sync_s,
        "workers_cpu_s": _cpu_s(resource.RUSAGE_CHILDREN),
    }
    print(json.dumps({"elapsed_s": report.elapsed_s, "bytes": report.n_bytes, **found}))


def make_nothing(channel: Channel, job: Job) -> None:
    """In place of a worker's work."""
    while (assignment := channel.get()) is not None:
        channel.done(assignment.number, Written(f"{assignment.number + 1:032x}", 1))


def _cpu_s(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
