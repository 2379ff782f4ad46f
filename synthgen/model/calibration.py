"""The two numbers of a law that are set by comparing what it draws with the rows it was fitted to.

The gain, by the mean cosine of pairs; and the share of isotropic noise, by the distance between neighbours.
Only as many rows are drawn as were fitted, so that none has to be held back: drawn rows differ from the
fitted ones as they differ from as many unseen ones (within 0.01 for texts).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from synthgen.model.mixture_draw import Law, draw_rows
from synthgen.model.neighbours import nearest_cosines, pair_mean

Floats = NDArray[np.float32]

_GAIN_ROUNDS, _GAIN_TOLERANCE = 5, 5e-4
_LEAST_GAIN, _MOST_GAIN = 0.9, 1.3
#: Components drawn for one look at the mean cosine: 6,500 rows at 768.
_GAIN_COMPONENTS = 5_000_000
_ISO_ROUNDS, _ISO_TOLERANCE, _ISO_STEP = 4, 0.005, 0.1
#: Nearer by less than this is let be: sets of texts came out no better, one worse, for moving.
_ISO_TRIGGER = 0.03
#: More would leave nothing for the positive mixtures, which make neighbours of neighbours neighbours.
_MOST_ISO = 0.55
_QUERIES = 1_500


def calibrate(law: Law, units: Floats, nearest: float, seed: int) -> Law:
    """Return ``law`` with gain and isotropic share set by ``units`` (n, d), the rows that it was fitted to.

    ``nearest``: their mean cosine to the nearest other one. Where drawn rows lie clearly closer together, the
    isotropic share rises from the recipe's, which is its least: sets of texts keep it, vectors of words,
    whose intrinsic dimension is twice as high, need 0.4 to 0.5. Depends on the arguments alone.
    """
    pairs, iso = pair_mean(units), law.recipe.iso
    unit = max(1 - nearest, 1e-6) / 0.5  # a share of the distance, which is 0.5 for texts
    known: list[tuple[float, float]] = []
    trials: list[Law] = []
    for _ in range(_ISO_ROUNDS):
        trials.append(set_gain(replace(law, recipe=replace(law.recipe, iso=iso)), pairs, seed))
        known.append((iso, (_mean_nearest(trials[-1], len(units), seed) - nearest) / unit))
        if abs(known[-1][1]) < _ISO_TOLERANCE or known[0][1] < _ISO_TRIGGER:
            break
        iso = _next(known, _ISO_STEP, law.recipe.iso, _MOST_ISO)
    return trials[int(np.argmin([abs(error) for _, error in known]))]


def set_gain(law: Law, target: float, seed: int) -> Law:
    """Return ``law`` with the gain at which drawn rows have the mean cosine ``target`` (secant rule)."""
    known: list[tuple[float, float]] = []
    gain = law.recipe.gain
    n_rows = _GAIN_COMPONENTS // law.anchors.units.shape[1]
    for _ in range(_GAIN_ROUNDS):
        trial = replace(law, recipe=replace(law.recipe, gain=gain))
        known.append((gain, pair_mean(draw_rows(trial, n_rows, seed)) - target))
        if abs(known[-1][1]) < _GAIN_TOLERANCE:
            break
        gain = _next(known, 0.05, _LEAST_GAIN, _MOST_GAIN)
    best = min(known, key=lambda pair: abs(pair[1]))[0]
    return replace(law, recipe=replace(law.recipe, gain=best))


def _next(known: list[tuple[float, float]], step: float, low: float, high: float) -> float:
    """Return where to look next for the root of a falling function: by a step at first, then by secants."""
    value, error = known[-1]
    if len(known) == 1:
        value += step if error > 0 else -step
    else:
        before, error_before = known[-2]
        if abs(error - error_before) > 1e-7:
            value -= error * (value - before) / (error - error_before)
    return float(np.clip(value, low, high))


def _mean_nearest(law: Law, n_rows: int, seed: int) -> float:
    rows = draw_rows(law, n_rows, seed + 1)
    queries, others = rows[:_QUERIES], rows[_QUERIES:]
    among = queries @ queries.T
    np.fill_diagonal(among, -1)
    best = among.max(axis=1)
    return float((np.maximum(best, nearest_cosines(queries, others)) if len(others) else best).mean())
