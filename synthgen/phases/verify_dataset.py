"""A dataset's file against its manifest, and against its seed where the model is there."""

from __future__ import annotations

import os
import time
from array import array
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synthgen.errors import EXIT_FAILED, EXIT_OK, InputError, Interrupted
from synthgen.formats.chunks import Digests, PackedPlaces
from synthgen.formats.dataset_file import first_places
from synthgen.formats.findings import Findings
from synthgen.formats.inspection import compare, read_file
from synthgen.formats.manifest import Manifest, journal_path, manifest_path, read_document, read_manifest
from synthgen.generate.dataset import Dataset
from synthgen.phases.datasets import encoding_of, load_dataset
from synthgen.phases.making import Chunk, GenerateOptions, Job, Work, Written, run_workers
from synthgen.runtime.progress import Progress, format_duration
from synthgen.specs import n_chunks

_MANIFEST_SUFFIX = ".manifest.json"


@dataclass(frozen=True)
class VerifyReport:
    """What the file ``path`` is found to be, which should be as ``manifest`` says; ``recomputed``: and as the
    seed does.
    """

    path: Path
    manifest: Manifest
    findings: Findings
    recomputed: bool
    elapsed_s: float

    @property
    def exit_code(self) -> int:
        """0 when all is as it should be, else 1."""
        return EXIT_FAILED if self.findings else EXIT_OK

    def to_document(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {
            "exit_code": self.exit_code,
            "file": str(self.path),
            "format": self.manifest.format,
            "rows": self.manifest.spec.count,
            "bytes": self.manifest.n_bytes,
            "whole": not self.findings,
            "recomputed": self.recomputed,
            **self.findings.to_document(),
            "fingerprint": self.manifest.spec.fingerprint,
            "digest": self.manifest.digest,
            "elapsed_s": self.elapsed_s,
        }

    def lines(self) -> list[str]:
        """Return the report for a person."""
        spec, n_bytes = self.manifest.spec, self.manifest.n_bytes
        size = f"{spec.count:,} {spec.role} ({self.manifest.format}, {n_bytes / 1e9:,.2f} GB)"
        took = format_duration(self.elapsed_s)
        if not self.recomputed:
            took += f", {n_bytes / max(self.elapsed_s, 1e-9) / 1e6:,.0f} MB/s"
        if self.findings:
            flag = " --recompute" if self.recomputed else ""
            return [
                f"{self.path}: DAMAGED, {self.findings.n_rows:,} of {size} (checked in {took})",
                *(f"  {line}" for line in self.findings.lines()),
                f"mend it with: synthgen regenerate{flag} {self.path}",
            ]
        against = "the manifest and the seed say" if self.recomputed else "the manifest says"
        return [
            f"{self.path}: whole, {size} as {against} (checked in {took})",
            f"fingerprint {spec.fingerprint[:16]}, digest {self.manifest.digest[:16]}",
        ]


def verify_dataset(named: Path, *, recompute: bool, options: GenerateOptions) -> VerifyReport:
    """Compare every byte of a generated file with its manifest; ``named``: the file, or its manifest.

    With ``recompute`` all rows are made again, by the workers of ``options``, and compared as well: then even
    a file that was changed together with its manifest is found out. Touches nothing. Raises InputError where
    file, manifest or (to recompute) model cannot be used; else what is wrong is in the report.
    """
    started_s = time.monotonic()
    path = find_file(named)
    manifest = read_manifest(manifest_path(path))
    dataset = load_dataset(manifest_path(path)) if recompute else None  # before the long work: it may fail
    spec = manifest.spec
    progress = Progress("verify-dataset", spec.count, spec.role, quiet=options.quiet)
    found = read_file(path, manifest, progress.update)
    progress.finish(f"{spec.count:,} {spec.role} read")
    said = recompute_manifest(dataset, manifest.format, options) if dataset is not None else None
    findings = Findings.of(compare(manifest, found, said))
    return VerifyReport(path, manifest, findings, recompute, time.monotonic() - started_s)


def find_file(named: Path) -> Path:
    """Return the generated file that is meant by its path, or by that of its manifest.

    Raises InputError unless it is a regular file with a manifest beside it.
    """
    path = named
    if named.name.endswith(_MANIFEST_SUFFIX) and named.exists():
        file = read_document(named).get("file")
        name = file.get("name") if isinstance(file, dict) else None
        path = named.with_name(str(name or named.name.removesuffix(_MANIFEST_SUFFIX)))
    beside = manifest_path(path)
    if path.exists() and not path.is_file():
        raise InputError("not a regular file", where=str(path), next_step="name a generated file")
    if journal_path(path).exists() and not beside.exists():
        next_step = "the command that made it continues it, and so does `synthgen regenerate`"
        raise InputError("is not finished", where=str(path), next_step=next_step)
    if not path.exists():
        next_step = "`synthgen regenerate` makes it again" if beside.exists() else "name a generated file"
        raise InputError("no such file", where=str(path), next_step=next_step)
    if not beside.exists():
        next_step = "only what `synthgen generate` wrote can be verified, beside its manifest"
        raise InputError(f"no manifest beside it ({beside.name})", where=str(path), next_step=next_step)
    return path


def recompute_manifest(dataset: Dataset, format_: str, options: GenerateOptions) -> Manifest:
    """Return the manifest that a file of ``dataset`` in ``format_`` should have.

    All rows are made again, and their bytes hashed and forgotten. Raises Interrupted.
    """
    encoding, spec = encoding_of(dataset, format_), dataset.spec
    digests = Digests(length=n_chunks(spec.count))
    sizes = array("Q", bytes(8 * len(digests)))
    progress = Progress("recompute", spec.count, spec.role, quiet=options.quiet)

    def finished(chunk: Chunk, written: Written) -> None:
        digests[chunk.number], sizes[chunk.number] = written.digest, written.n_bytes
        progress.update(progress.done + chunk.stop - chunk.start)

    job = Job(dataset, encoding, Path(os.devnull), in_place=False)
    try:
        work = Work(job, range(len(digests)), spec.count, finished)
        run_workers(work, replace(options, quiet=True))
    except Interrupted as error:
        raise Interrupted("stopped; nothing was changed", next_step="run the same command again") from error
    progress.finish(f"{spec.count:,} {spec.role} made again")
    places = first_places(encoding)
    if isinstance(places, PackedPlaces):
        for size in sizes:
            places.append(size)
    return Manifest.of(encoding, digests, places)
