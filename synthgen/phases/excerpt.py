"""Some rows of a dataset alone, in any format: a range of a function, whatever files there are."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen.errors import EXIT_OK, InputError, UsageError
from synthgen.formats.encoding import Encoding
from synthgen.formats.manifest import (
    journal_path,
    manifest_path,
    partial_path,
)
from synthgen.formats.outputs import format_of, make_encoding
from synthgen.phases.datasets import load_dataset, source_of
from synthgen.phases.inorder import Pieces, open_stream
from synthgen.runtime import files
from synthgen.runtime.progress import Progress
from synthgen.specs import MAX_QUERIES, MAX_ROWS, DatasetSpec

_ROWS = re.compile(r"([0-9]+(?:_[0-9]+)*)?:([0-9]+(?:_[0-9]+)*)?")


@dataclass(frozen=True)
class Excerpt:
    """Some rows to write alone: ``rows`` (A:B) of the dataset that ``source`` names (a generated file, its
    manifest, or a spec) to ``output`` (None: standard output) in ``format`` (None: what its name means).
    """

    source: Path
    rows: str
    output: Path | None = None
    format: str | None = None


@dataclass(frozen=True)
class ExcerptReport:
    """Which rows were written; ``count``: how many the dataset was asked to have."""

    output: str
    format: str
    rows: range
    count: int
    n_bytes: int
    fingerprint: str
    elapsed_s: float

    exit_code = EXIT_OK

    def to_document(self) -> dict[str, Any]:
        """Return the report as JSON."""
        document = {**vars(self), "rows": [self.rows.start, self.rows.stop]}
        document["bytes"] = document.pop("n_bytes")
        return document

    def lines(self) -> list[str]:
        """Return the report for a person."""
        lines = [
            f"rows {self.rows.start:,} to {self.rows.stop - 1:,} in {self.output} ({self.format}, "
            f"{self.n_bytes / 1e6:,.2f} MB); fingerprint {self.fingerprint[:16]}"
        ]
        if self.rows.stop > self.count:
            lines.append(f"the dataset has {self.count:,}: rows behind them are those of a larger --count")
        return lines


def write_excerpt(excerpt: Excerpt, *, quiet: bool = False) -> ExcerptReport:
    """Write the rows of ``excerpt``, in order, from this process; JSON lines are those of the whole file.

    Rows beyond the dataset's count are those that a larger count would have. A regular file appears under
    its name only when whole, without a manifest, since it is no dataset; a name that is taken is refused.
    Raises UsageError or InputError with nothing touched, ResourceError.
    """
    started_s = time.monotonic()
    if excerpt.output is not None:
        files.refuse_folder(excerpt.output)
    dataset = load_dataset(_document_of(excerpt.source))
    spec, rows = dataset.spec, parse_rows(excerpt.rows, dataset.spec)
    format_ = excerpt.format or format_of(excerpt.output)
    encoding = make_encoding(format_, source_of(dataset).layout, spec, rows)
    progress = Progress("regenerate", len(rows), spec.role, quiet=quiet)
    pieces = Pieces(dataset, encoding, progress)
    if excerpt.output is None or (excerpt.output.exists() and not excerpt.output.is_file()):
        with open_stream(excerpt.output) as sink:
            sink.writelines(pieces)
    else:
        _write_file(excerpt.output, pieces, encoding)
    progress.finish(f"{len(rows):,} {spec.role}")
    name, elapsed_s = str(excerpt.output or "-"), time.monotonic() - started_s
    return ExcerptReport(name, format_, rows, spec.count, pieces.n_bytes, spec.fingerprint, elapsed_s)


def parse_rows(text: str, spec: DatasetSpec) -> range:
    """Return the rows that ``A:B``, ``:B`` or ``A:`` (to the dataset's end) means; UsageError if none."""
    found = _ROWS.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"--rows must be A:B, two row numbers from 0 on, not {text!r}")
    start, stop = int(found[1] or 0), int(found[2]) if found[2] else spec.count
    most = MAX_QUERIES if spec.is_queries else MAX_ROWS
    if stop > most:
        raise UsageError(f"--rows {text} ends behind the last possible row, {most - 1:,}")
    if start >= stop:
        end = "" if found[2] else f": the dataset has {spec.count:,}"
        raise UsageError(f"--rows {text} holds no row{end}")
    return range(start, stop)


def _document_of(source: Path) -> Path:
    """Return the spec or manifest that ``source`` is, or that lies beside it."""
    if source.suffix == ".json":
        return source
    beside = manifest_path(source)
    if not beside.exists():
        next_step = "name a generated file, a manifest or a spec"
        raise InputError(f"no manifest beside it ({beside.name})", where=str(source), next_step=next_step)
    return beside


def _write_file(output: Path, pieces: Pieces, encoding: Encoding) -> None:
    files.check_parent_folder(output)
    for taken in (output, manifest_path(output), journal_path(output)):
        if taken.exists():
            next_step = "choose another --output, or remove that"
            raise InputError(f"is there already ({taken.name})", where=str(output), next_step=next_step)
    files.check_free_space(output.absolute().parent, encoding.expected_bytes)
    try:
        files.write_pieces(output, pieces)
    except BaseException:
        partial_path(output).unlink(missing_ok=True)
        raise
