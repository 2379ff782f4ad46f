"""The file that phase 1 writes in the end, of what its spool holds."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthgen.errors import InputError
from synthgen.formats.manifest import read_document
from synthgen.formats.memory_files import about_path, open_writer
from synthgen.phases.spool import Spool
from synthgen.wiki.records import LICENCE


def n_written(output: Path, spool: Spool) -> int | None:
    """Return how many memories of ``spool`` the file ``output`` holds; None where there is no such file.

    Raises InputError where the name is taken by anything else.
    """
    if not output.exists():
        return None
    with contextlib.suppress(InputError):
        about = read_document(about_path(output), "the document of a file of memories")
        if about.get("spool") == spool.digest and about.get("n_bytes") == output.stat().st_size:
            return int(about["n_memories"])
    raise taken(output)


def check_room_for(output: Path, spool: Spool, limit: int | None) -> int | None:
    """Return what :func:`n_written` does, where ``limit`` memories (None: all) can get the name ``output``.

    Raises InputError where it is another file's, or one of more memories.
    """
    n_there = n_written(output, spool)
    if n_there is not None and limit is not None and n_there > limit:
        raise taken(output, f"already holds {n_there:,} memories of this source")
    return n_there


def publish(spool: Spool, output: Path, n_memories: int, about: Mapping[str, Any]) -> None:
    """Write the first ``n_memories`` of ``spool`` to ``output``, unless there; fewer are replaced."""
    if check_room_for(output, spool, n_memories) == n_memories:
        return
    dimension = len(next(spool.blocks(1)).embeddings[0])
    with open_writer(output, dimension, n_memories) as writer:
        for block in spool.blocks(n_memories):
            writer.write(block)
        writer.finish({"spool": spool.digest, "licence": LICENCE, **about})


def taken(output: Path, what: str = "is there already") -> InputError:
    """Return the error that the name ``output`` cannot be given to anything else."""
    return InputError(what, where=str(output), next_step="choose another --output, or remove that")
