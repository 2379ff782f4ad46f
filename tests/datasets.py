"""Small exact datasets for tests: made of integers, so the same on every machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from synthgen.generate.dataset import Dataset
from synthgen.model.centroids import CentroidModel, save_centroids
from synthgen.specs import DatasetSpec


def make_model(n_centroids: int = 7, dimension: int = 768, titles: bool = True) -> CentroidModel:
    """Return centroids of random integers over 2**20, with titles that need JSON escapes and UTF-8."""
    words = np.random.PCG64DXSM(np.random.SeedSequence(99)).random_raw(n_centroids * dimension)
    numbers = (words >> np.uint64(44)).astype(np.int64) - 2**19
    centroids = (numbers.reshape(n_centroids, dimension) / 2**24).astype(np.float32)
    names = tuple(
        (f"Topic {c}", f'The "quoted" one of {c}', f"Größe {c}", f"back\\slash {c}")
        for c in range(n_centroids)
    )
    return CentroidModel(centroids, names if titles else ())


def make_dataset(count: int = 2_500, *, model: CentroidModel | None = None, **parameters: float) -> Dataset:
    """Return a dataset of ``count`` rows around :func:`make_model`."""
    model = model or make_model()
    return Dataset(DatasetSpec(model.reference("centroids.npy"), count=count, **parameters), model)  # type: ignore[arg-type]


def save_model(folder: Path) -> Path:
    """Write the model to ``folder``/centroids.npy, with titles beside it; return the path."""
    path = folder / "centroids.npy"
    save_centroids(path, make_model(), {"num_centroids": 7})
    return path
