"""Fitting the mixture law to real vectors: from rows to a :class:`MixtureModel`, in bounded memory.

The way: a sample of rows at unit length -> three k-means clusterings (clusterings.py) -> virtual anchors,
none of them a real row (anchors.py) -> gain and isotropic share, by comparing what is drawn with the fit rows
(calibration.py, mixture_draw.py) -> integers (mixture_tables.py).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from synthgen import __version__
from synthgen.errors import InputError
from synthgen.model.anchors import Anchors, make_anchors
from synthgen.model.calibration import CALIBRATED, Calibrated, Target, calibrate
from synthgen.model.clusterings import Clusterings, cluster_rows
from synthgen.model.mixture import MixtureModel
from synthgen.model.mixture_draw import Law
from synthgen.model.mixture_tables import make_model
from synthgen.model.neighbours import nearest_cosines, top_cosines
from synthgen.model.recipe import Recipe

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

MIN_ROWS = 100
#: Rows fitted at most: with more, neighbour search costs its square and the model file grows past 30 MB.
MAX_ROWS = 20_000
#: Bytes of fitted vectors at most, as float32; fewer rows are taken of long vectors.
MAX_FIT_BYTES = 128_000_000
MIN_DIMENSION, MAX_DIMENSION = 64, 4_096
_BLOCK_ROWS = 4_096
#: When other sizes of clusters are tried, and which.
_LITTLE_ISO, _SMALLER, _MUCH_ISO, _LARGER = 0.03, 0.65, 0.35, 2.0
_HINT = "leave such rows out: they have no direction"


class VectorSource(Protocol):
    """Rows that can be read in any order, as :class:`synthgen.model.spool.EmbeddingSpool` offers them."""

    @property
    def dimension(self) -> int:
        """Components of a row."""
        ...

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def gather(self, rows: Integers) -> Floats:
        """Return the rows (len(rows), d) float32."""
        ...

    def title(self, row: int) -> str:
        """Return what to call the row, or an empty string."""
        ...


class ArraySource:
    """An array, in memory or mapped, of any float dtype, with titles or none, as a :class:`VectorSource`."""

    def __init__(self, vectors: NDArray[Any], titles: Sequence[str] = ()) -> None:
        if vectors.ndim != 2 or vectors.dtype.kind != "f":
            raise InputError(f"{vectors.dtype} {vectors.shape} are no rows of floating-point numbers")
        if titles and len(titles) != len(vectors):
            raise InputError(f"{len(titles):,} titles for {len(vectors):,} vectors")
        self._vectors = vectors
        self._titles = titles
        self.dimension = int(vectors.shape[1])

    def __len__(self) -> int:
        return len(self._vectors)

    def gather(self, rows: Integers) -> Floats:
        """Return the rows (len(rows), d) float32; what float32 cannot hold becomes infinite."""
        with np.errstate(over="ignore"):
            return np.array(self._vectors[rows], np.float32)

    def title(self, row: int) -> str:
        """Return the title of ``row``, or an empty string."""
        return self._titles[row] if self._titles else ""


@dataclass(frozen=True)
class FitRows:
    """The rows that are fitted: ``units`` (n, d) float32 at unit length, their ``lengths`` (n,) float64, and
    ``rows`` (n,) int64, their numbers in the source, ascending.
    """

    units: Floats
    lengths: NDArray[np.float64]
    rows: Integers


def fit_mixture(
    vectors: VectorSource | NDArray[Any],
    seed: int,
    *,
    recipe: Recipe | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> MixtureModel:
    """Return a model of ``vectors``: (n, d), n at least 100, d 64 to 4,096, of unit length or not.

    At most 20,000 rows (128 MB as float32) are fitted, chosen by ``seed``. ``note`` is told what is being
    done. Depends on the rows, their order, ``seed`` and ``recipe``: one thread, so that sums have one order;
    another machine may give other last bits, and so another model. Raises InputError when rows are too few,
    not finite, all zero, or all the same.
    """
    started_s = time.monotonic()
    source = ArraySource(vectors) if isinstance(vectors, np.ndarray) else vectors
    with threadpool_limits(1):
        note("reading")
        fit_rows = read_fit_rows(source, seed)
        law = fit_law(fit_rows.units, seed, recipe or Recipe(), note)
        about = _describe(source, fit_rows, law, seed)
    parents = law.anchors.parents
    titles = tuple(source.title(int(row)) for row in fit_rows.rows[parents])
    about["fit_s"] = round(time.monotonic() - started_s, 1)
    return make_model(law, fit_rows.lengths[parents], titles if any(titles) else (), about)


def read_fit_rows(source: VectorSource, seed: int) -> FitRows:
    """Return the rows to fit: all, or a sample by ``seed``; raise InputError where one cannot be fitted."""
    _check_shape(len(source), source.dimension)
    n = min(len(source), MAX_ROWS, MAX_FIT_BYTES // (4 * source.dimension))
    rows = np.sort(np.random.default_rng([seed, 0]).choice(len(source), n, replace=False))
    units = source.gather(rows)
    lengths = np.empty(n)
    for at in range(0, n, _BLOCK_ROWS):
        exact = units[at : at + _BLOCK_ROWS].astype(np.float64)  # squares can be too large for float32
        _check_block(exact, rows[at : at + _BLOCK_ROWS])
        lengths[at : at + _BLOCK_ROWS] = np.linalg.norm(exact, axis=1)
        units[at : at + _BLOCK_ROWS] = exact / lengths[at : at + _BLOCK_ROWS, None]
    if float((units @ units[0]).min()) > 1 - 1e-6:
        raise InputError("all vectors point the same way", next_step="there is nothing to fit; give others")
    return FitRows(units, lengths, rows)


def fit_law(units: Floats, seed: int, recipe: Recipe, note: Callable[[str], None] = lambda text: None) -> Law:
    """Return the law of the rows ``units`` (n, d) of unit length, calibrated on them."""
    note(f"looking at {len(units):,} rows")
    target, nearest = Target.of(units, seed), top_cosines(units, 2)

    def attempt(tried: Recipe) -> Calibrated:
        note(f"{len(units):,} rows in clusters of about {tried.rows_per_cluster:g}")
        clusters = cluster_rows(units, tried.cluster_sizes, seed)
        note("placing anchors")
        anchors = make_anchors(units, nearest, clusters, tried, np.random.default_rng([seed, 1]))
        law = Law(anchors, _clusters_of_anchors(clusters, anchors), tried)
        note("comparing what is drawn")
        return calibrate(law, target, seed)

    first = attempt(recipe)
    other = _other_size(first.law.recipe)
    if other is None:
        return first.law
    second = attempt(replace(recipe, rows_per_cluster=other))
    return min(first, second, key=lambda found: found.misfit).law


def _other_size(recipe: Recipe) -> float | None:
    """Return another size of clusters to try, where the isotropic share shows that these may be wrong: nearly
    none, and the clusters are too wide; much, and they are too narrow.
    """
    if recipe.iso < _LITTLE_ISO:
        return recipe.rows_per_cluster * _SMALLER
    return recipe.rows_per_cluster * _LARGER if recipe.iso > _MUCH_ISO else None


def _clusters_of_anchors(clusters: Clusterings, anchors: Anchors) -> Clusterings:
    """Return the clusters with anchors as members: where a fit row was, its first anchor.

    With all of its anchors, clusters would have more members than the fit has seen, and rows that are
    mixtures of them would lie further apart than real ones.
    """
    n_rows = len(clusters.labels)
    first_anchors = np.empty(n_rows, np.int64)
    first_anchors[anchors.parents[:n_rows]] = np.arange(n_rows)
    return replace(clusters, labels=clusters.labels[anchors.parents], members=first_anchors[clusters.members])


def _check_shape(n_rows: int, dimension: int) -> None:
    if not MIN_DIMENSION <= dimension <= MAX_DIMENSION:
        raise InputError(
            f"vectors have {dimension:,} components",
            next_step=f"give vectors of {MIN_DIMENSION} to {MAX_DIMENSION:,}",
        )
    if n_rows < MIN_ROWS:
        raise InputError(
            f"{n_rows:,} vectors are too few to fit",
            next_step=f"give at least {MIN_ROWS}, better some thousands",
        )


def _check_block(block: NDArray[np.float64], rows: Integers) -> None:
    finite = np.isfinite(block).all(axis=1)
    for good, what in ((finite, "is not finite"), (block.any(axis=1), "is all zero")):
        if not good.all():
            raise InputError(f"row {rows[int(good.argmin())]:,} {what}", next_step=_HINT)


def _describe(source: VectorSource, fit_rows: FitRows, law: Law, seed: int) -> dict[str, Any]:
    nearest = nearest_cosines(law.anchors.units, fit_rows.units)
    return {
        "n_source_rows": len(source),
        "n_fit_rows": len(fit_rows.rows),
        "fit_rows_sha256": _digest(fit_rows),
        "dimension": source.dimension,
        "seed": seed,
        "n_anchors": len(law.anchors.units),
        "n_clusters": len(law.clusters.centroids),
        "rows_per_cluster": law.recipe.rows_per_cluster,
        **{name: round(getattr(law.recipe, name), 6) for name in (*CALIBRATED, "centring")},
        "anchor_to_nearest_fit_row": _quantiles(nearest),
        "synthgen": __version__,
        "numpy": np.__version__,
        "scikit-learn": version("scikit-learn"),
    }


def _digest(fit_rows: FitRows) -> str:
    hasher = hashlib.sha256(np.ascontiguousarray(fit_rows.units, "<f4").tobytes())
    return hasher.hexdigest()


def _quantiles(cosines: Floats) -> dict[str, float]:
    at = (0.05, 0.5, 0.95, 1.0)
    values = np.quantile(cosines, at)
    return {f"{share:g}": round(float(value), 4) for share, value in zip(at, values, strict=True)}
