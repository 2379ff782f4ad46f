"""The report as one HTML file that needs nothing else: no script, no font, no request."""

from __future__ import annotations

from html import escape
from pathlib import Path

from synthgen.fidelity.charts import make_drawings
from synthgen.fidelity.drawing import Drawing
from synthgen.fidelity.report import FidelityReport, show
from synthgen.fidelity.style import STYLE
from synthgen.fidelity.verdict import Judgement
from synthgen.runtime.files import check_parent_folder, write_whole
from synthgen.runtime.progress import format_duration

_SET_NAMES = {"real": "real", "synthetic": "synthetic", "recipe": "seed’s recipe"}
_COLUMNS = ("Statistic", "Real", "Synthetic", "Seed’s recipe", "Difference", "Allowed", "Verdict")
_EXPLANATIONS = (
    "An index does not see what vectors mean, only how they lie. Here each statistic of the geometry, and "
    "what three kinds of index find of the true neighbours, is measured on real and on synthetic vectors, "
    "equally many.",
    "<b>Allowed</b> is the larger of a tolerance that a user of the index would not notice, and what real "
    "vectors differ by from real vectors at this size: random disjoint halves of the real set, measured in "
    "the same way, scaled to the number of rows, with 99% confidence. A star marks low power: so few rows "
    "cannot show a difference of the size of the tolerance.",
    "<b>Seed’s recipe</b> is for comparison: k-means centroids of the real rows, with Gaussian noise of 0.1 "
    "per component, scaled to unit length.",
    "Recall@10 by faiss: HNSW with M=8 and efConstruction=64; IVF with about √n lists; PQ with a byte for 16 "
    "components. Sources: Levina and Bickel 2004 (local intrinsic dimension), Radovanović and others 2010 "
    "(hubness), Schilling 1986 (nearest-neighbour two-sample test).",
)


def write_page(report: FidelityReport, path: Path | str) -> None:
    """Write ``report`` to ``path`` as a self-contained HTML page of about 0.5 MB, whole or not at all.

    Depends on the report alone. Raises UsageError where matplotlib is missing, InputError and ResourceError
    about the path.
    """
    path = Path(path)
    check_parent_folder(path)
    write_whole(path, render_page(report).encode())


def render_page(report: FidelityReport) -> str:
    """Return the page as text; every name in it is escaped."""
    about = report.about
    title = f"Fidelity of {about.synthetic_name} to {about.real_name}"
    verdict, _, reason = report.headline().partition(": ")
    drawings = "\n".join(_figure(drawing) for drawing in make_drawings(report))
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes())
    explanations = "".join(f"<p>{text}</p>" for text in _EXPLANATIONS)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<section class="verdict {verdict.lower()}">
<p class="headline"><strong>{escape(verdict)}</strong> {escape(reason[:1].upper() + reason[1:])}.</p>
{_failures(report)}</section>
<ul class="notes">{notes}<li>measured in {format_duration(about.elapsed_s)}</li></ul>
<h2>All statistics</h2>
{_table(report.judgements)}
<h2>Charts</h2>
<div class="charts">
{drawings}
</div>
<h2>How to read this</h2>
<div class="text">{explanations}</div>
</main>
</body>
</html>
"""


def _failures(report: FidelityReport) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in report.failures())
    return f"<ul>{items}</ul>\n" if items else ""


def _table(lines: tuple[Judgement, ...]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in _COLUMNS)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{''.join(map(_row, lines))}</tbody></table>"


def _row(line: Judgement) -> str:
    values = [show(line, line.real), show(line, line.synthetic), show(line, line.recipe)]
    values += [show(line, line.difference, sign=True), show(line, line.threshold)]
    cells = "".join(
        f'<td data-name="{name}">{escape(value)}</td>'
        for name, value in zip(_COLUMNS[1:6], values, strict=True)
    )
    word = "ok" if line.is_ok else "fails"
    star = '<abbr title="low power">*</abbr>' if line.is_low_power else ""
    verdict = f'<td class="word" data-name="Verdict">{word}{star}</td>'
    return f'<tr class="{word}"><th scope="row">{escape(line.label)}</th>{cells}{verdict}</tr>\n'


def _figure(drawing: Drawing) -> str:
    legend = "".join(f'<span class="{name}">{_SET_NAMES[name]}</span>' for name in drawing.sets)
    title, note = escape(drawing.title), escape(drawing.note)
    caption = f'<figcaption><b>{title}</b><span class="legend">{legend}</span></figcaption>'
    return f'<figure role="group" aria-label="{title}">{caption}{drawing.svg}<p>{note}</p></figure>'
