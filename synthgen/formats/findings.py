"""What is wrong with a dataset's file, by rows and bytes: neighbours joined, in words and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

DAMAGED = "are damaged"
MISSING = "are missing"
MOVED = "hold what belongs elsewhere"
SURPLUS = "are too many"
UNREADABLE = "cannot be read"
WRONG = "are not what the seed says, though the manifest agrees"
MISNAMED = "are what the seed says, but not what the manifest says"
MISDESCRIBED = "have other widths than the manifest says"

#: Findings that a report tells of one by one, to people and to programs; the others are counted.
_TOLD, _KEPT = 6, 1_000


@dataclass(frozen=True)
class Finding:
    """Bytes [start, stop) of a file, ``rows`` of it or none (head, tail: ``part`` says what), and ``what`` is
    wrong with them. ``origin``: where else these bytes belong, where they do; ``note``: what else is known.
    """

    what: str
    part: str
    start: int
    stop: int
    rows: range = range(0)
    origin: range = range(0)
    note: str = ""

    def __str__(self) -> str:
        place = f"bytes {self.start:,} to {self.stop - 1:,}"
        named = f"{_name(self.rows)} ({place})" if self.rows else f"{place} ({self.part})"
        notes = [f"of {_name(self.origin)}"] * bool(self.origin) + [self.note] * bool(self.note)
        return f"{named} {self.what}" + "".join(f": {note}" for note in notes)

    def to_document(self) -> dict[str, Any]:
        """Return the finding as JSON; ranges are half-open, from 0 on."""
        document: dict[str, Any] = {"what": self.what, "part": self.part, "bytes": [self.start, self.stop]}
        for name, rows in (("rows", self.rows), ("belongs_to_rows", self.origin)):
            if rows:
                document[name] = [rows.start, rows.stop]
        return {**document, "note": self.note} if self.note else document

    def joined(self, other: Finding) -> Finding | None:
        """Return both as one, where ``other`` follows and is of the same kind; else None."""
        same = (self.what, self.part, self.note) == (other.what, other.part, other.note)
        ranges = ((self.rows, other.rows), (self.origin, other.origin))
        follows = other.start == self.stop and all(_follows(a, b) for a, b in ranges)
        if not (same and follows):
            return None
        rows, origin = (range(a.start, b.stop) for a, b in ranges)
        return replace(self, stop=other.stop, rows=rows, origin=origin)


@dataclass(frozen=True)
class Findings:
    """Findings in the file's order, neighbours joined: the first 1,000 ``kept`` of ``n``; ``n_rows``: of
    all of them.
    """

    kept: tuple[Finding, ...] = ()
    n: int = 0
    n_rows: int = 0

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> Findings:
        """Join and count ``findings``, which come in the file's order."""
        kept: list[Finding] = []
        n = n_rows = 0
        for finding in _join(findings):
            n, n_rows = n + 1, n_rows + len(finding.rows)
            if n <= _KEPT:
                kept.append(finding)
        return cls(tuple(kept), n, n_rows)

    def __bool__(self) -> bool:
        return self.n > 0

    def lines(self) -> list[str]:
        """Return a line for each of the first few, and how many more there are."""
        told = [str(finding) for finding in self.kept[:_TOLD]]
        return told + [f"and {self.n - _TOLD:,} more such places"] * (self.n > _TOLD)

    def to_document(self) -> dict[str, Any]:
        """Return the findings as JSON."""
        kept = [finding.to_document() for finding in self.kept]
        return {"damaged": kept, "n_damaged": self.n, "n_damaged_rows": self.n_rows}


def _join(findings: Iterable[Finding]) -> Iterator[Finding]:
    last: Finding | None = None
    for finding in findings:
        joined = last.joined(finding) if last is not None else None
        if last is not None and joined is None:
            yield last
        last = joined or finding
    if last is not None:
        yield last


def _follows(a: range, b: range) -> bool:
    return bool(a) == bool(b) and (not a or b.start == a.stop)


def _name(rows: range) -> str:
    return f"rows {rows.start:,} to {rows.stop - 1:,}"
