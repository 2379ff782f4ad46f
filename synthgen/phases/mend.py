"""A generated file mended: what is damaged in it is made again, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synthgen.errors import EXIT_OK, InputError
from synthgen.formats.dataset_file import DatasetFile
from synthgen.formats.journal import read_header
from synthgen.formats.manifest import (
    Manifest,
    journal_path,
    manifest_path,
    read_document,
    read_manifest,
)
from synthgen.formats.outputs import format_of
from synthgen.generate.dataset import Dataset
from synthgen.phases.datasets import encoding_of, model_of, read_spec
from synthgen.phases.generate import GenerateOptions, GenerateReport, generate
from synthgen.phases.verify_dataset import recompute_manifest
from synthgen.runtime import files
from synthgen.runtime.progress import format_duration
from synthgen.specs import FORMATS, DatasetSpec


@dataclass(frozen=True)
class MendReport:
    """What was made again of a file; ``manifest_replaced``: whether its manifest was wrong, too."""

    made: GenerateReport
    manifest_replaced: bool = False

    exit_code = EXIT_OK

    def to_document(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {**self.made.to_document(), "manifest_replaced": self.manifest_replaced}

    def lines(self) -> list[str]:
        """Return the report for a person."""
        made = self.made
        whole = f"{made.rows:,} {made.role} ({made.format}, {made.n_bytes / 1e9:,.2f} GB)"
        lines = [f"{made.output}: {whole} are whole: nothing to mend"]
        if made.rows_made:
            took = f"{format_duration(made.elapsed_s)} by {made.workers} workers"
            lines = [f"{made.output}: {made.rows_made:,} of {whole} made again in {took}: whole"]
        lines += ["its manifest was not what the seed says, and is replaced"] * self.manifest_replaced
        return [*lines, f"fingerprint {made.fingerprint[:16]}, digest {made.digest[:16]}"]


def mend(path: Path, options: GenerateOptions, *, recompute: bool = False) -> MendReport:
    """Make again what is damaged or missing in the generated file ``path``, and nothing else.

    Its manifest says what it should hold; its journal where it was begun and not finished. A damaged file
    loses its name until it is whole again, as one that is made (formats/dataset_file.py): killed, the same
    call goes on. With ``recompute`` all rows are made once before, and a manifest that says otherwise is
    replaced. Raises InputError, with nothing touched, where that is no file of ours, or its model is not
    there or another one.
    """
    spec, format_ = _identify(path, trust=not recompute)
    dataset = Dataset(spec, model_of(spec, path.absolute().parent))
    options = replace(options, format=format_, overwrite=False)
    replaced = recompute and manifest_path(path).exists() and _mend_manifest(path, dataset, options)
    return MendReport(generate(dataset, path, options), replaced)


def _identify(path: Path, *, trust: bool) -> tuple[DatasetSpec, str]:
    """Return what the file at ``path`` is made of, and its format; ``trust``: by a whole manifest."""
    if path.exists() and not path.is_file():
        raise InputError("not a regular file", where=str(path), next_step="name a generated file")
    beside = manifest_path(path)
    if not beside.exists():
        header = read_header(journal_path(path))
        if header is None:
            next_step = "name a file that `synthgen generate` wrote, beside its manifest"
            raise InputError(f"no manifest beside it ({beside.name})", where=str(path), next_step=next_step)
        return header.spec, header.format
    if trust:
        manifest = read_manifest(beside)
        return manifest.spec, manifest.format
    file = read_document(beside).get("file")
    found = file.get("format") if isinstance(file, dict) else None
    return read_spec(beside), found if found in FORMATS else format_of(path)


def _mend_manifest(path: Path, dataset: Dataset, options: GenerateOptions) -> bool:
    """Put the manifest that the seed gives in the place of one that says otherwise; return whether it did."""
    right = recompute_manifest(dataset, options.format or format_of(path), options)
    try:
        if _content(read_manifest(manifest_path(path))) == _content(right):
            return False
    except InputError:
        pass  # damaged
    with DatasetFile(path, encoding_of(dataset, right.format)):  # nobody else writes it meanwhile
        files.write_pieces(manifest_path(path), right.pieces(path))
    return True


def _content(manifest: Manifest) -> Manifest:
    """Return what of a manifest is about the file's bytes."""
    return replace(manifest, versions={})
