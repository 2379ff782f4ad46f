"""Small exact datasets for tests: made of integers, so the same on every machine."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from synthgen.generate.dataset import Dataset
from synthgen.generate.laws import Model
from synthgen.model.centroids import CentroidModel, save_centroids
from synthgen.model.mixture import MixtureModel
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


def make_mixture(
    n_anchors: int = 300,
    dimension: int = 768,
    *,
    titles: bool = True,
    longest: float = 0.0,
    middle: int = 0,
) -> MixtureModel:
    """Return a fitted model made of integers: 12 clusters in 2 clusterings, of anchors at cosine 0.45 to
    their centroid. ``longest``: of vectors that are not of unit length, else 0; ``middle``: size of what
    they have in common, in 1/4096.
    """
    words = np.random.PCG64DXSM(np.random.SeedSequence(98)).random_raw((n_anchors + 6) * dimension)
    noise = (words >> np.uint64(52)).astype(np.int64).reshape(-1, dimension) - 2**11
    middles = noise[:6] // 2  # anchors are these plus noise of twice their length, near unit length in all
    labels = np.arange(n_anchors) % 6
    unit = 2**19 * math.isqrt(dimension) // 1_000
    anchors = (middles[labels] + noise[6:]) * 100 // unit
    members = [np.flatnonzero(labels == c) for c in range(6)] * 2
    centroids = np.stack([anchors[rows].sum(axis=0) // len(rows) for rows in members])
    steps = np.arange(4_096)
    simplex = [[math.isqrt(part << 20) for part in _split(step)] for step in steps.tolist()]
    return MixtureModel(
        anchors=anchors.astype(np.int8),
        centroids=centroids.astype(np.int8),
        middle=((np.arange(dimension) % 3 - 1) * middle).astype(np.int32),
        labels=np.stack([labels, (labels + 1) % 6, labels + 6, (labels + 1) % 6 + 6], 1)
        .reshape(-1, 2, 2)
        .astype(np.int32),
        members=np.concatenate(members).astype(np.int32),
        starts=np.cumsum([0, *map(len, members)]),
        popularity=np.array(
            [(u + 1) ** 2 * (2**32 - 1) // n_anchors**2 for u in range(n_anchors)], np.uint32
        ),
        tightness=(2**15 + np.arange(n_anchors) % 5 * 2**14).astype(np.int32),
        spread=np.full(12, 15_000_000 // math.isqrt(dimension), np.int32),
        stay=(steps * 16 + 8).astype(np.int32),
        simplex=np.array(simplex, np.int32),
        stretch=(2**16 - 2**13 + np.arange(16 * 256).reshape(16, 256) % 256 * 2**6).astype(np.int32),
        lengths=(2**15 + np.arange(n_anchors) % 3 * 2**14).astype(np.int32)
        if longest
        else np.empty(0, np.int32),
        unit_bits=8,
        scale=longest or 1.0,
        settings={"tau": 0.375, "iso": 0.125, "pool": 0.0625, "gain": 1.0625, "first": 0.625, "second": 0.25},
        titles=tuple(f'"Größe" {u % 200}' for u in range(n_anchors)) if titles else (),
        about={},
    )


def _split(step: int) -> tuple[int, int, int, int]:
    """Return four numbers that sum to 2**12."""
    first, second, third = sorted((step, step * 1_597 % 2**12, step * 2_531 % 2**12))
    return first, second - first, third - second, 2**12 - third


def make_dataset(count: int = 2_500, *, model: Model | None = None, **parameters: float | None) -> Dataset:
    """Return a dataset of ``count`` rows around :func:`make_model`."""
    model = model or make_model()
    return Dataset(DatasetSpec(model.reference("centroids.npy"), count=count, **parameters), model)  # type: ignore[arg-type]


def save_model(folder: Path) -> Path:
    """Write the model to ``folder``/centroids.npy, with titles beside it; return the path."""
    path = folder / "centroids.npy"
    save_centroids(path, make_model(), {"num_centroids": 7})
    return path
