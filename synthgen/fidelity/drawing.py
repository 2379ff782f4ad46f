"""Figures as inline SVG: matplotlib's, with colours that follow the page and nothing that is loaded."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from synthgen.fidelity.extras import need

#: Colours of the sets on light and dark ground alike; dashes tell them apart without colours.
COLOURS = {"real": "#2f7de1", "synthetic": "#e8710a", "recipe": "#8b8f98"}
DASHES: dict[str, Any] = {"real": "-", "synthetic": (0, (5, 1.5)), "recipe": (0, (1, 1.5))}
#: Stand-ins that become the page's own colours.
_INK, _GRID = "#010203", "#040506"
_VARIABLES = {_INK: "var(--ink)", _GRID: "var(--grid)"}
_STYLE = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "xtick.color": _GRID,
    "ytick.color": _GRID,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "text.color": _INK,
    "savefig.dpi": 130,
}
_WIDTH_INCH = 4.4


@dataclass(frozen=True)
class Drawing:
    """A finished chart: ``title`` and ``note`` as plain text, ``svg`` as markup; ``sets`` for its legend."""

    title: str
    note: str
    svg: str
    sets: tuple[str, ...] = ("real", "synthetic", "recipe")


def draw(title: str, note: str, plot: Callable[[Any], None], *, height_inch: float = 2.7) -> Drawing:
    """Return what ``plot`` draws on a pair of axes, as an SVG that fits any width. Needs matplotlib."""
    matplotlib = need("matplotlib")
    figure_class = need("matplotlib.figure").Figure
    with matplotlib.rc_context(
        {**_STYLE, "svg.hashsalt": title}
    ):  # a salt for each: ids must not meet on a page
        figure = figure_class(figsize=(_WIDTH_INCH, height_inch), layout="constrained")
        plot(figure.add_subplot())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return Drawing(title, note, _inline(buffer.getvalue(), title))


def _inline(svg: str, title: str) -> str:
    """Return the SVG without prolog, metadata, namespaces and fixed size, ids made unique to it."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r"\1", svg, count=1)
    slug = re.sub(r"\W+", "-", title.lower())
    svg = re.sub(r'id="([\w.]+_\d+)"', rf'id="{slug}-\1"', svg)
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    return svg.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1).strip()
