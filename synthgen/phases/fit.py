"""Phase 2, the fitted law: real vectors, of a file or a database, into a model file."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synthgen.errors import InputError, UsageError
from synthgen.formats.vectors import open_vectors
from synthgen.generate.grid import choose_grid
from synthgen.model.mixture import MixtureModel, load_mixture, save_mixture
from synthgen.model.mixture_fit import VectorSource, fit_mixture
from synthgen.model.spool import EmbeddingSpool
from synthgen.phases.memories import name_spaces, read_memories
from synthgen.runtime import files
from synthgen.runtime.progress import Progress
from synthgen.specs import DEFAULT_ENDPOINT, DEFAULT_SEED, MOST_DECIMALS, DatasetSpec


@dataclass(frozen=True)
class FitOptions:
    """What to fit, and where the model goes.

    ``input``: a file of vectors (formats/vectors.py says which kinds there are); without one, the real
    memories that ``endpoint`` lists in ``spaces`` (empty: the default space). ``output``: the model, .npz.
    """

    output: Path
    input: Path | None = None
    endpoint: str = DEFAULT_ENDPOINT
    spaces: tuple[str, ...] = ()
    seed: int = DEFAULT_SEED
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.output.suffix != ".npz":
            raise UsageError(f"--output must end in .npz, not {self.output.name!r}")
        if self.input is not None and self.spaces:
            raise UsageError("--space says what to read of a database, but --input names a file")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed must be a whole number from 0 to {2**63 - 1:,}, not {self.seed}")


@dataclass(frozen=True)
class _Opened:
    """A source, what messages call it, and what the model says of where it came from."""

    vectors: VectorSource
    name: str
    about: dict[str, Any]


def _check_replaceable(output: Path) -> None:
    """A model may be fitted again; a file of another kind is somebody's work."""
    try:
        if output.exists():
            load_mixture(output)
    except InputError as error:
        raise InputError(
            "is there, and is no model of this version",
            where=str(output),
            next_step="give another --output, or move it away",
        ) from error


def fit(options: FitOptions) -> dict[str, Any]:
    """Fit a model and write ``output``; return its provenance, with digest and time taken.

    The model depends on the vectors and the seed: on their order in a file, on that of the ids in a database.
    Raises UsageError, InputError, TargetError, ResourceError.
    """
    files.check_parent_folder(options.output)
    _check_replaceable(options.output)
    started_s = time.monotonic()
    progress = Progress("fit", 1, "model", quiet=options.quiet)
    with _open(options) as opened:
        model = _fit(opened, options.seed, lambda text: progress.update(0, text))
    model = replace(model, about={**opened.about, **model.about, "elapsed_s": time.monotonic() - started_s})
    save_mixture(options.output, model)
    rows = f"{model.about['n_fit_rows']:,} of {model.about['n_source_rows']:,} rows"
    progress.finish(f"a model of {rows} in {options.output}")
    return {**model.about, "digest": model.digest, "output": str(options.output)}


def _fit(opened: _Opened, seed: int, note: Callable[[str], None]) -> MixtureModel:
    try:
        model = fit_mixture(opened.vectors, seed, note=note)
    except InputError as error:  # the model's room does not know where its rows came from
        raise InputError(error.what, where=error.where or opened.name, next_step=error.next_step) from error
    # A model whose vectors no number of decimals can hold would be of no use.
    choose_grid(DatasetSpec(model.reference(opened.name), decimals=MOST_DECIMALS), model)
    return model


@contextlib.contextmanager
def _open(options: FitOptions) -> Iterator[_Opened]:
    if options.input is not None:
        vectors = open_vectors(options.input)
        yield _Opened(vectors, str(options.input), {"input": options.input.name})
        return
    with EmbeddingSpool(options.output.absolute().parent) as spool:
        n_synthetic = read_memories(options.endpoint, options.spaces, spool, quiet=options.quiet)
        about = {
            "endpoint": options.endpoint,
            "spaces": list(options.spaces),
            "num_synthetic_left_out": n_synthetic,
            "source_ids_sha256": hashlib.sha256("\n".join(spool.ids).encode()).hexdigest(),
        }
        yield _Opened(spool, name_spaces(options.endpoint, options.spaces), about)
