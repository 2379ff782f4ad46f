"""What a phase came to: a few lines for people, JSON for scripts."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from synthgen.runtime.files import write_json
from synthgen.runtime.progress import end_living_line, format_duration

if TYPE_CHECKING:  # a generating process loads no HTTP client for a type
    from synthgen.phases.generate import GenerateReport
    from synthgen.phases.plan import GeneratePlan
    from synthgen.phases.run import RunState


class Report(Protocol):
    """What ingest and verify return."""

    @property
    def exit_code(self) -> int: ...  # noqa: D102

    def to_document(self) -> dict[str, Any]: ...  # noqa: D102

    def lines(self) -> list[str]: ...  # noqa: D102


@dataclass(frozen=True)
class Stage:
    """A phase about to begin."""

    number: int
    what: str
    where: str


def print_stage(stage: Stage, *, quiet: bool) -> None:
    """Announce a phase on standard error."""
    if not quiet:
        end_living_line()
        print(f"phase {stage.number}: {stage.what} ({stage.where})", file=sys.stderr, flush=True)


def print_json(document: dict[str, Any], stream: TextIO | None = None) -> None:
    """Print a final report as one JSON document."""
    print(json.dumps(document, indent=2, ensure_ascii=False), file=stream)


def print_report(report: Report, *, as_json: bool, stream: TextIO | None = None) -> int:
    """Print what a phase came to, on standard output or ``stream``; return its exit code."""
    if as_json:
        print_json(report.to_document(), stream)
    else:
        print("\n".join(report.lines()), file=stream)
    return report.exit_code


def print_centroids(about: dict[str, Any], output: Path, *, as_json: bool) -> None:
    """Print what phase 2 found."""
    if as_json:
        print_json({**about, "output": str(output)})
        return
    sizes = about["cluster_sizes"]
    print(
        f"{about['num_centroids']} centroids of {about['num_source_embeddings']:,} memories in {output} "
        f"({about['num_synthetic_left_out']:,} synthetic ones left out): clusters of {min(sizes)} to "
        f"{max(sizes)}, inertia {about['inertia']:,.1f}, model {about['digest'][:16]}"
    )


def print_fit(about: dict[str, Any], *, as_json: bool) -> None:
    """Print what was fitted."""
    if as_json:
        print_json(about)
        return
    print(
        f"a model of {about['n_fit_rows']:,} of {about['n_source_rows']:,} rows in {about['output']} "
        f"({format_duration(about['elapsed_s'])}): digest {about['digest'][:16]}"
    )


def print_generated(report: GenerateReport, *, as_json: bool) -> None:
    """Print what phase 3 made; on standard error when the rows themselves went to standard output."""
    stream = sys.stderr if report.output == "-" else sys.stdout
    if as_json:
        print(json.dumps(report.to_document(), indent=2), file=stream)
        return
    size = report.n_bytes / 1e9
    if report.rows_made == 0:
        made = "already there: nothing made"
    else:
        made = (
            f"{report.rows_made:,} made in {format_duration(report.elapsed_s)} by {report.workers} workers: "
            f"{report.rate_per_s:,.0f}/s, peak memory {report.peak_bytes / 1e6:,.0f} MB"
        )
    print(
        f"{report.rows:,} {report.role} ({report.format}, {size:,.2f} GB) in {report.output}, {made}\n"
        f"{_numbers(report)}{_meant_for(report)}"
        f"fingerprint {report.fingerprint[:16]}, digest {report.digest[:16]}",
        file=stream,
    )


def _numbers(report: GenerateReport) -> str:
    """Return a line on the width of numbers where it is not what was asked for; nothing where it is."""
    told = report.grid.describe(report.decimals_asked)
    return f"numbers have {told}\n" if told else ""


def print_plan(plan: GeneratePlan, *, as_json: bool) -> None:
    """Print what phase 3 would make."""
    if as_json:
        print_json(plan.to_document())
    else:
        print("\n".join(plan.lines()))


def _meant_for(report: GenerateReport) -> str:
    """Return a line that names the dataset that queries are meant for; nothing for memories."""
    if report.fingerprint == report.dataset_fingerprint:
        return ""
    return f"for the dataset with fingerprint {report.dataset_fingerprint[:16]}\n"


def print_run(state: RunState, *, as_json: bool) -> None:
    """Print the final table of a run, and keep it as run.json."""
    document = run_document(state)
    write_json(state.options.output_dir / "run.json", document)
    if as_json:
        print_json(document)
        return
    print("\n".join(_table(_rows(state)) + _failures(state) + _hints(state)))


def run_document(state: RunState) -> dict[str, Any]:
    """Return everything a run has to tell as a JSON document."""
    return {
        "exit_code": state.exit_code,
        "elapsed_s": state.elapsed_s,
        "endpoint": state.endpoint,
        "target": state.target,
        "data_dir": None if state.options.endpoint else str(state.options.server_dir),
        "foundation": state.foundation.to_document() if state.foundation else None,
        "centroids": state.centroids,
        "fit": state.fit,
        "spec": state.dataset.spec.to_document() if state.dataset else None,
        "generated": state.generated.to_document() if state.generated else None,
        "ingested": state.ingested.to_document() if state.ingested else None,
        "fidelity": state.fidelity.to_document() if state.fidelity else None,
    }


def _rows(state: RunState) -> list[tuple[str, str, str, str, str]]:
    """Return the lines of the table: what, where, how many, how fast, digest."""
    options = state.options
    database = options.endpoint or str(options.server_dir)
    rows = [("", "where", "rows", "rate", "digest")]
    if state.foundation:
        rows.append(_stored("real memories", database, state.foundation, "foundation"))
    if state.centroids:
        there = "already there" if state.centroids.get("already_there") else ""
        count = f"{state.centroids['num_centroids']:,}"
        rows.append(("centroids", str(options.centroids), count, there, state.centroids["digest"][:16]))
    if state.fit:
        there = "already there" if state.fit.get("already_there") else ""
        count = f"{state.fit['n_fit_rows']:,}"
        rows.append(("fitted model", str(options.model), count, there, state.fit["digest"][:16]))
    if state.generated:
        made = state.generated
        rate = f"{made.rate_per_s:,.0f}/s" if made.rows_made else "already there"
        rows.append(("synthetic file", str(options.synthetic), f"{made.rows:,}", rate, made.digest[:16]))
    if state.ingested:
        fingerprint = state.dataset.spec.fingerprint[:16] if state.dataset else ""
        rows.append(_stored("synthetic memories", database, state.ingested, fingerprint))
    for name, report in (("proof, real", state.foundation), ("proof, synthetic", state.ingested)):
        if report and report.verification:
            proof = report.verification
            rate = f"{proof.n_expected / proof.elapsed_s:,.0f}/s" if proof.elapsed_s else ""
            verdict = "all read back and equal" if proof.is_proven else "NOT proven"
            rows.append((name, verdict, f"{proof.n_found:,}", rate, "recomputed"))
    return rows


def _stored(what: str, where: str, report: Any, digest: str) -> tuple[str, str, str, str, str]:
    rate = f"{report.rate_per_s:,.0f}/s" if report.n_acked_now else "already there"
    return what, where, f"{report.n_acked:,}", rate, digest


def _table(rows: list[tuple[str, str, str, str, str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    numeric = (2, 3)
    return [
        "  ".join(
            cell.rjust(width) if i in numeric else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _failures(state: RunState) -> list[str]:
    lines: list[str] = []
    for report in (state.foundation, state.ingested):
        if report is not None and report.exit_code == 1:
            lines += ["", *report.lines()]
    return lines


def _hints(state: RunState) -> list[str]:
    options = state.options
    seconds = format_duration(state.elapsed_s)
    program = Path(sys.argv[0])
    if program.is_absolute() and program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    command = shlex.quote(str(program)) if program.name == "synthgen" else "python -m synthgen"
    verb = "done" if state.exit_code == 0 else "ended"
    lines = [
        "",
        f"{verb} in {seconds} (details: {options.output_dir}/run.json)",
    ]
    if state.fidelity is not None:
        lines += [f"geometry: {state.fidelity.headline()}", f"  charts: {options.page}"]
    elif options.is_fitted and not options.is_judged:
        lines.append(f"geometry: not judged, {options.count:,} memories are too few")
    if state.dataset is None:
        return lines
    example = state.dataset.spec.memory_id(0)
    if options.endpoint is None:
        folder = shlex.quote(str(options.server_dir))
        lines += [
            "look at it:",
            f"  {command} serve --data-dir {folder}",
            f"  curl http://127.0.0.1:7432/api/v1/memories/{example}",
            "  curl 'http://127.0.0.1:7432/api/v1/memories/search?query=piano&limit=5'",
            f"  sqlite3 {folder}/memories.db 'select id, content from memories limit 5'",
        ]
    if options.count < 950_000:
        folder = shlex.quote(str(options.output_dir.parent / "synthgen-950k"))
        lines += [
            "at full size (950,000 memories, about 12 GB of disk):",
            f"  {command} run --output-dir {folder}",
        ]
    return lines
