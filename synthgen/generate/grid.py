"""How many digits the components of a dataset have: the one place that decides it.

Behind the point as many as the spec asks for, but where vectors are so long that digits before the point
leave no room for them in an int32: then fewer, since significant digits are what counts. A function of the
spec and the model alone, and the same for all rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from synthgen.errors import InputError
from synthgen.model.centroids import CentroidModel
from synthgen.model.mixture import MixtureModel
from synthgen.specs import MOST_DECIMALS, DatasetSpec, Grid

#: Digits of a component in all: any number of them fits an int32.
_MOST_DIGITS = 9
#: Length beyond which no format writes vectors: six digits before the point.
_LONGEST = 999_999
#: What rounding may add to a vector of median length, and to the shortest, as shares of their lengths. With
#: half its length to spare, no row becomes zeros.
_MOST_ERROR, _MOST_ERROR_OF_SHORTEST = 0.01, 0.5


def choose_grid(spec: DatasetSpec, model: CentroidModel | MixtureModel) -> Grid:
    """Return the grid of the rows of ``spec``; raise InputError where none can hold them, or only coarsely.

    The isotropic law makes rows of unit length. Those of the mixture law are as long as the model says: the
    grid holds the longest with at most 9 digits a component.
    """
    if isinstance(model, CentroidModel):
        return Grid.unit(spec.decimals)
    lengths = _Lengths(model)
    if not lengths.longest <= _LONGEST:
        raise InputError(
            f"its vectors are up to {lengths.longest:.3g} long, but at most {_LONGEST:,} can be written",
            where=spec.model.source,
            next_step="divide them by a constant, or bring them to unit length, and fit again",
        )
    grid = lengths.grid(spec.decimals)
    fault = lengths.fault(grid)
    if fault is not None:
        finer = range(spec.decimals + 1, MOST_DECIMALS + 1)
        enough = next((n for n in finer if lengths.fault(lengths.grid(n)) is None), None)
        remedy = fault.remedy if enough is None else f"give --decimals {enough}"
        raise InputError(fault.what, where=spec.model.source, next_step=remedy)
    return grid


@dataclass(frozen=True)
class _Fault:
    what: str
    remedy: str


class _Lengths:
    """The lengths of a model's vectors, and what a grid makes of them."""

    def __init__(self, model: MixtureModel) -> None:
        relative = model.lengths if len(model.lengths) else np.array([2**16])
        self._scale = model.scale
        self._relative = float(relative.max()) / 2**16
        self._dimension = model.anchors.shape[1]
        self.longest = self._relative * model.scale
        self._shortest = float(relative.min()) / 2**16 * model.scale
        self._median = float(np.median(relative)) / 2**16 * model.scale

    def grid(self, decimals: int) -> Grid:
        """Return the grid of at most ``decimals`` digits behind the point that holds the longest vector."""
        grids = (Grid(n, self._steps(n)) for n in range(decimals, 0, -1))
        return next(grid for grid in grids if grid.integer_digits + grid.decimals <= _MOST_DIGITS)

    def fault(self, grid: Grid) -> _Fault | None:
        """Return what is wrong with vectors on ``grid``, if anything."""
        median, shortest = (self._error(length, grid) for length in (self._median, self._shortest))
        if median > _MOST_ERROR:
            return _Fault(
                f"its vectors are about {self._median:.2g} long (the longest {self.longest:.2g}), which "
                f"{grid.decimals} decimals would change by {min(median, 1):.0%}",
                "bring them to unit length, or leave out what is far longer than others, and fit again",
            )
        if shortest > _MOST_ERROR_OF_SHORTEST:
            return _Fault(
                f"its shortest vectors, {self._shortest:.2g} long where others are about {self._median:.2g}, "
                f"would vanish with {grid.decimals} decimals",
                "leave such rows out, and fit again",
            )
        return None

    def _steps(self, decimals: int) -> int:
        """Return the length of the longest in steps, computed as the law does, so that it is never less."""
        return math.ceil(self._relative * (float(10**decimals) * self._scale))

    def _error(self, length: float, grid: Grid) -> float:
        """Return the length of what rounding adds, as a share: uniform errors of variance 1/12 steps."""
        steps = length * 10.0**grid.decimals
        return math.sqrt(self._dimension / 12) / steps if steps else math.inf
