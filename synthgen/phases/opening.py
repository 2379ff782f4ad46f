"""``synthgen.open_dataset``: from what a program names to a sequence of memories, without any file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import InputError, UsageError
from synthgen.formats.manifest import manifest_path
from synthgen.formats.memories import MemoryDataset
from synthgen.generate.dataset import Dataset
from synthgen.generate.laws import Model
from synthgen.model.centroids import as_centroids
from synthgen.phases.datasets import (
    BUILT_IN,
    builtin_model,
    check_model,
    choose_model,
    load_model,
    model_of,
    read_spec,
)
from synthgen.specs import DatasetSpec, Role

#: Where a file lies, as Python's own functions take it.
AnyPath = str | os.PathLike[str]
#: Centroids (k, d), or the .npy file of such.
Centroids = AnyPath | NDArray[np.floating[Any]]


class Parameters(TypedDict, total=False):
    """The fields of a :class:`DatasetSpec`; what is left out is as `synthgen generate` has it."""

    count: int
    seed: int
    std_dev: float
    confidence: float
    decimals: int
    tightness: float
    zipf: float
    near_duplicate_rate: float
    outlier_rate: float
    role: Role
    shift: float


def open_dataset(
    spec: AnyPath | DatasetSpec | Mapping[str, Any] | None = None,
    *,
    model: AnyPath | None = None,
    centroids: Centroids | None = None,
    **parameters: Unpack[Parameters],
) -> MemoryDataset:
    """Return the memories of a dataset as a read-only sequence; they are made when they are asked for.

    Either ``spec`` says what they are: the path of a spec, of a manifest or of a generated file, a
    :class:`DatasetSpec`, or a JSON document of one; ``count`` may be given with it, and ``model`` or
    ``centroids`` where the model does not lie where it says. Or ``parameters`` do (those of `synthgen
    generate`), with ``centroids`` ((k, d) floats or a .npy file: the isotropic law), or ``model`` (.npz of
    `synthgen fit`), or neither: the built-in model.

    Raises UsageError for values that make no sense, InputError for files that cannot be used.

    >>> memories = open_dataset(count=1_000, seed=7)
    >>> memories[0].id, memories[10:20].embeddings.shape
    ('syn-...-0000000000000', (10, 768))
    """
    unknown = parameters.keys() - Parameters.__annotations__.keys()
    if unknown:
        known = ", ".join(["spec", "model", "centroids", *Parameters.__annotations__])
        raise TypeError(f"open_dataset() has no parameter {min(unknown)!r}; it has {known}")
    given: dict[str, Any] = {name: value for name, value in parameters.items() if value is not None}
    if spec is None:
        return _as_memories(_from_parameters(model, centroids, given))
    surplus = given.keys() - {"count"}
    if surplus:
        raise UsageError(
            f"{min(surplus)} is given, and so is a spec, which says it already",
            next_step="give one of both; with a spec, only count may be another one",
        )
    return _as_memories(_from_spec(spec, model, centroids, given.get("count")))


def _as_memories(dataset: Dataset) -> MemoryDataset:
    return MemoryDataset(dataset, dataset.spec, dataset.grid)


def _from_parameters(
    model: AnyPath | None, centroids: Centroids | None, parameters: dict[str, Any]
) -> Dataset:
    chosen, source = _load(model, centroids, parameters.get("std_dev"))
    return Dataset(DatasetSpec(chosen.reference(source), **parameters), chosen)


def _from_spec(
    named: AnyPath | DatasetSpec | Mapping[str, Any],
    model: AnyPath | None,
    centroids: Centroids | None,
    count: int | None,
) -> Dataset:
    spec, folder = _read(named)
    if count is not None:
        spec = replace(spec, count=count)
    if model is None and centroids is None:
        found, source = _find(spec, folder)
    else:
        found, source = _load(model, centroids, None)
        check_model(found, spec, source or "centroids")
    return Dataset(replace(spec, model=replace(spec.model, source=source)), found)


def _read(named: AnyPath | DatasetSpec | Mapping[str, Any]) -> tuple[DatasetSpec, Path]:
    """Return the spec, and the folder from which it names its model."""
    if isinstance(named, DatasetSpec):
        return named, Path.cwd()
    if isinstance(named, Mapping):
        return DatasetSpec.from_document(named.get("spec", named)), Path.cwd()
    path = Path(named)
    document = path if path.suffix == ".json" else manifest_path(path)
    if not document.exists() and path.is_file():
        raise InputError(
            f"no manifest beside it ({document.name})",
            where=str(path),
            next_step="give the path of a dataset spec or manifest",
        )
    return read_spec(document), document.absolute().parent


def _find(spec: DatasetSpec, folder: Path) -> tuple[Model, str]:
    """Return the model where ``spec`` says that it lies, and its path, which holds from any folder."""
    if not spec.model.source:
        raise InputError(
            "its model was made of an array, and lies in no file",
            where=f"dataset {spec.fingerprint[:8]}",
            next_step="give centroids=... with it",
        )
    found = model_of(spec, folder)
    is_built_in = spec.model.source == BUILT_IN
    return found, BUILT_IN if is_built_in else os.path.normpath(folder / spec.model.source)


def _load(model: AnyPath | None, centroids: Centroids | None, std_dev: float | None) -> tuple[Model, str]:
    """Return the model that is meant, and where it lies: nothing for an array."""
    if isinstance(centroids, np.ndarray):
        choose_model(Path("centroids"), std_dev, _path(model))  # refuses what it refuses of files
        return as_centroids(centroids), ""
    path = choose_model(_path(centroids), std_dev, _path(model))
    return load_model(path), BUILT_IN if path == builtin_model() else str(path.absolute())


def _path(named: AnyPath | None) -> Path | None:
    return None if named is None else Path(named)
