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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from synthgen.errors import EXIT_OK, EXIT_UNPROVEN, InputError, ResourceError, UsageError
from synthgen.fidelity import FidelityReport
from synthgen.formats.jsonl import LineLayout
from synthgen.formats.manifest import manifest_path, read_manifest
from synthgen.formats.source import EncodedSource
from synthgen.generate.dataset import Dataset
from synthgen.ingest import IngestReport, ingest
from synthgen.model.centroids import LAW as ISOTROPIC_LAW
from synthgen.model.centroids import load_centroids, read_about
from synthgen.model.mixture import LAW as MIXTURE_LAW
from synthgen.phases.centroids import CentroidOptions, extract_centroids
from synthgen.phases.datasets import make_dataset, open_input, source_of, warn_of_noise
from synthgen.phases.deliver import check_target, database_target
from synthgen.phases.embedded import EmbeddedServer
from synthgen.phases.generate import GenerateOptions, GenerateReport, generate
from synthgen.phases.realism import RealismOptions, fit_and_hold_out, judge_dataset
from synthgen.phases.report import Stage, print_run, print_stage
from synthgen.runtime import files
from synthgen.specs import (
    DEFAULT_COUNT,
    DEFAULT_SEED,
    DatasetSpec,
    IngestSpec,
    ModelRef,
    RowSource,
    describe_difference,
)
from synthgen.wiki.foundation import DECIMALS, Foundation

#: Bytes on disk a memory in the embedded server, measured (bench/), with room for its log.
_DATABASE_BYTES_A_ROW = 4_600
#: Bytes of a line at 768 dimensions and 6 decimals, for the estimate before titles are known.
_LINE_BYTES = 7_900


@dataclass(frozen=True)
class RunOptions:
    """What ``synthgen run`` was asked for.

    ``endpoint`` None starts the embedded server on ``data_dir``; ``std_dev`` None fits a model to the real
    memories, else the isotropic law with this noise is taken, and not judged.
    """

    output_dir: Path
    count: int = DEFAULT_COUNT
    seed: int = DEFAULT_SEED
    std_dev: float | None = None
    confidence: float = 0.7
    decimals: int = 6
    n_centroids: int = 100
    data_dir: Path | None = None
    endpoint: str | None = None
    space: str | None = None
    workers: int = 0
    memory_budget_bytes: int = 4_000_000_000
    concurrent: int = 20
    batch_size: int = 1_000
    processes: int = 0
    verify: bool = True
    quiet: bool = False

    def __post_init__(self) -> None:
        # Checked before anything starts; the model is not known yet, and no part of the check.
        DatasetSpec(ModelRef(MIXTURE_LAW if self.is_fitted else ISOTROPIC_LAW, "", 768), **self.parameters)
        IngestSpec("", Path(), self.concurrent, self.batch_size, self.processes)
        GenerateOptions(self.workers, self.memory_budget_bytes)
        check_target(self.endpoint, self.space)
        if self.n_centroids < 1:
            raise UsageError(f"--num-centroids must be at least 1, not {self.n_centroids}")
        if self.endpoint is not None and self.data_dir is not None:
            raise UsageError(
                "--endpoint and --data-dir exclude each other: the latter is the embedded server's"
            )

    @property
    def parameters(self) -> dict[str, Any]:
        """The part that a dataset's spec holds."""
        names = ("count", "seed", "std_dev", "confidence", "decimals")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def is_fitted(self) -> bool:
        """Whether the law is the one fitted to the real memories."""
        return self.std_dev is None

    @property
    def server_dir(self) -> Path:
        """The embedded server's folder."""
        return self.data_dir or self.output_dir / "server"

    @property
    def centroids(self) -> Path:
        """Where phase 2 puts its result."""
        return self.output_dir / "centroids.npy"

    @property
    def model(self) -> Path:
        """The model that rows are drawn from."""
        return self.output_dir / "model.npz" if self.is_fitted else self.centroids

    @property
    def held_out(self) -> Path:
        """Real memories that the fit did not see."""
        return self.output_dir / "heldout.npy"

    @property
    def page(self) -> Path:
        """Where the verdict is drawn."""
        return self.output_dir / "fidelity.html"

    @property
    def synthetic(self) -> Path:
        """Where phase 3 puts its result."""
        return self.output_dir / "synthetic.jsonl"


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
    _check_before(options)
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
    print_stage(Stage(2, "extract centroids", str(options.centroids)), quiet=options.quiet)
    state.centroids = _centroids(state)
    if options.is_fitted:
        print_stage(Stage(2, "fit the geometry", str(options.model)), quiet=options.quiet)
        state.fit = fit_and_hold_out(_realism(state))
    print_stage(Stage(3, "generate", str(options.synthetic)), quiet=options.quiet)
    state.dataset = make_dataset(options.model, options.output_dir, **options.parameters)
    if not options.quiet:
        warn_of_noise(state.dataset)
    state.generated = generate(
        state.dataset,
        options.synthetic,
        GenerateOptions(options.workers, options.memory_budget_bytes, quiet=options.quiet),
    )
    print_stage(Stage(4, "store synthetic memories", state.endpoint), quiet=options.quiet)
    state.ingested = ingest(
        open_input(options.synthetic), _ingest_spec(state, "synthetic"), truth=source_of(state.dataset)
    )
    if options.is_fitted:
        print_stage(Stage(5, "judge the geometry", str(options.page)), quiet=options.quiet)
        state.fidelity = judge_dataset(state.dataset, options.held_out, options.page, quiet=options.quiet)


def _realism(state: RunState) -> RealismOptions:
    options = state.options
    return RealismOptions(
        endpoint=state.endpoint,
        spaces=(options.space,) if options.space else (),
        model=options.model,
        held_out=options.held_out,
        seed=options.seed,
        quiet=options.quiet,
    )


def foundation_source() -> RowSource:
    """Return the built-in foundation as rows to send."""
    maker = Foundation()
    layout = LineLayout.of(maker, maker.dimension, DECIMALS)
    return EncodedSource(maker, layout, maker.n_rows, maker.digest, "built-in foundation")


def _ingest_spec(state: RunState, name: str) -> IngestSpec:
    options = state.options
    # A database made anew is another target: its ledger must not speak for the old one.
    label = "".join(c if c.isalnum() else "-" for c in state.target or state.endpoint)
    folder = options.output_dir / "ledgers"
    folder.mkdir(exist_ok=True)
    return IngestSpec(
        endpoint=state.endpoint,
        ledger=folder / f"{name}-{label}.jsonl",
        concurrent=options.concurrent,
        batch_size=options.batch_size,
        processes=options.processes,
        spaces=(options.space,) if options.space else (),
        verify=options.verify,
        quiet=options.quiet,
        target=state.target,
    )


def _centroids(state: RunState) -> dict[str, Any]:
    """Extract centroids, or take those that an earlier run of this folder extracted."""
    options = state.options
    if options.centroids.exists():
        model = load_centroids(options.centroids)
        about = read_about(options.centroids)
        if about.get("model_digest") == model.digest:
            return {**about, "digest": model.digest, "already_there": True}
    return extract_centroids(
        CentroidOptions(
            endpoint=state.endpoint,
            output=options.centroids,
            spaces=(options.space,) if options.space else (),
            n_centroids=options.n_centroids,
            seed=options.seed,
            quiet=options.quiet,
        )
    )


def _check_before(options: RunOptions) -> None:
    """Refuse what cannot end well before anything is touched."""
    about = read_about(options.centroids) if options.centroids.exists() else {}
    wanted = {"num_centroids": options.n_centroids, "seed": options.seed}
    other = [
        f"{key} {about[key]} -> {value}" for key, value in wanted.items() if about.get(key, value) != value
    ]
    beside = manifest_path(options.synthetic)
    if beside.exists():
        old = read_manifest(beside).spec
        law = MIXTURE_LAW if options.is_fitted else ISOTROPIC_LAW
        new = DatasetSpec(replace(old.model, law=law), **options.parameters)
        other += [text for text in [describe_difference(old, new)] if text]
        if old.count > new.count:
            other.append(f"count {old.count:,} -> {new.count:,}")
    if other:
        raise InputError(
            f"holds another run ({', '.join(other)})",
            where=str(options.output_dir),
            next_step="choose another --output-dir, or give the flags of that run",
        )
    for folder, needed_bytes in _missing_bytes(options).items():
        files.check_free_space(folder, needed_bytes)


def _existing_parent(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _missing_bytes(options: RunOptions) -> dict[Path, int]:
    """Return how much disk the run will still take, by estimate, in which existing folder."""
    there = options.synthetic.stat().st_size if options.synthetic.exists() else 0
    missing = {_existing_parent(options.output_dir): max(0, options.count * _LINE_BYTES - there)}
    if options.endpoint is None:
        database = (options.count + Foundation().n_rows) * _DATABASE_BYTES_A_ROW
        held = sum(f.stat().st_size for f in options.server_dir.glob("*") if f.is_file())
        folder = _existing_parent(options.server_dir)
        same_disk = next((known for known in missing if known.stat().st_dev == folder.stat().st_dev), folder)
        missing[same_disk] = missing.get(same_disk, 0) + max(0, database - held)
    return missing


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


def plan_text(options: RunOptions) -> str:
    """Return what a run would do, for a person."""
    target = (
        options.endpoint or f"the embedded server on {options.server_dir} (started and stopped by the run)"
    )
    rows = Foundation().n_rows
    law = (
        f"fit a model of their geometry into {options.model}, but for a fifth, which judges it"
        if options.is_fitted
        else f"isotropic law, noise of {options.std_dev:g} per component"
    )
    lines = [
        f"1. store    {rows:,} real memories (built-in foundation) in {target}",
        f"2. extract  {options.n_centroids} centroids from it, over HTTP, into {options.centroids}",
        f"   {law}",
        f"3. generate {options.count:,} memories with seed {options.seed} into {options.synthetic}, "
        f"about {options.count * _LINE_BYTES / 1e9:.1f} GB",
        f"4. store    them over {options.concurrent} connections, "
        + ("read everything back and recompute it" if options.verify else "without reading back (exit 4)"),
        f"disk still needed: about {sum(_missing_bytes(options).values()) / 1e9:.1f} GB; nothing was touched",
    ]
    return "\n".join(lines)
