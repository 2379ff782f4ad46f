"""The manifest of a dataset on disk: what a reader needs who has neither model nor program.

``x.manifest.json`` beside ``x.jsonl`` (``x.npy.manifest.json`` beside ``x.npy``: several formats of a dataset
may lie side by side) holds the whole spec, the versions, the widths of lines, rows and numbers, and for each
chunk its rows, byte range and XXH3-128 digest; ``digest`` is the SHA-256 over that list.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

import synthgen
from synthgen.errors import InputError
from synthgen.formats.chunks import Digests, FixedPlaces, PackedPlaces, Places
from synthgen.formats.encoding import Encoding
from synthgen.specs import DatasetSpec, Grid, chunk_bounds, n_chunks

FORMAT_VERSION = 1
#: The format whose manifests call a row's bytes those of a line, and whose suffix their names leave out.
JSON_LINES = "jsonl"


def manifest_path(output: Path) -> Path:
    """Return the manifest's name: x.jsonl -> x.manifest.json, x.npy -> x.npy.manifest.json."""
    return output.with_name(output.name.removesuffix(f".{JSON_LINES}") + ".manifest.json")


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
class Part:
    """The head or the tail of a file: its size, and the XXH3-128 (hex) of its bytes, empty without any."""

    n_bytes: int = 0
    digest: str = ""

    @classmethod
    def of(cls, pieces: Iterable[bytes]) -> Part:
        """Return the part that consists of ``pieces``."""
        hasher, n_bytes = xxhash.xxh3_128(), 0
        for piece in pieces:
            hasher.update(piece)
            n_bytes += len(piece)
        return cls(n_bytes, hasher.hexdigest() if n_bytes else "")


@dataclass(frozen=True)
class Manifest:
    """What a finished file holds.

    ``chunks[i]`` is the XXH3-128 (hex) of chunk i's bytes, ``places[i]`` where they lie; before them lies the
    ``head``, behind them the ``tail``. ``line_bytes``: of a row as a line of JSON, compressed or not; 0 where
    rows are none. ``row_bytes``: of a row in the file; 0 where the format is packed.
    """

    spec: DatasetSpec
    format: str
    grid: Grid
    chunks: Digests
    places: Places
    line_bytes: int = 0
    row_bytes: int = 0
    head: Part = Part()
    tail: Part = Part()
    versions: Mapping[str, str] = field(default_factory=running_versions)

    @classmethod
    def of(cls, encoding: Encoding, chunks: Digests, places: Places) -> Manifest:
        """Return the manifest of a file of all rows in ``encoding``, whose chunks are known."""
        tail = encoding.tail(places.starts) if isinstance(places, PackedPlaces) else ()
        return cls(
            spec=encoding.spec,
            format=encoding.name,
            grid=encoding.layout.grid,
            chunks=chunks,
            places=places,
            line_bytes=encoding.line_bytes,
            row_bytes=encoding.row_bytes,
            head=Part.of([encoding.head()]),
            tail=Part.of(tail),
        )

    @property
    def n_bytes(self) -> int:
        """Size of the file."""
        return self.places.end + self.tail.n_bytes

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the chunks' digests, one a line."""
        return self.chunks.total

    def byte_range(self, chunk: int) -> tuple[int, int]:
        """Return the bytes [start, stop) of ``chunk``."""
        return self.places[chunk]

    def to_document(self, output: Path) -> dict[str, Any]:
        """Return the manifest of ``output`` as a JSON document."""
        return {**self._summary(output), "chunks": list(self._chunk_documents())}

    def pieces(self, output: Path) -> Iterator[bytes]:
        """Yield :meth:`to_document` as indented JSON, a chunk at a time."""
        summary = json.dumps({**self._summary(output), "chunks": []}, indent=2, ensure_ascii=False)
        yield summary.removesuffix("]\n}").encode()
        for number, chunk in enumerate(self._chunk_documents()):
            text = json.dumps(chunk, indent=2).replace("\n", "\n    ")
            yield f"{',' if number else ''}\n    {text}".encode()
        yield b"\n  ]\n}\n"

    def _summary(self, output: Path) -> dict[str, Any]:
        """Return what the document says beside its chunks."""
        return {
            "format_version": FORMAT_VERSION,
            "spec": self.spec.to_document(),
            "file": {"name": output.name, "format": self.format, "bytes": self.n_bytes, **self._layout()},
            "digest": self.digest,
            "versions": dict(self.versions),
        }

    def _layout(self) -> dict[str, Any]:
        """Return what the document says of the file's parts; a width that is 0 is left out."""
        widths = {"line_bytes": self.line_bytes}
        if self.format != JSON_LINES:
            widths["row_bytes"] = self.row_bytes
        layout: dict[str, Any] = {name: width for name, width in widths.items() if width}
        layout["grid"] = self.grid.to_document()
        starts = {"head": 0, "tail": self.places.end}
        for name, part in (("head", self.head), ("tail", self.tail)):
            if part.n_bytes:
                place = [starts[name], starts[name] + part.n_bytes]
                layout[name] = {"bytes": place, "xxh3_128": part.digest}
        return layout

    def _chunk_documents(self) -> Iterator[dict[str, Any]]:
        for chunk, digest in enumerate(self.chunks):
            rows, places = list(chunk_bounds(chunk, self.spec.count)), list(self.byte_range(chunk))
            yield {"rows": rows, "bytes": places, "xxh3_128": digest}


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
        manifest = _from_document(document, spec)
        whole = document["digest"] == manifest.digest and document["file"]["bytes"] == manifest.n_bytes
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if not whole:
        raise _damaged(path, "its digest, or the file's size, does not match its chunks")
    return manifest


def _damaged(path: Path, why: str) -> InputError:
    next_step = "mend it with `synthgen regenerate --recompute FILE`, which needs the model"
    return InputError(f"damaged manifest ({why})", where=str(path), next_step=next_step)


def _from_document(document: Mapping[str, Any], spec: DatasetSpec) -> Manifest:
    """Read the rest of a manifest; raise KeyError, TypeError or ValueError on anything else."""
    file, chunks = document["file"], document["chunks"]
    digests = Digests(str(chunk["xxh3_128"]) for chunk in chunks)
    if len(digests) != n_chunks(spec.count) or not all(digests):
        raise ValueError(f"{len(digests):,} chunks for {spec.count:,} rows")
    head, tail = (_read_part(file.get(name)) for name in ("head", "tail"))
    line_bytes, row_bytes = int(file.get("line_bytes", 0)), int(file.get("row_bytes", 0))
    if file["format"] == JSON_LINES:
        row_bytes = line_bytes
    grid = Grid.from_document(file["grid"]) if "grid" in file else Grid.unit(spec.decimals)
    places = _read_places(chunks, head.n_bytes, row_bytes, spec.count)
    versions = document["versions"]
    return Manifest(
        spec, str(file["format"]), grid, digests, places, line_bytes, row_bytes, head, tail, versions
    )


def _read_part(document: Mapping[str, Any] | None) -> Part:
    if document is None:
        return Part()
    start, stop = document["bytes"]
    return Part(int(stop) - int(start), str(document["xxh3_128"]))


def _read_places(chunks: list[Any], head_bytes: int, row_bytes: int, n_rows: int) -> Places:
    if row_bytes:
        return FixedPlaces(head_bytes, row_bytes, n_rows)
    places = PackedPlaces.after(head_bytes)
    for chunk in chunks:
        start, stop = chunk["bytes"]
        if int(start) != places.end or int(stop) <= places.end:
            raise ValueError(f"bytes {start} to {stop} do not follow those before")
        places.append(int(stop) - int(start))
    return places
