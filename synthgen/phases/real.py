"""The command of phase 1: from what was named to the way that its articles take."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synthgen.errors import EXIT_OK
from synthgen.formats.memory_files import check_output, open_writer
from synthgen.ingest import IngestReport, ingest
from synthgen.phases.deliver import database_target
from synthgen.phases.foundation import NAME, foundation_blocks, foundation_source
from synthgen.phases.report import Report
from synthgen.phases.wikipedia_options import RUNS_NAME, WikipediaOptions
from synthgen.phases.wikipedia_output import taken
from synthgen.phases.wikipedia_report import WikipediaReport
from synthgen.runtime.files import explain_os_errors
from synthgen.runtime.interrupts import Interrupts
from synthgen.specs import EMBEDDING_DIMENSION
from synthgen.wiki.download import DEFAULT_URL, download
from synthgen.wiki.foundation import about
from synthgen.wiki.records import LICENCE

DUMPS_NAME = "dumps"


@dataclass(frozen=True)
class Downloaded:
    """A dump that is there now."""

    path: Path
    n_bytes: int

    exit_code = EXIT_OK

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"path": str(self.path), "bytes": self.n_bytes}

    def lines(self) -> list[str]:
        """Return it for a person."""
        return [f"{self.path}, {self.n_bytes / 1e6:,.1f} MB, is whole"]


def bring_articles(options: WikipediaOptions, *, dry_run: bool = False) -> Report:
    """Do what ``options`` ask for and return what came of it; ``dry_run`` reads and stores nothing."""
    if options.download or options.download_only:
        path = _fetch(options)
        if options.download_only:
            return Downloaded(path, path.stat().st_size)
        options = replace(options, source=path, download=False)
    if options.source is None:
        return _look_at_foundation(options) if dry_run else _store_foundation(options)
    if dry_run:
        from synthgen.phases.wikipedia_look import look_at

        return look_at(options)
    from synthgen.phases.wikipedia import store_articles

    return store_articles(options)


def _fetch(options: WikipediaOptions) -> Path:
    url = options.url or DEFAULT_URL
    with Interrupts() as interrupts:
        path = options.cache / DUMPS_NAME / url.rsplit("/", 1)[-1]
        return download(url, path, stop=lambda: interrupts.requested, quiet=options.quiet)


def _look_at_foundation(options: WikipediaOptions) -> Report:
    source = foundation_source(options.limit)
    return WikipediaReport(f"{NAME} (looked at, not stored)", source.n_rows, 0, {}, 0.0)


def _store_foundation(options: WikipediaOptions) -> Report:
    """Bring the built-in articles, which need neither a model nor a network, where they are wanted."""
    started_s = time.monotonic()
    source, ingested = foundation_source(options.limit), None
    if options.output is not None:
        _write_foundation(options.output, options.limit)
    if options.target:
        ingested = _send_foundation(options, options.target)
    return WikipediaReport(
        NAME,
        source.n_rows,
        0,
        {},
        time.monotonic() - started_s,
        output=str(options.output) if options.output else None,
        ingest=ingested,
    )


def _send_foundation(options: WikipediaOptions, endpoint: str) -> IngestReport:
    target = database_target(endpoint)
    folder = options.cache / RUNS_NAME / "foundation"
    with explain_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return ingest(foundation_source(options.limit), options.ingest_spec(folder, target))


def _write_foundation(output: Path, limit: int | None) -> None:
    check_output(output)
    if output.exists():
        raise taken(output)
    n_rows = foundation_source(limit).n_rows
    with open_writer(output, EMBEDDING_DIMENSION, n_rows) as writer:
        for block in foundation_blocks(limit):
            writer.write(block)
        writer.finish({"source": NAME, "model": about()["embedding_model"], "licence": LICENCE})
