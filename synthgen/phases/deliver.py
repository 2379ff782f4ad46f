"""Phase 4 as commands of their own: what a user names becomes a source, a truth and a ledger."""

from __future__ import annotations

import contextlib
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
from synthgen.specs import DEFAULT_ENDPOINT, QUERY_PREFIX, IngestSpec, RowSource


@dataclass(frozen=True)
class NamedRows:
    """Rows to send, what to recompute them from, and where their ledger lies unless told otherwise."""

    source: RowSource
    truth: RowSource
    default_ledger: Path


def open_named(input_: Path | None, spec: Path | None, limit: int | None = None) -> NamedRows:
    """Return the rows of a file or of a spec, the first ``limit`` of them where given.

    The truth of a generated file is its spec, so that it is checked against the seed and not against itself;
    where the model is not at hand, the file is checked against its manifest alone. Queries are refused.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, not {limit}")
    if spec is not None:
        dataset = load_dataset(spec)
        _refuse_queries(dataset.spec.is_queries, spec)
        dataset_rows = source_of(dataset)
        named = NamedRows(dataset_rows, dataset_rows, spec.with_name(f"{spec.name}.ledger.jsonl"))
    else:
        assert input_ is not None, "the parser asks for one of the two"
        source = open_input(input_)
        _refuse_queries(_holds_queries(source), input_)
        named = NamedRows(source, _truth_of(source), input_.with_name(f"{input_.name}.ledger.jsonl"))
    if limit is None or limit >= named.source.n_rows:
        return named
    return replace(named, source=HeadSource(named.source, limit), truth=HeadSource(named.truth, limit))


def _refuse_queries(is_queries: bool, where: Path) -> None:
    if is_queries:
        raise InputError(
            "holds queries, which are asked and never stored",
            where=str(where),
            next_step="give the dataset that they are meant for",
        )


def _holds_queries(source: RowSource) -> bool:
    """Return what the manifest says, or without one the first id."""
    if isinstance(source, DatasetFileSource):
        return source.manifest.spec.is_queries
    with contextlib.closing(source.open()) as reader:
        return reader.read(0, 1)[0].startswith(b'{"id":"%s' % QUERY_PREFIX.encode())


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
        return () if name is None else (name,)
    if not 1 <= n_spaces <= 1_000:
        raise UsageError(f"--spaces must be from 1 to 1,000, not {n_spaces}")
    return tuple(f"{'synthgen' if name is None else name}-{i}" for i in range(n_spaces))


def check_target(endpoint: str | None, space: str | None) -> None:
    """Raise UsageError unless the endpoint is an address and the space a possible name."""
    parse_endpoint(DEFAULT_ENDPOINT if endpoint is None else endpoint)
    if space is not None:
        check_space(space)


def database_target(endpoint: str) -> str:
    """Return what a ledger calls the database at ``endpoint``: its own id, or nothing where it tells none."""
    database_id = check_health(endpoint).document.get("database_id")
    return f"database {database_id}" if database_id else ""


def ledger_in(folder: Path, *names: str) -> Path:
    """Return the ledger in ``folder`` called by ``names``, of which one tells a database from others: one
    made anew must not be spoken for by the old one's.
    """
    readable = ("".join(c if c.isalnum() else "-" for c in name) for name in names)
    return folder / f"{'-'.join(readable)}.jsonl"


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
