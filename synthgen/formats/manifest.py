"""The manifest of a dataset on disk, and the journal from which an interrupted one is continued.

``x.manifest.json`` beside ``x.jsonl`` holds the whole spec, the versions, the widths of lines and of numbers,
so that a reader finds any row and number without the model, and for each chunk its rows, byte range and
XXH3-128 digest; ``digest`` is the SHA-256 over that list. While a file is being made, the journal
``.x.jsonl.journal`` holds a line for each chunk whose bytes are in ``.x.jsonl.partial``.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import synthgen
from synthgen.errors import InputError
from synthgen.specs import DatasetSpec, Grid, chunk_bounds, n_chunks

FORMAT_VERSION = 1


def manifest_path(output: Path) -> Path:
    """Return where the manifest of ``output`` lies: x.jsonl -> x.manifest.json."""
    return output.with_name(f"{output.name.removesuffix('.jsonl')}.manifest.json")


def partial_path(output: Path) -> Path:
    """Return the name under which ``output`` grows until it is whole."""
    return output.with_name(f".{output.name}.partial")


def journal_path(output: Path) -> Path:
    """Return where the journal of an unfinished ``output`` lies."""
    return output.with_name(f".{output.name}.journal")


def running_versions() -> dict[str, str]:
    """Return the versions that took part; rows do not depend on them, but a reader may ask."""
    return {"synthgen": synthgen.__version__, "python": platform.python_version(), "numpy": np.__version__}


@dataclass(frozen=True)
class Manifest:
    """What a finished file holds: ``chunks[i]`` is the XXH3-128 (hex) of chunk i's bytes."""

    spec: DatasetSpec
    line_bytes: int
    chunks: tuple[str, ...]
    grid: Grid
    versions: Mapping[str, str] = field(default_factory=running_versions)

    @property
    def n_bytes(self) -> int:
        """Size of the file."""
        return self.spec.count * self.line_bytes

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the chunks' digests, one a line."""
        return hashlib.sha256("".join(f"{digest}\n" for digest in self.chunks).encode()).hexdigest()

    def byte_range(self, chunk: int) -> tuple[int, int]:
        """Return the bytes [start, stop) of ``chunk``."""
        start, stop = chunk_bounds(chunk, self.spec.count)
        return start * self.line_bytes, stop * self.line_bytes

    def to_document(self, output: Path) -> dict[str, Any]:
        """Return the manifest of ``output`` as a JSON document."""
        return {
            "format_version": FORMAT_VERSION,
            "spec": self.spec.to_document(),
            "file": {
                "name": output.name,
                "format": "jsonl",
                "bytes": self.n_bytes,
                "line_bytes": self.line_bytes,
                "grid": self.grid.to_document(),
            },
            "digest": self.digest,
            "versions": dict(self.versions),
            "chunks": [
                {
                    "rows": list(chunk_bounds(i, self.spec.count)),
                    "bytes": list(self.byte_range(i)),
                    "xxh3_128": digest,
                }
                for i, digest in enumerate(self.chunks)
            ],
        }


def read_document(path: Path, what: str = "a manifest") -> dict[str, Any]:
    """Read a JSON object from ``path``; raise InputError when it is none."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError("no such file", where=str(path), next_step=f"give the path of {what}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"not {what} ({error})", where=str(path)) from error
    if not isinstance(document, dict):
        raise InputError(f"not {what}", where=str(path))
    return document


def read_manifest(path: Path) -> Manifest:
    """Read a manifest; raise InputError when it is damaged, or of a version that this program cannot read."""
    document = read_document(path)
    if document.get("format_version") != FORMAT_VERSION or "spec" not in document:
        raise InputError("not a manifest of a version that this program reads", where=str(path))
    spec = DatasetSpec.from_document(document["spec"], where=str(path))
    try:
        digests = tuple(str(chunk["xxh3_128"]) for chunk in document["chunks"])
        file, versions = document["file"], document["versions"]
        grid = Grid.from_document(file["grid"]) if "grid" in file else Grid.unit(spec.decimals)
        manifest = Manifest(spec, int(file["line_bytes"]), digests, grid, versions)
        whole = document["digest"] == manifest.digest and len(digests) == n_chunks(spec.count)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"damaged manifest ({type(error).__name__}: {error})", where=str(path)) from error
    if not whole:
        raise InputError(
            "damaged manifest (its digest does not match its chunks)",
            where=str(path),
            next_step="make the dataset again with the same `synthgen generate` command",
        )
    return manifest


class Journal:
    """The append-only state of an unfinished file: a header line, then a line a finished chunk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab")

    @classmethod
    def restart(cls, path: Path, spec: DatasetSpec, line_bytes: int, chunks: Mapping[int, str]) -> Journal:
        """Open a journal at ``path`` that holds a header and ``chunks``, in place of what was there."""
        partial = path.with_name(f"{path.name}.new")
        partial.unlink(missing_ok=True)
        journal = cls(partial)
        journal._append(
            {"format_version": FORMAT_VERSION, "spec": spec.to_document(), "line_bytes": line_bytes}
        )
        for chunk, digest in chunks.items():
            journal.add(chunk, digest)
        partial.replace(path)
        return journal

    def add(self, chunk: int, digest: str) -> None:
        """Record that the bytes of ``chunk`` are in the file."""
        self._append({"chunk": chunk, "xxh3_128": digest})

    def close(self) -> None:
        """Close the journal's file."""
        self._file.close()

    def _append(self, document: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(document).encode() + b"\n")
        self._file.flush()


def read_journal(path: Path) -> tuple[DatasetSpec, int, dict[int, str]] | None:
    """Return spec, line_bytes and digests by chunk of the journal at ``path``; None when there is none.

    A torn last line, as a kill leaves it, is left out.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return None
    documents = []
    for line in lines:
        try:
            documents.append(json.loads(line) if line.endswith(b"\n") else {})
        except ValueError:
            documents.append({})
    if not documents or "spec" not in documents[0]:
        return None
    spec = DatasetSpec.from_document(documents[0]["spec"], where=str(path))
    chunks = {d["chunk"]: d["xxh3_128"] for d in documents[1:] if d.keys() == {"chunk", "xxh3_128"}}
    return spec, documents[0]["line_bytes"], chunks
