"""What phase 1 is asked for, checked once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from synthgen.errors import UsageError
from synthgen.phases.deliver import ledger_in
from synthgen.specs import DEFAULT_ENDPOINT, IngestSpec
from synthgen.specs.checks import check_integer
from synthgen.wiki.cutting import MAX_CHARACTERS
from synthgen.wiki.model_files import DEFAULT_MODEL

#: Below the cache: unfinished work, and the ledgers of what was stored.
RUNS_NAME = "runs"
_LEAST_CHARACTERS = 100


def default_cache_dir() -> Path:
    """Return where dumps, embeddings and unfinished work lie: the XDG base directories' cache folder."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "synthgen"


@dataclass(frozen=True)
class WikipediaOptions:
    """Articles from where to where. ``source`` None: the built-in ones, or the dump at ``url`` where
    ``download``. Into the database at ``endpoint``, into the file ``output``, or both; neither means the
    database at the usual address. ``workers`` 0: as many processes for parsing as pay beside the model.
    """

    source: Path | None = None
    titles: Path | None = None
    download: bool = False
    download_only: bool = False
    url: str = ""
    endpoint: str | None = None
    output: Path | None = None
    limit: int | None = None
    model: str = DEFAULT_MODEL
    cache_dir: Path | None = None
    max_characters: int = MAX_CHARACTERS
    batch_size: int = 1_000
    concurrent: int = 20
    spaces: tuple[str, ...] = ()
    verify: bool = True
    workers: int = 0
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit must be at least 1, not {self.limit}")
        if self.source is not None and (self.download or self.download_only):
            raise UsageError("--dump-path names a source, and --download fetches one: choose")
        if self.titles is not None and self.source is None:
            raise UsageError("--titles belong to a .npy file: name it with --dump-path FILE.npy")
        if not _LEAST_CHARACTERS <= self.max_characters <= 20_000:
            raise UsageError(f"--max-characters must be {_LEAST_CHARACTERS} to 20,000")
        check_integer("--workers", self.workers, 0, 256)

    @property
    def target(self) -> str | None:
        """The address of the database, or None where a file is all that is wanted."""
        if self.endpoint is None and self.output is not None:
            return None
        return self.endpoint or DEFAULT_ENDPOINT

    @property
    def cache(self) -> Path:
        """The folder of dumps, embeddings and unfinished work."""
        return self.cache_dir or default_cache_dir()

    def ingest_spec(self, folder: Path, target: str) -> IngestSpec:
        """Return how memories are sent to the database, which calls itself ``target`` (or nothing)."""
        endpoint = self.target or DEFAULT_ENDPOINT
        return IngestSpec(
            endpoint=endpoint,
            ledger=ledger_in(folder, "ledger", target or endpoint, *self.spaces),
            concurrent=self.concurrent,
            batch_size=self.batch_size,
            spaces=self.spaces,
            verify=self.verify,
            quiet=self.quiet,
            target=target,
        )
