"""The real memories of a database, on their way to a fit: what the phases centroids and fit both read."""

from __future__ import annotations

from collections.abc import Sequence

from synthgen.errors import InputError
from synthgen.ingest.listing import count_hint, iter_listing
from synthgen.model.spool import EmbeddingSpool
from synthgen.runtime.progress import Progress
from synthgen.specs import SYNTHETIC_PREFIX

_TITLE_CHARACTERS = 200


def read_memories(endpoint: str, spaces: tuple[str, ...], spool: EmbeddingSpool, *, quiet: bool) -> int:
    """Fill ``spool`` with the real memories of ``spaces`` (none: the default space), page by page.

    Returns how many synthetic ones (ids ``syn-...``) were left out. Raises TargetError as
    :func:`iter_listing` does, and InputError when there is no real memory.
    """
    listed: Sequence[str | None] = spaces or (None,)
    total = sum(count_hint(endpoint, space) for space in listed)
    progress = Progress("read memories", total, "memories", quiet=quiet)
    n_synthetic = 0
    for space in listed:
        for page in iter_listing(endpoint, space, embeddings=True):
            real = [i for i, id_ in enumerate(page.ids) if not id_.startswith(SYNTHETIC_PREFIX)]
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
