"""The main job: all phases, one after the other, into one folder and one database.

    phase 1  built-in foundation ──ingest──> database
    phase 2  database ──listing──> centroids.npy, .json, model.npz, heldout.npy
    phase 3  model ──generate──> synthetic.jsonl, .manifest.json
    phase 4  synthetic.jsonl ──ingest──> database, read back and recomputed from the seed
    verdict  synthetic rows against the held-out real ones: fidelity.html

Each phase leaves its result under a final name only when whole, so that the same command continues after a
kill, and says what is there already.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from synthgen.errors import EXIT_OK, EXIT_UNPROVEN, InputError, ResourceError
from synthgen.fidelity import FidelityReport
from synthgen.generate.dataset import Dataset
from synthgen.ingest import IngestReport, ingest
from synthgen.model.centroids import load_centroids, read_about
from synthgen.phases.centroids import CentroidOptions, centroids_of
from synthgen.phases.datasets import make_dataset, open_input, source_of, warn_of_noise
from synthgen.phases.deliver import database_target, ledger_in
from synthgen.phases.embedded import EmbeddedServer
from synthgen.phases.foundation import foundation_source
from synthgen.phases.generate import GenerateOptions, GenerateReport, generate
from synthgen.phases.memories import RealMemories
from synthgen.phases.preflight import check_before, plan_text
from synthgen.phases.realism import RealismOptions, fit_and_hold_out, judge_dataset
from synthgen.phases.report import Stage, print_run, print_stage
from synthgen.phases.run_options import RunOptions
from synthgen.runtime import files
from synthgen.specs import IngestSpec


@dataclass
class RunState:
    """What the phases have to tell, for the table and for ``run.json``."""

    options: RunOptions
    endpoint: str = ""
    target: str = ""
    foundation: IngestReport | None = None
    centroids: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)
    dataset: Dataset | None = None
    generated: GenerateReport | None = None
    ingested: IngestReport | None = None
    fidelity: FidelityReport | None = None
    elapsed_s: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 when everything is proven, 4 when it was not to be, else that of the phase that failed."""
        reports = [report for report in (self.foundation, self.ingested) if report is not None]
        codes = {report.exit_code for report in reports}
        worst = codes - {EXIT_OK, EXIT_UNPROVEN}
        return max(worst) if worst else max(codes, default=EXIT_OK)


def run(options: RunOptions, *, dry_run: bool = False, as_json: bool = False) -> int:
    """Run all phases; return the exit code. ``dry_run`` shows the plan and touches nothing."""
    if dry_run:
        print(plan_text(options))
        return EXIT_OK
    state = RunState(options)
    started_s = time.monotonic()
    check_before(options)
    with _own_folder(options), _database(options) as endpoint:
        state.endpoint = endpoint
        state.target = database_target(endpoint)
        _run_phases(state)
    state.elapsed_s = time.monotonic() - started_s
    print_run(state, as_json=as_json)
    return state.exit_code


def _run_phases(state: RunState) -> None:
    options = state.options
    print_stage(Stage(1, "store real memories", "built-in foundation"), quiet=options.quiet)
    state.foundation = ingest(foundation_source(), _ingest_spec(state, "foundation"))
    if state.foundation.exit_code not in (EXIT_OK, EXIT_UNPROVEN):
        return
    with RealMemories(state.endpoint, options.spaces, options.output_dir, quiet=options.quiet) as memories:
        print_stage(Stage(2, "extract centroids", str(options.centroids)), quiet=options.quiet)
        state.centroids = _centroids(state, memories)
        if options.is_fitted:
            print_stage(Stage(2, "fit the geometry", str(options.model)), quiet=options.quiet)
            state.fit = fit_and_hold_out(memories, _realism(options))
    print_stage(Stage(3, "generate", str(options.synthetic)), quiet=options.quiet)
    state.dataset = make_dataset(options.model, options.output_dir, **options.parameters)
    if not options.quiet:
        warn_of_noise(state.dataset)
    state.generated = _generate(state.dataset, options)
    print_stage(Stage(4, "store synthetic memories", state.endpoint), quiet=options.quiet)
    state.ingested = ingest(
        open_input(options.synthetic), _ingest_spec(state, "synthetic"), truth=source_of(state.dataset)
    )
    if options.is_judged:
        print_stage(Stage(5, "judge the geometry", str(options.page)), quiet=options.quiet)
        state.fidelity = judge_dataset(state.dataset, options.held_out, options.page, quiet=options.quiet)


def _realism(options: RunOptions) -> RealismOptions:
    return RealismOptions(options.model, options.held_out, options.seed, options.quiet)


def _generate(dataset: Dataset, options: RunOptions) -> GenerateReport:
    how = GenerateOptions(options.workers, options.memory_budget_bytes, quiet=options.quiet)
    try:
        return generate(dataset, options.synthetic, how)
    except InputError as error:  # what it would advise are flags that a run does not have
        raise InputError(
            error.what, where=error.where, next_step="see to it, or choose another --output-dir"
        ) from error


def _ingest_spec(state: RunState, name: str) -> IngestSpec:
    options = state.options
    folder = options.output_dir / "ledgers"
    folder.mkdir(exist_ok=True)
    return IngestSpec(
        endpoint=state.endpoint,
        ledger=ledger_in(folder, name, state.target or state.endpoint),
        concurrent=options.concurrent,
        batch_size=options.batch_size,
        processes=options.processes,
        spaces=options.spaces,
        verify=options.verify,
        quiet=options.quiet,
        target=state.target,
    )


def _centroids(state: RunState, memories: RealMemories) -> dict[str, Any]:
    """Extract centroids, or take those that an earlier run of this folder extracted."""
    options = state.options
    if options.centroids.exists():
        model = load_centroids(options.centroids)
        about = read_about(options.centroids)
        if about.get("model_digest") == model.digest:
            return {**about, "digest": model.digest, "already_there": True}
    wanted = CentroidOptions(
        endpoint=state.endpoint,
        output=options.centroids,
        spaces=options.spaces,
        n_centroids=options.n_centroids,
        seed=options.seed,
        quiet=options.quiet,
    )
    return centroids_of(memories, wanted)


@contextlib.contextmanager
def _own_folder(options: RunOptions) -> Iterator[None]:
    with files.explain_os_errors(options.output_dir):
        options.output_dir.mkdir(parents=True, exist_ok=True)
        lock = files.FileLock(options.output_dir / ".run.lock")
        free = lock.acquire()
    if not free:
        raise ResourceError(
            f"another run (process {lock.holder()}) works in this folder",
            where=str(options.output_dir),
            next_step="wait for it, or choose another --output-dir",
        )
    try:
        yield
    finally:
        lock.remove()


@contextlib.contextmanager
def _database(options: RunOptions) -> Iterator[str]:
    if options.endpoint is not None:
        yield options.endpoint
        return
    with EmbeddedServer(options.server_dir, options.output_dir / "server.log") as server:
        yield server.endpoint
