"""From what a user names (flags, a spec, a manifest, a file) to a dataset, and to a source of its rows."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from synthgen.errors import InputError
from synthgen.formats.jsonl import LineLayout
from synthgen.formats.manifest import manifest_path, read_document, read_manifest
from synthgen.formats.source import DatasetFileSource, EncodedSource, scan_lines
from synthgen.generate.dataset import Dataset
from synthgen.model.centroids import load_centroids
from synthgen.specs import DatasetSpec, RowSource


def make_dataset(centroids: Path, document_folder: Path, **parameters: float | int) -> Dataset:
    """Return the dataset of the flags; its spec names the centroids relative to ``document_folder``.

    ``parameters``: count, seed, std_dev, confidence, decimals, where they are not the default.
    """
    model = load_centroids(centroids)
    source = os.path.relpath(centroids.absolute(), document_folder.absolute())
    return Dataset(DatasetSpec(model.reference(source), **parameters), model)  # type: ignore[arg-type]


def load_dataset(path: Path, count: int | None = None) -> Dataset:
    """Return the dataset of the spec or manifest at ``path``, with its model read and checked."""
    document = read_document(path, "a dataset spec or manifest")
    spec = DatasetSpec.from_document(document.get("spec", document), where=str(path))
    model_path = path.absolute().parent / spec.model.source
    model = load_centroids(model_path)
    if model.digest != spec.model.digest:
        raise InputError(
            "not the model that the dataset was drawn from (its digest differs)",
            where=str(model_path),
            next_step=f"put the .npy and .json with model digest {spec.model.digest[:16]}... there",
        )
    return Dataset(replace(spec, count=count) if count else spec, model)


def noise_ratio(dataset: Dataset) -> float:
    """Return how much longer the noise is than a centroid, on average."""
    length = float(np.linalg.norm(dataset.model.centroids, axis=1).mean())
    return dataset.spec.std_dev * math.sqrt(dataset.spec.model.dimension) / length


def warn_of_noise(dataset: Dataset) -> None:
    """Say on standard error, with the number, when the noise swamps the clusters."""
    ratio = noise_ratio(dataset)
    if ratio > 1:
        cosine = 1 / math.sqrt(1 + ratio**2)
        text = (
            f"--std-dev {dataset.spec.std_dev:g} makes noise {ratio:.1f} times as long as a centroid: the "
            f"cosine of a row to its own centroid is about {cosine:.2f}, and an index on such rows looks "
            "broken (HNSW recall far below that of real embeddings)"
        )
        print(f"synthgen: warning: {text}", file=sys.stderr)


def source_of(dataset: Dataset) -> EncodedSource:
    """Return the dataset as rows that are made where they are read."""
    spec = dataset.spec
    layout = LineLayout.of(dataset, spec.model.dimension, spec.decimals)
    return EncodedSource(dataset, layout, spec.count, spec.fingerprint, f"dataset {spec.fingerprint[:8]}")


def open_input(path: Path) -> RowSource:
    """Return the rows of a JSONL file: by its manifest where it has one, else by its lines."""
    beside = manifest_path(path)
    if not path.exists():
        raise InputError("no such file", where=str(path), next_step="check --input")
    if not path.is_file():
        raise InputError("not a regular file", where=str(path), next_step="check --input")
    if not beside.exists():
        return scan_lines(path)
    manifest = read_manifest(beside)
    if path.stat().st_size != manifest.n_bytes:
        raise InputError(
            f"has {path.stat().st_size:,} bytes, its manifest says {manifest.n_bytes:,}",
            where=str(path),
            next_step="delete the file and run the same `synthgen generate` command again",
        )
    return DatasetFileSource(path, manifest)
