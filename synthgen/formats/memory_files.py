"""Memories that no spec can make again (real ones) into a file: JSON lines, or Parquet.

The file has its name only when it is whole; beside it a document tells what it holds and where that is from.
"""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import xxhash

from synthgen.errors import InputError, UsageError
from synthgen.formats.arrow import import_arrow
from synthgen.formats.manifest import JSON_LINES, partial_path, read_document, running_versions
from synthgen.formats.real_memories import MemoryBlock, encode_memories, mend_text
from synthgen.runtime.files import (
    check_free_space,
    check_parent_folder,
    explain_os_errors,
    publish,
    write_json,
)

FORMAT_VERSION = 1
MEMORY_FORMATS = (".jsonl", ".parquet")
#: Rows of a row group: a reader that wants one row decodes so many.
_GROUP_ROWS = 1_000
#: Bytes of a component, and of what else a row has, texts of the usual length included; somewhat above what
#: real articles come to.
_JSON_BYTES, _PARQUET_BYTES = (12.5, 3_000), (4.1, 2_000)


def about_path(output: Path) -> Path:
    """Return the name of the document beside: x.jsonl -> x.json, x.parquet -> x.parquet.json."""
    return output.with_name(output.name.removesuffix(f".{JSON_LINES}") + ".json")


def open_writer(path: Path, dimension: int, n_expected: int = 0) -> MemoryWriter:
    """Return a writer of memories of ``dimension`` components to ``path`` (.jsonl or .parquet).

    Raises before anything is written: UsageError for another suffix, or without pyarrow where it is needed;
    InputError where no file can be, or what is no document of it has the document's name;
    ResourceError where there is no room for ``n_expected`` memories.
    """
    check_output(path)
    kinds: dict[str, type[MemoryWriter]] = {".jsonl": _LineWriter, ".parquet": _TableWriter}
    kind = kinds[path.suffix]
    number_bytes, rest_bytes = kind.row_bytes
    check_free_space(path.absolute().parent, int(n_expected * (dimension * number_bytes + rest_bytes)))
    return kind(path, dimension)


def check_output(path: Path) -> None:
    """Raise, before any work, what :func:`open_writer` would: UsageError, InputError."""
    if path.suffix not in MEMORY_FORMATS:
        names = " or ".join(MEMORY_FORMATS)
        raise UsageError(f"--output {path}: memories go to a file whose name ends in {names}")
    if path.suffix == ".parquet":
        import_arrow()
    check_parent_folder(path)
    beside = about_path(path)
    if beside.exists() and not _tells_of(beside, path):
        raise InputError(
            f"is there already, and is no document of {path.name}, which would take its name",
            where=str(beside),
            next_step="choose another --output, or move that",
        )


def _tells_of(beside: Path, path: Path) -> bool:
    with contextlib.suppress(InputError):
        document = read_document(beside)
        return document.get("file") == path.name and "n_memories" in document
    return False


class MemoryWriter(ABC):
    """Appends blocks under another name until :meth:`finish`; a context, which leaves nothing unfinished."""

    row_bytes: tuple[float, int]

    def __init__(self, path: Path, dimension: int) -> None:
        self.path = path
        self.dimension = dimension
        self.n_rows = 0
        self._partial = partial_path(path)
        with explain_os_errors(path):
            self._sink = _Sink(self._partial.open("wb"))

    def __enter__(self) -> MemoryWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._sink.closed:
            with contextlib.suppress(OSError):  # a disk that took nothing more is told of already
                self._abandon()
            with contextlib.suppress(OSError):
                self._sink.close()
            self._partial.unlink(missing_ok=True)

    def write(self, block: MemoryBlock) -> None:
        """Append ``block``; raise ResourceError where the disk does not take it, InputError for vectors of
        another length.
        """
        if block.embeddings.shape != (len(block), self.dimension):
            raise InputError(
                f"vectors of {block.embeddings.shape[-1]:,} components, not {self.dimension:,}",
                where=str(self.path),
                next_step="write embeddings of one model to one file",
            )
        with explain_os_errors(self.path):
            self._append(block)
        self.n_rows += len(block)

    def finish(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """Give the file its name, durably, and write the document beside it; return that document.

        ``about``: what else it says (source, model, licence, counts).
        """
        with explain_os_errors(self.path):
            self._end()
            self._sink.sync()
            document = self._document(about)
            self._sink.close()
            # First, so that a file that has its name always has a document, wherever a kill comes.
            write_json(about_path(self.path), document)
            publish(self._partial, self.path)
        return document

    def _document(self, about: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "file": self.path.name,
            "n_memories": self.n_rows,
            "dimension": self.dimension,
            "n_bytes": self._sink.n_bytes,
            "xxh3_128": self._sink.digest,
            "versions": running_versions(),
            **about,
        }

    @abstractmethod
    def _append(self, block: MemoryBlock) -> None:
        """Write ``block``, now or later."""

    @abstractmethod
    def _end(self) -> None:
        """Write what is left."""

    def _abandon(self) -> None:  # noqa: B027 - most have nothing
        """Let go of what would write later."""


class _Sink:
    """A file that is written from its beginning to its end, and the digest of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hasher = xxhash.xxh3_128()
        self.n_bytes = 0

    @property
    def closed(self) -> bool:
        return self._file.closed

    @property
    def digest(self) -> str:
        return str(self._hasher.hexdigest())

    def write(self, data: bytes) -> int:
        self._hasher.update(data)
        self.n_bytes += len(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self.n_bytes

    def flush(self) -> None:
        self._file.flush()

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class _LineWriter(MemoryWriter):
    row_bytes = _JSON_BYTES

    def _append(self, block: MemoryBlock) -> None:
        self._sink.write(b"".join(line + b"\n" for line in encode_memories(block)))

    def _end(self) -> None:
        """Nothing is left."""


class _TableWriter(MemoryWriter):
    """Columns id, title, content, timestamp, tags, confidence, embedding; row groups of 1,000 rows."""

    row_bytes = _PARQUET_BYTES

    def __init__(self, path: Path, dimension: int) -> None:
        self._arrow = import_arrow()
        parquet = import_arrow("pyarrow.parquet")
        super().__init__(path, dimension)
        arrow, text = self._arrow, self._arrow.string()
        self._schema = arrow.schema(
            [
                ("id", text),
                ("title", text),
                ("content", text),
                ("timestamp", text),
                ("tags", arrow.list_(text)),
                ("confidence", arrow.float64()),
                ("embedding", arrow.list_(arrow.float32(), dimension)),
            ]
        )
        texts = {"id", "title", "content", "timestamp", "tags.list.element"}
        self._waiting: list[Any] = []
        self._writer = parquet.ParquetWriter(
            self._sink_of_arrow(),
            self._schema,
            use_dictionary=["timestamp", "tags.list.element", "confidence"],
            compression={name: "zstd" if name in texts else "none" for name in self._leaves()},
        )

    def _abandon(self) -> None:
        self._writer.close()

    def _leaves(self) -> list[str]:
        flat = [name for name in self._schema.names if name not in ("tags", "embedding")]
        return [*flat, "tags.list.element", "embedding.list.element"]

    def _sink_of_arrow(self) -> Any:
        return self._arrow.PythonFile(self._sink, mode="w")

    def _append(self, block: MemoryBlock) -> None:
        self._waiting.append(self._batch_of(block))
        if sum(map(len, self._waiting)) >= _GROUP_ROWS:
            table = self._arrow.Table.from_batches(self._waiting)
            n_whole = len(table) // _GROUP_ROWS * _GROUP_ROWS
            self._writer.write_table(table.slice(0, n_whole), row_group_size=_GROUP_ROWS)
            self._waiting = table.slice(n_whole).to_batches()

    def _end(self) -> None:
        self._writer.write_table(self._arrow.Table.from_batches(self._waiting, self._schema), _GROUP_ROWS)
        self._writer.close()

    def _batch_of(self, block: MemoryBlock) -> Any:
        arrow, n = self._arrow, len(block)
        flat = arrow.array(np.ascontiguousarray(block.embeddings, np.float32).reshape(-1))
        tags = list(block.tags) or None
        columns = [
            arrow.array([mend_text(value) for value in values], arrow.string())
            for values in (block.ids, block.titles, block.contents)
        ]
        columns += [
            arrow.array([value or None for value in block.timestamps], arrow.string()),
            arrow.array([tags] * n, arrow.list_(arrow.string())),
            arrow.array(np.full(n, block.confidence)),
            arrow.FixedSizeListArray.from_arrays(flat, self.dimension),
        ]
        return arrow.record_batch(columns, schema=self._schema)
