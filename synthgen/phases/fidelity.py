"""How close a synthetic set is to a real one, as a command: two files in, a verdict and a page out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from synthgen.errors import UsageError
from synthgen.fidelity import FidelityReport, JudgeOptions, judge, load_vectors, write_page
from synthgen.runtime.files import check_parent_folder
from synthgen.specs import DEFAULT_SEED


@dataclass(frozen=True)
class FidelityOptions:
    """Which sets to compare (.npy, .fbin, .parquet, .jsonl), and where the page goes (None: no page)."""

    real: Path
    synthetic: Path
    page: Path | None = None
    seed: int = DEFAULT_SEED
    max_rows: int = 50_000
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.page is not None and self.page.suffix != ".html":
            raise UsageError(f"--output must end in .html, not {self.page.name!r}")


def compare_sets(options: FidelityOptions) -> FidelityReport:
    """Judge the two sets and write the page; raise InputError when a file cannot be used."""
    if options.page is not None:
        check_parent_folder(options.page)
    real = load_vectors(options.real, max_rows=options.max_rows, seed=options.seed)
    synthetic = load_vectors(options.synthetic, max_rows=options.max_rows, seed=options.seed)
    report = judge(
        real,
        synthetic,
        seed=options.seed,
        quiet=options.quiet,
        options=JudgeOptions(
            max_rows=options.max_rows,
            real_name=options.real.name,
            synthetic_name=options.synthetic.name,
        ),
    )
    if options.page is not None:
        write_page(report, options.page)
    return report
