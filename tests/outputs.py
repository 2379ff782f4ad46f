"""Files of every output format, made in this process, and read back by other people's readers."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet
import zstandard
from numpy.typing import NDArray

from synthgen.generate.dataset import Dataset
from synthgen.phases.datasets import encoding_of
from synthgen.specs import chunk_bounds, n_chunks


@dataclass(frozen=True)
class Columns:
    """What a reader finds; ids, contents and confidences only where the format has them."""

    embeddings: NDArray[np.float32]
    ids: list[str] | None = None
    contents: list[str] | None = None
    confidences: list[float] | None = None


@dataclass(frozen=True)
class Encoded:
    """The bytes of a file, and where its chunks begin and the last one ends."""

    data: bytes
    starts: list[int]


def encode(dataset: Dataset, name: str) -> Encoded:
    """Return the whole file of ``dataset`` in the format ``name``."""
    encoding = encoding_of(dataset, name)
    encoder, data, starts = encoding.open(), bytearray(encoding.head()), []
    for chunk in range(n_chunks(dataset.spec.count)):
        starts.append(len(data))
        for piece in encoder.encode(dataset, *chunk_bounds(chunk, dataset.spec.count)):
            data += piece
    starts.append(len(data))
    for piece in encoding.tail(starts):
        data += piece
    return Encoded(bytes(data), starts)


def read_back(data: bytes, name: str) -> Columns:
    """Return what readers that are not ours make of a file of the format ``name``."""
    if name == "npy":
        return Columns(np.load(io.BytesIO(data)))
    if name == "fbin":
        n_rows, dimension = np.frombuffer(data, "<u4", 2).tolist()
        return Columns(np.frombuffer(data, "<f4", offset=8).reshape(n_rows, dimension))
    if name == "parquet":
        return read_table(pyarrow.parquet.read_table(io.BytesIO(data)))
    if name == "jsonl.zst":
        data = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
    memories = [orjson.loads(line) for line in data.splitlines()]
    embeddings = np.array([memory["embedding"] for memory in memories], np.float64)
    return Columns(
        embeddings.astype(np.float32),
        *([memory[key] for memory in memories] for key in ("id", "content", "confidence")),
    )


def read_table(table: pyarrow.Table) -> Columns:
    """Return the columns of an Arrow table."""
    flat = table["embedding"].combine_chunks().flatten().to_numpy()
    return Columns(
        flat.reshape(table.num_rows, -1), *(table[n].to_pylist() for n in ("id", "content", "confidence"))
    )


def same_bits(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Return whether two matrices of float32 have the same shape and the same bits."""
    bits = [np.ascontiguousarray(array).view(np.uint32) for array in (one, other)]
    return np.array_equal(*bits)


def read_file(path: Path, name: str) -> Columns:
    """Return what is in the file ``path``."""
    return read_back(path.read_bytes(), name)
