"""What ``synthgen generate`` or ``queries`` would do: all that can be said, or refused, without a byte."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen.formats.dataset_file import is_begun, look_up
from synthgen.formats.encoding import Encoding
from synthgen.formats.outputs import format_of
from synthgen.generate.dataset import Dataset
from synthgen.phases.datasets import encoding_of
from synthgen.phases.making import GenerateOptions, Job, check_budget
from synthgen.runtime import files
from synthgen.specs import Grid


@dataclass(frozen=True)
class GeneratePlan:
    """``state``: what lies under the name of ``output``, and what becomes of it."""

    output: str
    encoding: Encoding
    state: str

    @property
    def grid(self) -> Grid:
        """The numbers that components can be."""
        return self.encoding.layout.grid

    def to_document(self) -> dict[str, Any]:
        """Return the plan as JSON; ``bytes`` is an estimate where the size of rows is not known before."""
        encoding = self.encoding
        return {
            "output": self.output,
            "state": self.state,
            "spec": encoding.spec.to_document(),
            "format": encoding.name,
            "grid": self.grid.to_document(),
            "line_bytes": encoding.line_bytes,
            "row_bytes": encoding.row_bytes,
            "bytes": encoding.expected_bytes,
        }

    def lines(self) -> list[str]:
        """Return the plan for a person."""
        spec, size_gb = self.encoding.spec, self.encoding.expected_bytes / 1e9
        row_bytes = self.encoding.row_bytes
        size = f"{row_bytes:,} bytes, {size_gb:,.2f} GB" if row_bytes else f"about {size_gb:,.2f} GB at most"
        shift = f", shift {spec.shift:g}" if spec.is_queries else ""
        lines = [
            f"output       {self.output} ({self.encoding.name}): {spec.count:,} {spec.role} of {size}; "
            f"{self.state}",
            f"law          {spec.model.law}, model {spec.model.source} ({spec.model.digest[:16]}), "
            f"seed {spec.seed}{shift}",
            f"fingerprint  {spec.fingerprint[:16]}",
        ]
        told = self.grid.describe(spec.decimals)
        if told:
            lines.append(f"numbers      {told}")
        if spec.is_queries:
            lines.append(f"for          the dataset with fingerprint {spec.dataset_fingerprint[:16]}")
        return [*lines, "nothing was written"]


def plan_generate(dataset: Dataset, output: Path | None, options: GenerateOptions) -> GeneratePlan:
    """Return what `generate` would do with the same arguments, touching nothing.

    Raises InputError or ResourceError where it would refuse to begin.
    """
    if output is not None:
        files.refuse_folder(output)
    encoding = encoding_of(dataset, options.format or format_of(output))
    check_budget(Job(dataset, encoding, output or Path("-"), in_place=False), options)
    return GeneratePlan(str(output or "-"), encoding, _state(encoding, output, overwrite=options.overwrite))


def _state(encoding: Encoding, output: Path | None, *, overwrite: bool) -> str:
    if output is None or (output.exists() and not output.is_file()):
        return "streamed"
    files.check_parent_folder(output)
    if not overwrite:
        if look_up(output, encoding) is not None:
            return "there already: would be checked, chunk by chunk"
        if is_begun(output, encoding):
            return "unfinished: would be continued"
    files.check_free_space(output.absolute().parent, encoding.expected_bytes)
    return "would be replaced" if output.exists() else "would be made"
