"""Before a run: what it would do, and whether it can end well. Touches nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from synthgen.errors import InputError
from synthgen.formats.journal import read_header
from synthgen.formats.manifest import journal_path, manifest_path, read_manifest
from synthgen.model.centroids import LAW as ISOTROPIC_LAW
from synthgen.model.centroids import read_about
from synthgen.model.mixture import LAW as MIXTURE_LAW
from synthgen.phases.run_options import RunOptions
from synthgen.runtime import files
from synthgen.specs import DatasetSpec, describe_difference
from synthgen.wiki.foundation import Foundation

#: Bytes on disk a memory in the embedded server, measured (bench/), with room for its log.
_DATABASE_BYTES_A_ROW = 4_600
#: Bytes of a line at 768 dimensions and 6 decimals, for the estimate before titles are known.
_LINE_BYTES = 7_900


def check_before(options: RunOptions) -> None:
    """Refuse what cannot end well before anything is touched; raise InputError or ResourceError."""
    other = _other_centroids(options) + _other_dataset(options)
    if other:
        raise InputError(
            f"holds another run ({', '.join(other)})",
            where=str(options.output_dir),
            next_step="choose another --output-dir, or give the flags of that run",
        )
    for folder, needed_bytes in _missing_bytes(options).items():
        files.check_free_space(folder, needed_bytes)


def _other_centroids(options: RunOptions) -> list[str]:
    """Return in what the centroids that are there differ from those asked for."""
    about = read_about(options.centroids) if options.centroids.exists() else {}
    wanted = {
        "num_centroids": options.n_centroids,
        "seed": options.seed,
        "spaces": list(options.spaces),
    }
    return [
        f"{key} {_shown(about[key])} -> {_shown(value)}"
        for key, value in wanted.items()
        if about.get(key, value) != value
    ]


def _shown(value: object) -> str:
    return (", ".join(map(str, value)) or "default") if isinstance(value, list) else str(value)


def _other_dataset(options: RunOptions) -> list[str]:
    """Return in what the dataset that is there, whole or begun, differs from the one asked for."""
    beside, journal = manifest_path(options.synthetic), journal_path(options.synthetic)
    if beside.exists():
        old = read_manifest(beside).spec
    elif begun := read_header(journal):
        old = begun.spec
    elif options.synthetic.exists():
        raise InputError(
            "is there already, and is no dataset of ours",
            where=str(options.synthetic),
            next_step="move it away, or choose another --output-dir",
        )
    else:
        return []
    law = MIXTURE_LAW if options.is_fitted else ISOTROPIC_LAW
    new = DatasetSpec(replace(old.model, law=law), **options.parameters)
    other = [text for text in [describe_difference(old, new)] if text]
    if beside.exists() and old.count > new.count:
        other.append(f"count {old.count:,} -> {new.count:,}")
    return other


def _existing_parent(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _missing_bytes(options: RunOptions) -> dict[Path, int]:
    """Return how much disk the run will still take, by estimate, in which existing folder."""
    there = options.synthetic.stat().st_size if options.synthetic.exists() else 0
    missing = {_existing_parent(options.output_dir): max(0, options.count * _LINE_BYTES - there)}
    if options.endpoint is None:
        database = (options.count + Foundation().n_rows) * _DATABASE_BYTES_A_ROW
        held = sum(f.stat().st_size for f in options.server_dir.glob("*") if f.is_file())
        folder = _existing_parent(options.server_dir)
        same_disk = next((known for known in missing if known.stat().st_dev == folder.stat().st_dev), folder)
        missing[same_disk] = missing.get(same_disk, 0) + max(0, database - held)
    return missing


def plan_text(options: RunOptions) -> str:
    """Return what a run would do, for a person."""
    target = (
        options.endpoint or f"the embedded server on {options.server_dir} (started and stopped by the run)"
    )
    rows = Foundation().n_rows
    law = (
        f"fit a model of their geometry into {options.model}, but for a fifth, which judges it"
        if options.is_fitted
        else f"isotropic law, noise of {options.std_dev:g} per component"
    )
    lines = [
        f"1. store    {rows:,} real memories (built-in foundation) in {target}",
        f"2. extract  {options.n_centroids} centroids from it, over HTTP, into {options.centroids}",
        f"   {law}",
        f"3. generate {options.count:,} memories with seed {options.seed} into {options.synthetic}, "
        f"about {options.count * _LINE_BYTES / 1e9:.1f} GB",
        f"4. store    them over {options.concurrent} connections, "
        + ("read everything back and recompute it" if options.verify else "without reading back (exit 4)"),
        f"disk still needed: about {sum(_missing_bytes(options).values()) / 1e9:.1f} GB; nothing was touched",
    ]
    return "\n".join(lines)
