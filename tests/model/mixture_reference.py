"""The law of a model file in floating point, straight from its docstring: slow, and nobody's dataset.

What :mod:`synthgen.generate.mixture` draws in integers; here to see that a fitted model has the statistics
of what it was fitted to, and to compare that one with.
"""

import numpy as np
from numpy.typing import NDArray

from synthgen.model.mixture import MixtureModel


def reference_rows(
    model: MixtureModel, n_rows: int, seed: int, block_rows: int = 4096
) -> NDArray[np.float32]:
    """Return (n_rows, d) float32 rows at their length."""
    rng = np.random.default_rng(seed)
    blocks = [
        _block(model, min(block_rows, n_rows - at), rng).astype(np.float32)
        for at in range(0, n_rows, block_rows)
    ]
    return np.concatenate(blocks)


def _block(model: MixtureModel, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    one = 2.0**-16
    settings = model.settings
    words = rng.integers(0, 2**32, n)
    u = np.searchsorted(model.popularity, words, side="right").clip(max=len(model.anchors) - 1)
    second = (rng.random(n) < settings["second"]).astype(int)
    others = rng.integers(1, model.labels.shape[1], n)
    c = model.labels[u, np.where(rng.random(n) < settings["first"], 0, others), second]
    tightness = model.tightness[u] * one
    strayed = np.minimum(1, model.stay[rng.integers(0, len(model.stay), n)] * one * tightness)
    rest = 1 - settings["tau"] - settings["iso"] - settings["pool"]
    noise = np.zeros((n, model.anchors.shape[1]))
    for weight in model.simplex[rng.integers(0, len(model.simplex), n)].T * one * np.sqrt(rest):
        noise += weight[:, None] * _residual(model, c, rng)
    for _ in range(3):
        noise += np.sqrt(settings["tau"] / 3) * rng.standard_normal((n, 1)) * _residual(model, c, rng)
    spread = model.spread[c][:, None] * 2.0**-24
    residuals = (model.anchors - model.centroids[model.labels[:, 0, 0]]) * 2.0**-model.unit_bits
    for _ in range(2):
        weight = np.sqrt(settings["pool"] / 2) * rng.standard_normal((n, 1)) * spread / residuals.std()
        noise += weight * residuals[rng.integers(0, len(residuals), n)]
    noise += np.sqrt(settings["iso"]) * spread * rng.standard_normal(noise.shape)
    step = 2.0**-model.unit_bits
    centroid = model.centroids[c] * step
    middle = model.middle * step / 16
    row = np.minimum(tightness * 16, 15).astype(int)
    stretch = model.stretch[row, rng.integers(0, 256, n)][:, None] * one
    own, other = np.sqrt(1 - strayed)[:, None], settings["gain"] * np.sqrt(strayed)[:, None]
    rows = middle + centroid + stretch * (own * (model.anchors[u] * step - centroid) + other * noise)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    lengths = model.lengths[u] * one if len(model.lengths) else np.ones(n)
    return np.asarray(rows * lengths[:, None] * model.scale)


def _residual(model: MixtureModel, c: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.float64]:
    sizes = np.diff(model.starts)[c]
    members = model.members[model.starts[c] + (rng.random(len(c)) * sizes).astype(np.int64)]
    return (model.anchors[members].astype(float) - model.centroids[c]) * 2.0**-model.unit_bits
