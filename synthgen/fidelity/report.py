"""What a judgement came to: a verdict, its lines for people, and a JSON document for scripts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import EXIT_FAILED, EXIT_OK, InputError
from synthgen.fidelity.mixing import Mixing
from synthgen.fidelity.verdict import LOW_POWER_ROWS, Judgement

FORMAT_VERSION = 1
_COPIES = 0.05


@dataclass(frozen=True)
class About:
    """What was judged and how: ``n_rows`` of each set (of ``n_real_given`` and ``n_synthetic_given``), the
    noise from ``n_splits`` splits into halves of ``n_half_rows``; versions of the ``libraries``.
    """

    real_name: str
    synthetic_name: str
    n_rows: int
    n_real_given: int
    n_synthetic_given: int
    dimension: int
    seed: int
    n_shuffles: int
    n_splits: int
    n_half_rows: int
    is_unit_length: bool
    libraries: dict[str, str]
    elapsed_s: float


@dataclass(frozen=True)
class Charts:
    """What the page draws beside the table: by set (real, synthetic, recipe), by kind of sample."""

    samples: Mapping[str, Mapping[str, NDArray[Any]]]
    maps: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class FidelityReport:
    """The verdict on a synthetic set: ``judgements``, one a statistic; ``mixing`` of synthetic and recipe
    with real, which inform and are not judged. ``charts`` are not part of the document.
    """

    about: About
    judgements: tuple[Judgement, ...]
    mixing: dict[str, Mixing]
    charts: Charts | None = field(default=None, compare=False, repr=False)

    @property
    def failed(self) -> tuple[Judgement, ...]:
        """The statistics that differ by more than their thresholds."""
        return tuple(line for line in self.judgements if not line.is_ok)

    @property
    def exit_code(self) -> int:
        """0 when no statistic fails, else 1."""
        return EXIT_FAILED if self.failed else EXIT_OK

    @property
    def is_low_power(self) -> bool:
        """Whether there are too few rows to rely on a passed verdict."""
        return self.about.n_rows < LOW_POWER_ROWS

    def headline(self) -> str:
        """Return the verdict in a sentence."""
        n, power = (
            len(self.judgements),
            f" (low power: {self.about.n_rows:,} rows)" if self.is_low_power else "",
        )
        if not self.failed:
            return f"PASS: an index sees what it sees on real vectors, in all {n} statistics{power}"
        return f"FAIL: synthetic geometry differs from real in {len(self.failed)} of {n} statistics{power}"

    def failures(self) -> list[str]:
        """Return for each failed statistic what it is and by how much it is off."""
        return [_failure(line) for line in self.failed]

    def notes(self) -> list[str]:
        """Return what a reader should know beside the verdict."""
        about, mixing = self.about, self.mixing["synthetic"]
        notes = [
            f"{about.n_rows:,} rows of each set (given: {about.n_real_given:,} real, "
            f"{about.n_synthetic_given:,} synthetic), {about.dimension:,} dimensions, seed {about.seed}",
            f"thresholds: the larger of a tolerance and what real differs by from real (99% confidence, "
            f"{about.n_splits} splits into halves of {about.n_half_rows:,}); * marks low power",
            f"mixing with real (not judged): {mixing.same_share:.1%} of the 10 nearest are of the same set, "
            f"{mixing.expected_share:.1%} by chance (z {mixing.z:+.1f}, Schilling 1986)",
            "recall: " + ", ".join(f"{name} {version}" for name, version in about.libraries.items()),
        ]
        if mixing.near_share > _COPIES:
            near = f"{mixing.near_share:.1%} of the synthetic rows lie at 0.95 or nearer to a real row"
            notes.insert(0, f"{near}: near copies")
        return notes

    def lines(self) -> list[str]:
        """Return the report for a terminal: verdict, what failed, the table, notes."""
        head = ("", "real", "synthetic", "seed's recipe", "difference", "allowed", "")
        rows = [head, *(_cells(line) for line in self.judgements)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        table = [
            "  ".join(
                cell.rjust(w) if 0 < i < 6 else cell.ljust(w)
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        failures = [f"  {text}" for text in self.failures()]
        return [self.headline(), *failures, "", *(line.rstrip() for line in table), "", *self.notes()]

    def to_document(self) -> dict[str, Any]:
        """Return everything but the charts as a JSON document; nan becomes null."""
        document = {
            "format_version": FORMAT_VERSION,
            "verdict": "fail" if self.failed else "pass",
            "exit_code": self.exit_code,
            "headline": self.headline(),
            "failures": self.failures(),
            "is_low_power": self.is_low_power,
            "about": asdict(self.about),
            "statistics": [_without_nan(asdict(line)) for line in self.judgements],
            "mixing": {name: _without_nan(asdict(mixing)) for name, mixing in self.mixing.items()},
        }
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any], *, where: str = "report") -> FidelityReport:
        """Read what :meth:`to_document` wrote, without charts; raise InputError on anything else."""
        try:
            if document["format_version"] != FORMAT_VERSION:
                raise KeyError("format_version")
            lines = tuple(Judgement(**_with_nan(line)) for line in document["statistics"])
            mixing = {name: Mixing(**_with_nan(values)) for name, values in document["mixing"].items()}
            return cls(About(**document["about"]), lines, mixing)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"not a fidelity report of a version that this program reads ({error})",
                where=where,
                next_step="make it again with `synthgen fidelity REAL SYNTH --json`",
            ) from error


def _failure(line: Judgement) -> str:
    synthetic, real = show(line, line.synthetic), show(line, line.real)
    difference, threshold = show(line, line.difference, sign=True, more=1), show(line, line.threshold, more=1)
    return f"{line.label}: {synthetic} where real has {real}; off by {difference}, {threshold} allowed"


def show(line: Judgement, value: float, *, sign: bool = False, more: int = 0) -> str:
    """Return ``value`` of a statistic as a person reads it, with ``more`` digits than usual."""
    if math.isnan(value):
        return "none"
    mark = "+" if sign else ""
    if line.is_share:
        return f"{100 * value:{mark}.{2 + more}f}%"
    digits = more + {"lid": 1, "hubness": 2}.get(line.key, 3)
    return f"{round(value, digits) + 0.0:{mark}.{digits}f}"  # + 0.0: no minus before zero


def verdict_word(line: Judgement) -> str:
    """Return ``ok`` or ``FAIL``, with a star where the power is low."""
    return ("ok" if line.is_ok else "FAIL") + ("*" if line.is_low_power else "")


def _cells(line: Judgement) -> tuple[str, ...]:
    values = (show(line, value) for value in (line.real, line.synthetic, line.recipe))
    return (
        line.label,
        *values,
        show(line, line.difference, sign=True),
        show(line, line.threshold),
        verdict_word(line),
    )


def _without_nan(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def _with_nan(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in values.items()}
