"""How close synthetic geometry is to real geometry: as a verdict, as numbers, as a page.

:func:`load_vectors` reads a set, :func:`judge` compares two, :func:`write_page` draws the report. The
protocol is in the modules' docstrings: thresholds in verdict.py, statistics in geometry.py and indexes.py.
"""

from synthgen.fidelity.judging import JudgeOptions, judge
from synthgen.fidelity.page import write_page
from synthgen.fidelity.report import FidelityReport
from synthgen.fidelity.vectors import load_vectors

__all__ = ["FidelityReport", "JudgeOptions", "judge", "load_vectors", "write_page"]
