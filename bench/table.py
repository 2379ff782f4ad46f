"""What a question came to: tables for people, and a JSON file with all it takes to judge them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from synthgen.runtime.files import write_json

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Spread:
    """Least, middle and greatest of ``n`` repetitions; all None when nothing could be measured."""

    min: float | None
    median: float | None
    max: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread:
        """Return the spread of those ``values`` that are not None."""
        known = [value for value in values if value is not None]
        if not known:
            return cls(None, None, None, 0)
        return cls(min(known), statistics.median(known), max(known), len(known))

    def __str__(self) -> str:
        if self.min is None or self.median is None or self.max is None:
            return "-"
        if self.n == 1:
            return format_number(self.median)
        low, high = format_number(self.min), format_number(self.max)
        return f"{format_number(self.median)} ({low} to {high})"


def format_number(value: float) -> str:
    """Return ``value`` with about three digits that mean something, thousands told apart."""
    size = abs(value)
    if isinstance(value, int) or size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}"


Cell = str | int | float | Spread | None


@dataclass(frozen=True)
class Table:
    """Rows under column names; ``notes`` say how the figures were got."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the table as text: the first column to the left, the others to the right."""
        texts = [self.columns, *(tuple(map(_text, row)) for row in self.rows)]
        widths = [max(len(row[i]) for row in texts) for i in range(len(self.columns))]
        body = [
            "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(cells))
            for cells in (list(zip(row, widths, strict=True)) for row in texts)
        ]
        return [self.title, *(f"  {line.rstrip()}" for line in body), *(f"  * {note}" for note in self.notes)]


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    return cell if isinstance(cell, str) else str(cell) if isinstance(cell, Spread) else format_number(cell)


@dataclass(frozen=True)
class Result:
    """One question answered: the whole configuration, tables, and each single measurement behind them."""

    question: str
    configuration: Mapping[str, Any]
    tables: list[Table]
    measurements: list[dict[str, Any]]

    def lines(self) -> list[str]:
        """Return all tables as text."""
        lines: list[str] = []
        for table in self.tables:
            lines += ["", *table.lines()]
        return lines


def keep(result: Result, folder: Path, host: Mapping[str, Any], started_at: datetime) -> Path:
    """Write ``result`` to ``folder`` under its question and the time of its start (UTC); return the path.

    ``host`` is what was found when the measurement began.
    """
    path = folder / f"{result.question}-{started_at:%Y%m%dT%H%M%S.%f}Z.json"
    document = {
        "format_version": FORMAT_VERSION,
        "question": result.question,
        "started_at": started_at.isoformat(),
        "elapsed_s": (datetime.now(UTC) - started_at).total_seconds(),
        "host": dict(host),
        "configuration": dict(result.configuration),
        "tables": [asdict(table) for table in result.tables],
        "measurements": result.measurements,
    }
    write_json(path, document)
    return path
