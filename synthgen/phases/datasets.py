"""From what a user names (flags, a spec, a manifest, a file) to a dataset, and to a source of its rows."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np

from synthgen.errors import InputError, UsageError
from synthgen.formats.encoding import Encoding
from synthgen.formats.jsonl import LineLayout
from synthgen.formats.manifest import manifest_path, read_document, read_manifest
from synthgen.formats.outputs import DEFAULT_FORMAT, format_of, make_encoding
from synthgen.formats.parquet import Parquet
from synthgen.formats.source import DatasetFileSource, EncodedSource, scan_lines
from synthgen.formats.table_source import scan_table
from synthgen.generate.dataset import Dataset
from synthgen.generate.laws import Model
from synthgen.model.centroids import CentroidModel, load_centroids
from synthgen.model.mixture import LAW as MIXTURE_LAW
from synthgen.model.mixture import load_mixture
from synthgen.specs import DatasetSpec, RowSource

#: How a fitted model's file is named; every other one holds centroids.
MODEL_SUFFIX = ".npz"
#: What a spec calls the model that the package ships.
BUILT_IN = "built-in"


def builtin_model() -> Path:
    """Return the path of the model fitted to the built-in foundation (scripts/make_model.py)."""
    return Path(str(resources.files("synthgen.model") / "data" / "builtin.npz"))


def choose_model(centroids: Path | None, std_dev: float | None, model: Path | None) -> Path:
    """Return the model that the flags mean: centroids for the isotropic law, a fitted one, or the built-in.

    Raises UsageError when flags of both laws are given, or --std-dev without centroids.
    """
    if centroids is None and std_dev is None:
        return model or builtin_model()
    if model is not None:
        raise UsageError(
            "--model is the fitted law's, --centroids and --std-dev are the isotropic law's: choose"
        )
    if centroids is None:
        raise UsageError("--std-dev is the isotropic law's: give --centroids FILE.npy with it")
    return centroids


def make_dataset(model_path: Path, document_folder: Path, **parameters: float | str | None) -> Dataset:
    """Return the dataset of the flags; its spec names the model relative to ``document_folder``.

    ``model_path``: of centroids (.npy) for the isotropic law, of a fitted model (.npz) for the mixture law.
    ``parameters``: count, seed, confidence, decimals, role, shift, and those of the law, where they are not
    the default.
    """
    model = load_model(model_path)
    built_in = model_path == builtin_model()
    source = BUILT_IN if built_in else os.path.relpath(model_path.absolute(), document_folder.absolute())
    return Dataset(DatasetSpec(model.reference(source), **parameters), model)  # type: ignore[arg-type]


def load_model(path: Path) -> Model:
    """Read the model at ``path``: a fitted one (.npz), else centroids."""
    return load_mixture(path) if path.suffix == MODEL_SUFFIX else load_centroids(path)


def read_spec(path: Path) -> DatasetSpec:
    """Return the spec at ``path``, or in the manifest there."""
    document = read_document(path, "a dataset spec or manifest")
    return DatasetSpec.from_document(document.get("spec", document), where=str(path))


def load_dataset(path: Path, count: int | None = None) -> Dataset:
    """Return the dataset of the spec or manifest at ``path``, with its model read and checked."""
    spec = read_spec(path)
    model = model_of(spec, path.absolute().parent)
    return Dataset(replace(spec, count=count) if count else spec, model)


def model_of(spec: DatasetSpec, folder: Path) -> Model:
    """Read the model that ``spec``, in ``folder``, names; raise InputError where it is another one."""
    built_in = spec.model.source == BUILT_IN
    path = builtin_model() if built_in else folder / spec.model.source
    fitted = spec.model.law == MIXTURE_LAW
    model: Model = load_mixture(path) if fitted else load_centroids(path)
    check_model(model, spec, str(path))
    return model


def check_model(model: Model, spec: DatasetSpec, where: str) -> None:
    """Raise InputError unless ``model``, which lay at ``where``, is the one that ``spec`` was drawn from."""
    if model.digest != spec.model.digest:
        raise InputError(
            "not the model that the dataset was drawn from (its digest differs)",
            where=where,
            next_step=f"put the file with model digest {spec.model.digest[:16]}... (and its .json) there",
        )


def noise_ratio(dataset: Dataset) -> float:
    """Return how much longer the noise is than a centroid, on average; 0 where the law is fitted."""
    if not isinstance(dataset.model, CentroidModel):
        return 0.0
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
    layout = LineLayout.of(dataset, spec.model.dimension, dataset.grid)
    return EncodedSource(dataset, layout, spec.count, spec.fingerprint, f"dataset {spec.fingerprint[:8]}")


def encoding_of(dataset: Dataset, format_: str) -> Encoding:
    """Return how the dataset becomes a file of a format (its name in formats/outputs.py); UsageError where
    it cannot.
    """
    return make_encoding(format_, source_of(dataset).layout, dataset.spec)


def open_input(path: Path) -> RowSource:
    """Return the rows of a file: by its manifest where it has one, else by its lines, or rows of Parquet.

    Raises InputError where it holds no memories; the error names the manifest, from whose spec the rows
    can be made without the file.
    """
    beside = manifest_path(path)
    if not path.exists():
        raise InputError("no such file", where=str(path), next_step="check --input")
    if not path.is_file():
        raise InputError("not a regular file", where=str(path), next_step="check --input")
    if not beside.exists():
        if format_of(path) == Parquet.name:
            return scan_table(path)
        _refuse_other_formats(path, format_of(path), "give a file of JSON lines, or of Parquet")
        return scan_lines(path)
    manifest = read_manifest(beside)
    if not manifest.line_bytes:
        _refuse_other_formats(path, manifest.format, f"rows are made again by --spec {beside} in its place")
    if path.stat().st_size != manifest.n_bytes:
        raise InputError(
            f"has {path.stat().st_size:,} bytes, its manifest says {manifest.n_bytes:,}",
            where=str(path),
            next_step="make it again with the command that made it",
        )
    return DatasetFileSource(path, manifest)


def _refuse_other_formats(path: Path, format_: str, next_step: str) -> None:
    if format_ == "jsonl.zst":
        next_step = "its manifest is missing: unpack it (zstd -d) and give the .jsonl file"
    if format_ != DEFAULT_FORMAT:
        raise InputError(f"a .{format_} file cannot be sent as it is", where=str(path), next_step=next_step)
