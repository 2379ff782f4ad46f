"""Phase 2: what a database lists, page by page, into centroids and a description of them."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthgen.errors import TargetError, UsageError
from synthgen.model.centroids import save_centroids
from synthgen.model.kmeans import CentroidFit, fit_centroids
from synthgen.model.spool import EmbeddingSpool
from synthgen.phases.memories import RealMemories, name_spaces
from synthgen.runtime import files
from synthgen.specs import DEFAULT_SEED, EMBEDDING_DIMENSION


@dataclass(frozen=True)
class CentroidOptions:
    """What to extract from where. ``spaces`` empty: the server's default space."""

    endpoint: str
    output: Path
    spaces: tuple[str, ...] = ()
    n_centroids: int = 100
    seed: int = DEFAULT_SEED
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.n_centroids < 1:
            raise UsageError(f"--num-centroids must be at least 1, not {self.n_centroids}")
        if self.output.suffix != ".npy":
            raise UsageError(f"--output must end in .npy, not {self.output.name!r}")


def extract_centroids(options: CentroidOptions) -> dict[str, Any]:
    """Read every real memory of the spaces, fit, and write ``output`` (.npy) and its .json; return the .json.

    Synthetic memories (ids ``syn-...``, ``qry-...``) are left out. The result depends on the memories and the
    seed, not on the order in which the server lists them. Raises InputError, TargetError.
    """
    files.check_parent_folder(options.output)
    folder = options.output.absolute().parent
    with RealMemories(options.endpoint, options.spaces, folder, quiet=options.quiet) as memories:
        return centroids_of(memories, options)


def centroids_of(memories: RealMemories, options: CentroidOptions) -> dict[str, Any]:
    """Do what :func:`extract_centroids` does, with memories that others may want, too."""
    started_s = time.monotonic()
    spool = memories.read()
    _check_dimension(options, spool)
    fit = fit_centroids(spool, options.n_centroids, options.seed)
    about = _describe(options, spool, fit, memories.n_synthetic)
    save_centroids(options.output, fit.model, about)
    return {**about, "digest": fit.model.digest, "elapsed_s": time.monotonic() - started_s}


def _check_dimension(options: CentroidOptions, spool: EmbeddingSpool) -> None:
    if spool.dimension != EMBEDDING_DIMENSION:
        raise TargetError(
            f"memories have {spool.dimension} components, {EMBEDDING_DIMENSION} are needed",
            where=name_spaces(options.endpoint, options.spaces),
            next_step=f"store embeddings of a {EMBEDDING_DIMENSION}-dimensional model",
        )


def _describe(
    options: CentroidOptions, spool: EmbeddingSpool, fit: CentroidFit, n_synthetic: int
) -> dict[str, Any]:
    lengths = np.linalg.norm(fit.model.centroids, axis=1)
    return {
        "num_centroids": options.n_centroids,
        "num_source_embeddings": fit.n_rows,
        "num_synthetic_left_out": n_synthetic,
        "embedding_dim": spool.dimension,
        "seed": options.seed,
        "endpoint": options.endpoint,
        "spaces": list(options.spaces),
        "source_ids_sha256": hashlib.sha256("\n".join(spool.ids).encode()).hexdigest(),
        "inertia": fit.inertia,
        "cluster_sizes": fit.sizes.tolist(),
        "centroid_length": {"mean": float(lengths.mean()), "min": float(lengths.min())},
        "method": "MiniBatchKMeans (scikit-learn), rows in the order of their ids, one thread",
    }
