"""What a run does for realism: fit on a part of the real memories, keep the rest, judge against it.

listing ──> spool ──┬── most of it ──> fit ──> model.npz ──> dataset
                    └── held out ────> heldout.npy ──────────────┴──> verdict, fidelity.html
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.fidelity import FidelityReport, JudgeOptions, judge, load_vectors, write_page
from synthgen.generate.dataset import Dataset
from synthgen.model.mixture import load_mixture, save_mixture
from synthgen.model.mixture_fit import fit_mixture
from synthgen.model.spool import EmbeddingSpool
from synthgen.phases.memories import RealMemories
from synthgen.runtime.files import write_array
from synthgen.runtime.progress import Progress

#: Of the 7,533 memories of the built-in foundation, 1,533 are kept for the verdict.
_HELD_OUT_SHARE = 1_533 / 7_533
_MOST_HELD_OUT = 10_000


@dataclass(frozen=True)
class RealismOptions:
    """Where model and held-out rows go, and the seed of the choice."""

    model: Path
    held_out: Path
    seed: int
    quiet: bool


@dataclass(frozen=True)
class _Part:
    """Some rows of a spool, as a source of its own."""

    spool: EmbeddingSpool
    rows: NDArray[np.int64]

    @property
    def dimension(self) -> int:
        return self.spool.dimension

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.spool.gather(self.rows[rows])

    def title(self, row: int) -> str:
        return self.spool.title(int(self.rows[row]))


def fit_and_hold_out(memories: RealMemories, options: RealismOptions) -> dict[str, Any]:
    """Fit the model on the memories but a random fifth, and write that fifth beside it.

    Returns the model's provenance. What an earlier call left is taken as it is. The choice depends on the ids
    and the seed. Raises InputError, TargetError.
    """
    if options.model.exists() and options.held_out.exists():
        model = load_mixture(options.model)
        return {**model.about, "digest": model.digest, "already_there": True}
    started_s = time.monotonic()
    spool = memories.read()
    n_held_out = min(_MOST_HELD_OUT, round(len(spool) * _HELD_OUT_SHARE))
    order = np.random.default_rng(options.seed).permutation(len(spool))
    progress = Progress("fit", 1, "model", quiet=options.quiet)
    part = _Part(spool, np.sort(order[n_held_out:]))
    model = fit_mixture(part, options.seed, note=lambda text: progress.update(0, text))
    about = {**model.about, "n_held_out": n_held_out, "elapsed_s": time.monotonic() - started_s}
    write_array(options.held_out, spool.gather(np.sort(order[:n_held_out])))
    save_mixture(options.model, replace(model, about=about))
    progress.finish(f"a model of {len(part):,} memories, {n_held_out:,} held out")
    return {**about, "digest": model.digest}


def judge_dataset(dataset: Dataset, held_out: Path, page: Path, *, quiet: bool) -> FidelityReport:
    """Judge the first rows of ``dataset`` against the held-out real rows, and write the page."""
    real = load_vectors(held_out)
    n_rows = min(len(real), dataset.spec.count)
    if n_rows < len(real):
        real = real[:n_rows]
    steps = 10.0**dataset.grid.decimals
    blocks = [rows.embeddings / steps for rows in dataset.blocks(0, n_rows)]
    synthetic = np.concatenate(blocks).astype(np.float32)
    names = JudgeOptions(real_name="held-out real memories", synthetic_name=f"{dataset.spec.fingerprint[:8]}")
    report = judge(real, synthetic, seed=dataset.spec.seed, quiet=quiet, options=names)
    write_page(report, page)
    return report
