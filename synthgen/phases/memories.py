"""The real memories of a database, on their way to a fit: what the phases centroids and fit both read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from synthgen.errors import InputError
from synthgen.ingest.engram import check_space
from synthgen.ingest.listing import count_hint, iter_listing
from synthgen.model.spool import EmbeddingSpool
from synthgen.runtime.progress import Progress
from synthgen.specs import QUERY_PREFIX, SYNTHETIC_PREFIX

_TITLE_CHARACTERS = 200
_SYNTHETIC = (SYNTHETIC_PREFIX, QUERY_PREFIX)


class RealMemories:
    """The real memories of a database, read when they are first asked for, and then not again.

    A context: they lie in an unnamed file in ``folder`` while it lasts.
    """

    def __init__(self, endpoint: str, spaces: tuple[str, ...], folder: Path, *, quiet: bool) -> None:
        self.endpoint = endpoint
        self.spaces = spaces
        self.n_synthetic = 0
        self._quiet = quiet
        self._spool = EmbeddingSpool(folder)

    def __enter__(self) -> RealMemories:
        self._spool.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spool.__exit__(kind, error, trace)

    def read(self) -> EmbeddingSpool:
        """Return them; raise what :func:`read_memories` does."""
        if len(self._spool) == 0:
            self.n_synthetic = read_memories(self.endpoint, self.spaces, self._spool, quiet=self._quiet)
        return self._spool


def read_memories(endpoint: str, spaces: tuple[str, ...], spool: EmbeddingSpool, *, quiet: bool) -> int:
    """Fill ``spool`` with the real memories of ``spaces`` (none: the default space), page by page.

    Returns how many synthetic ones (ids ``syn-...``, ``qry-...``) were left out. Raises TargetError as
    :func:`iter_listing` does, and InputError when there is no real memory.
    """
    for name in spaces:
        check_space(name)
    listed: Sequence[str | None] = spaces or (None,)
    total = sum(count_hint(endpoint, space) for space in listed)
    progress = Progress("read memories", total, "memories", quiet=quiet)
    n_synthetic = 0
    for space in listed:
        for page in iter_listing(endpoint, space, embeddings=True):
            real = [i for i, id_ in enumerate(page.ids) if not id_.startswith(_SYNTHETIC)]
            n_synthetic += len(page) - len(real)
            if real:
                titles = [_title(page.contents[i]) for i in real]
                spool.add([page.ids[i] for i in real], titles, page.embeddings[real])
            progress.update(len(spool) + n_synthetic)
    progress.finish(f"{len(spool):,} real, {n_synthetic:,} synthetic left out")
    if len(spool) == 0:
        only = f" but {n_synthetic:,} synthetic ones, which are left out" if n_synthetic else ""
        raise InputError(
            f"No memories found{only}",
            where=name_spaces(endpoint, spaces),
            next_step="check --endpoint and --space, or store real ones first (`synthgen run` does)",
        )
    return n_synthetic


def name_spaces(endpoint: str, spaces: tuple[str, ...]) -> str:
    """Return what messages call the place that was read."""
    return endpoint + (f", space {', '.join(spaces)}" if spaces else "")


def _title(content: str) -> str:
    """Return what to call a memory: its first line."""
    return (content.strip().splitlines() or [""])[0][:_TITLE_CHARACTERS]
