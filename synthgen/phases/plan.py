"""What ``synthgen generate`` or ``queries`` would do: all that can be said, or refused, without a byte."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen.formats.dataset_file import is_begun, look_up
from synthgen.generate.dataset import Dataset
from synthgen.phases.datasets import source_of
from synthgen.phases.generate import GenerateOptions, check_budget
from synthgen.runtime import files
from synthgen.specs import DatasetSpec, Grid


@dataclass(frozen=True)
class GeneratePlan:
    """``state``: what lies under the name of ``output``, and what becomes of it."""

    output: str
    spec: DatasetSpec
    line_bytes: int
    grid: Grid
    state: str

    @property
    def n_bytes(self) -> int:
        """Size of the file when it is whole."""
        return self.spec.count * self.line_bytes

    def to_document(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        named = {"output": self.output, "state": self.state, "spec": self.spec.to_document()}
        widths = {"grid": self.grid.to_document(), "line_bytes": self.line_bytes, "bytes": self.n_bytes}
        return {**named, **widths}

    def lines(self) -> list[str]:
        """Return the plan for a person."""
        spec = self.spec
        shift = f", shift {spec.shift:g}" if spec.is_queries else ""
        lines = [
            f"output       {self.output}: {spec.count:,} {spec.role} of {self.line_bytes:,} bytes, "
            f"{self.n_bytes / 1e9:,.2f} GB; {self.state}",
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
    check_budget(dataset, options)
    layout = source_of(dataset).layout
    state = _state(dataset.spec, output, layout.line_bytes, overwrite=options.overwrite)
    return GeneratePlan(str(output or "-"), dataset.spec, layout.line_bytes, layout.grid, state)


def _state(spec: DatasetSpec, output: Path | None, line_bytes: int, *, overwrite: bool) -> str:
    if output is not None:
        files.refuse_folder(output)
    if output is None or (output.exists() and not output.is_file()):
        return "streamed"
    files.check_parent_folder(output)
    if not overwrite:
        if look_up(output, spec) is not None:
            return "there already: would be checked, chunk by chunk"
        if is_begun(output, spec):
            return "unfinished: would be continued"
    files.check_free_space(output.absolute().parent, spec.count * line_bytes)
    return "would be replaced" if output.exists() else "would be made"
