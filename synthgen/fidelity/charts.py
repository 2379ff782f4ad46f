"""The charts of a report: recalls, distributions of each statistic, and a map."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.fidelity.drawing import COLOURS, DASHES, Drawing, draw
from synthgen.fidelity.geometry import PAIR_BINS
from synthgen.fidelity.indexes import EF_SEARCH, N_PROBES
from synthgen.fidelity.report import Charts, FidelityReport
from synthgen.fidelity.verdict import Judgement

SETS = ("real", "synthetic", "recipe")
_LABELS = {"real": "real", "synthetic": "synthetic", "recipe": "seed's recipe"}
_BINS = 80
_SMOOTHING = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16

Samples = Mapping[str, Mapping[str, NDArray[Any]]]


def make_drawings(report: FidelityReport) -> list[Drawing]:
    """Return the charts of ``report``, curves first; those of samples only where it has its samples."""
    lines = {line.key: line for line in report.judgements}
    drawings = [
        _curve(lines, "hnsw", EF_SEARCH, "HNSW: recall@10 by ef", "ef, candidates kept while searching"),
        _curve(lines, "ivf", N_PROBES, "IVF: recall@10 by nprobe", "nprobe, lists searched"),
        _bars(lines["pq"], "PQ: recall@10", "A product quantiser, one byte for 16 components.", 1.0),
        _bars(
            lines["near_duplicates"],
            "Near-duplicates",
            "Percent of rows whose nearest other row has a cosine of 0.95 or more.",
            100.0,
        ),
    ]
    return drawings + (_of_samples(report.charts) if report.charts else [])


def _of_samples(charts: Charts) -> list[Drawing]:
    samples = charts.samples
    drawings = [_pairs(samples)]
    for k, ordinal in ((1, "1st"), (10, "10th"), (100, "100th")):
        note = "Queries against the rest. Further right: neighbours are nearer."
        drawings.append(_density(samples, f"nn{k}", f"Cosine to the {ordinal} neighbour", note, "cosine"))
    note = "Levina and Bickel's estimate at each query, 100 neighbours. Further right: harder to index."
    drawings.append(_density(samples, "lid", "Local intrinsic dimension", note, "dimension"))
    drawings.append(_occurrences(samples))
    if "lengths" in samples["real"]:
        note = "In units of the mean real length. Matters where vectors are compared by inner product."
        drawings.append(_density(samples, "lengths", "Lengths of the vectors", note, "length"))
    return drawings + _maps(charts.maps)


def _curve(
    lines: Mapping[str, Judgement], prefix: str, settings: Iterable[int], title: str, label: str
) -> Drawing:
    points = [lines[f"{prefix}_{setting}"] for setting in settings]
    worst = max(points, key=lambda line: abs(line.difference))

    def plot(axes: Any) -> None:
        for name in SETS:
            values = [getattr(line, name) for line in points]
            axes.plot(
                list(settings),
                values,
                color=COLOURS[name],
                linestyle=DASHES[name],
                marker="o",
                markersize=3.5,
            )
        for name in ("real", "synthetic"):
            low, high = zip(*(_interval(line, name) for line in points), strict=True)
            axes.fill_between(list(settings), low, high, color=COLOURS[name], alpha=0.2, linewidth=0)
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(settings), [str(setting) for setting in settings])
        axes.minorticks_off()
        axes.set(xlabel=label, ylabel="recall@10", ylim=(-0.02, 1.02))

    gap = f"Largest gap to real: {abs(worst.difference):.3f} ({worst.label.rpartition(', ')[2]})."
    return draw(title, f"{gap} Bands: 95% over shuffles.", plot)


def _interval(line: Judgement, name: str) -> tuple[float, float]:
    value, width = getattr(line, name), getattr(line, f"{name}_interval")
    width = 0.0 if math.isnan(width) else width
    return max(0.0, value - width), min(1.0, value + width)


def _bars(line: Judgement, title: str, note: str, unit: float) -> Drawing:
    values = [unit * getattr(line, name) for name in SETS]

    def plot(axes: Any) -> None:
        places = np.arange(len(SETS))[::-1]
        bars = axes.barh(places, values, color=[COLOURS[name] for name in SETS], height=0.6)
        axes.bar_label(bars, [f"{value:.2f}" for value in values], padding=3)
        axes.set_yticks(places, [_LABELS[name] for name in SETS])
        axes.set_xlim(0, 1.18 * max(*values, 0.01 * unit))
        axes.grid(visible=False, axis="y")

    return replace(draw(title, note, plot, height_inch=1.7), sets=())


def _pairs(samples: Samples) -> Drawing:
    counts = {name: samples[name]["pairs"].reshape(-1, 100).sum(axis=1) for name in SETS}
    edges = PAIR_BINS[::100]
    seen = np.flatnonzero(sum(each > each.sum() * 1e-5 for each in counts.values()))
    shown = slice(max(0, seen[0] - 1), seen[-1] + 2)
    densities = {name: each[shown] / each.sum() / np.diff(edges)[0] for name, each in counts.items()}
    note = "All pairs of at most 7,000 rows."
    centres = (edges[:-1] + edges[1:])[shown] / 2
    return draw("Cosine of pairs", note, lambda axes: _plot_lines(axes, centres, densities, "cosine"))


def _density(samples: Samples, key: str, title: str, note: str, label: str) -> Drawing:
    finite = {name: samples[name][key][np.isfinite(samples[name][key])] for name in SETS}
    together = [np.quantile(values, [0.002, 0.998]) for values in finite.values() if len(values)]
    low, high = min(each[0] for each in together), max(each[1] for each in together)
    margin = 0.02 * (high - low) + 1e-6
    edges = np.linspace(low - margin, high + margin, _BINS + 1)
    densities = {
        name: np.convolve(np.histogram(values, edges)[0], _SMOOTHING, "same")
        / max(1, len(values))
        / (edges[1] - edges[0])
        for name, values in finite.items()
    }
    centres = (edges[:-1] + edges[1:]) / 2
    return draw(title, note, lambda axes: _plot_lines(axes, centres, densities, label))


def _plot_lines(axes: Any, x: NDArray[Any], densities: Mapping[str, NDArray[Any]], label: str) -> None:
    axes.fill_between(x, densities["real"], color=COLOURS["real"], alpha=0.15, linewidth=0)
    for name in reversed(SETS):
        axes.plot(x, densities[name], color=COLOURS[name], linestyle=DASHES[name])
    top = max(float(densities[name].max()) for name in ("real", "synthetic"))
    axes.set(xlabel=label, ylabel="density", ylim=(0, 1.15 * top))  # the recipe's peak may leave the frame


def _occurrences(samples: Samples) -> Drawing:
    def plot(axes: Any) -> None:
        for name in SETS:
            counts = np.sort(samples[name]["occurrences"])
            values, first = np.unique(counts, return_index=True)
            share = 1 - first / len(counts)
            positive = values > 0
            axes.plot(values[positive], share[positive], color=COLOURS[name], linestyle=DASHES[name])
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="times among the 10 nearest of others",
            ylabel="share of rows, at least",
        )

    note = "How often a row is a neighbour of others. The tail on the right are hubs."
    return draw("Hubs: 10-occurrence", note, plot)


def _maps(maps: Mapping[str, NDArray[np.float64]]) -> list[Drawing]:
    low, high = np.quantile(np.concatenate(list(maps.values())), [0.0005, 0.9995], axis=0)
    panels = {
        "Map: real and synthetic": ("real", "synthetic"),
        "Map: real": ("real",),
        "Map: synthetic": ("synthetic",),
        "Map: seed's recipe": ("recipe",),
    }
    note = "The plane in which real varies most (PCA of real), the same for all maps."
    return [
        replace(draw(title, note, _scatter(maps, names, low, high), height_inch=3.2), sets=names)
        for title, names in panels.items()
    ]


def _scatter(
    maps: Mapping[str, NDArray[np.float64]], names: tuple[str, ...], low: NDArray[Any], high: NDArray[Any]
) -> Callable[[Any], None]:
    def plot(axes: Any) -> None:
        points = np.concatenate([maps[name] for name in names])
        colours = np.concatenate([np.full(len(maps[name]), COLOURS[name]) for name in names])
        order = np.random.default_rng(0).permutation(len(points))  # neither set covers the other
        axes.scatter(*points[order].T, s=2.5, c=colours[order], alpha=0.5, linewidths=0, rasterized=True)
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xticks=[], yticks=[])

    return plot
