"""Phase 4 as commands of their own: what a user names becomes a source, a truth and a ledger."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synthgen.errors import InputError, UsageError
from synthgen.formats.manifest import manifest_path
from synthgen.formats.source import DatasetFileSource, HeadSource
from synthgen.ingest import IngestReport, VerifyReport, check_health, ingest, verify
from synthgen.ingest.endpoint import parse_endpoint
from synthgen.ingest.engram import check_space
from synthgen.phases.datasets import load_dataset, open_input, source_of
from synthgen.specs import DEFAULT_ENDPOINT, IngestSpec, RowSource


@dataclass(frozen=True)
class NamedRows:
    """Rows to send, what to recompute them from, and where their ledger lies unless told otherwise."""

    source: RowSource
    truth: RowSource
    default_ledger: Path


def open_named(input_: Path | None, spec: Path | None, limit: int | None = None) -> NamedRows:
    """Return the rows of a file or of a spec, the first ``limit`` of them where given.

    The truth of a generated file is its spec, so that it is checked against the seed and not against itself;
    where the model is not at hand, the file is checked against its manifest alone.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, not {limit}")
    if spec is not None:
        dataset_rows = source_of(load_dataset(spec))
        named = NamedRows(dataset_rows, dataset_rows, spec.with_name(f"{spec.name}.ledger.jsonl"))
    else:
        assert input_ is not None, "the parser asks for one of the two"
        source = open_input(input_)
        named = NamedRows(source, _truth_of(source), input_.with_name(f"{input_.name}.ledger.jsonl"))
    if limit is None or limit >= named.source.n_rows:
        return named
    return replace(named, source=HeadSource(named.source, limit), truth=HeadSource(named.truth, limit))


def _truth_of(source: RowSource) -> RowSource:
    if not isinstance(source, DatasetFileSource):
        return source
    try:
        return source_of(load_dataset(manifest_path(source.path)))
    except InputError:
        return source


def resolve_spaces(name: str | None, n_spaces: int | None) -> tuple[str, ...]:
    """Return the spaces that --space and --spaces mean: none, one, or NAME-0 to NAME-<N-1>."""
    if n_spaces is None:
        return (name,) if name else ()
    if not 1 <= n_spaces <= 1_000:
        raise UsageError(f"--spaces must be from 1 to 1,000, not {n_spaces}")
    return tuple(f"{name or 'synthgen'}-{i}" for i in range(n_spaces))


def check_target(endpoint: str | None, space: str | None) -> None:
    """Raise UsageError unless the endpoint is an address and the space a possible name."""
    parse_endpoint(endpoint or DEFAULT_ENDPOINT)
    if space:
        check_space(space)


def database_target(endpoint: str) -> str:
    """Return what a ledger calls the database at ``endpoint``: its own id, or nothing where it tells none."""
    database_id = check_health(endpoint).document.get("database_id")
    return f"database {database_id}" if database_id else ""


def deliver(rows: NamedRows, spec: IngestSpec) -> IngestReport:
    """Send the rows and prove it; return the report."""
    spec = replace(spec, target=database_target(spec.endpoint))
    return ingest(rows.source, spec, truth=rows.truth)


def verify_rows(
    rows: NamedRows, endpoint: str, spaces: tuple[str, ...], options: dict[str, Any]
) -> VerifyReport:
    """Compare the database with what the rows should be; return the report."""
    return verify(rows.truth, endpoint, spaces, **options)


def plan_text(rows: NamedRows, spec: IngestSpec) -> str:
    """Return what an ingest would do, for a person."""
    n_batches = -(-rows.source.n_rows // spec.batch_size)
    spaces = ", ".join(spec.spaces) if spec.spaces else "the server's default"
    lines = [
        f"input    {rows.source.name}: {rows.source.n_rows:,} rows in {n_batches:,} batches",
        f"target   {spec.endpoint}, space: {spaces}, {spec.concurrent} connections",
        f"ledger   {spec.ledger}" + (" (exists: continues)" if spec.ledger.exists() else ""),
        f"proof    {'everything is read back and compared' if spec.verify else 'none (--no-verify: exit 4)'}",
        "nothing was sent",
    ]
    return "\n".join(lines)
