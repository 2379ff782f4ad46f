"""What ``synthgen run`` was asked for, and where in its folder everything goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen.errors import UsageError
from synthgen.fidelity.vectors import MIN_ROWS
from synthgen.model.centroids import LAW as ISOTROPIC_LAW
from synthgen.model.mixture import LAW as MIXTURE_LAW
from synthgen.phases.deliver import check_target
from synthgen.phases.generate import GenerateOptions
from synthgen.specs import DEFAULT_COUNT, DEFAULT_SEED, DatasetSpec, IngestSpec, ModelRef


@dataclass(frozen=True)
class RunOptions:
    """What ``synthgen run`` was asked for.

    ``endpoint`` None starts the embedded server on ``data_dir``; ``std_dev`` None fits a model to the real
    memories, else the isotropic law with this noise is taken, and not judged.
    """

    output_dir: Path
    count: int = DEFAULT_COUNT
    seed: int = DEFAULT_SEED
    std_dev: float | None = None
    confidence: float = 0.7
    decimals: int = 6
    n_centroids: int = 100
    data_dir: Path | None = None
    endpoint: str | None = None
    space: str | None = None
    workers: int = 0
    memory_budget_bytes: int = 4_000_000_000
    concurrent: int = 20
    batch_size: int = 1_000
    processes: int = 0
    verify: bool = True
    quiet: bool = False

    def __post_init__(self) -> None:
        # Checked before anything starts; the model is not known yet, and no part of the check.
        DatasetSpec(ModelRef(MIXTURE_LAW if self.is_fitted else ISOTROPIC_LAW, "", 768), **self.parameters)
        IngestSpec("", Path(), self.concurrent, self.batch_size, self.processes)
        GenerateOptions(self.workers, self.memory_budget_bytes)
        check_target(self.endpoint, self.space)
        if self.n_centroids < 1:
            raise UsageError(f"--num-centroids must be at least 1, not {self.n_centroids}")
        if self.endpoint is not None and self.data_dir is not None:
            raise UsageError(
                "--endpoint and --data-dir exclude each other: the latter is the embedded server's"
            )

    @property
    def parameters(self) -> dict[str, Any]:
        """The part that a dataset's spec holds."""
        names = ("count", "seed", "std_dev", "confidence", "decimals")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def is_fitted(self) -> bool:
        """Whether the law is the one fitted to the real memories."""
        return self.std_dev is None

    @property
    def is_judged(self) -> bool:
        """Whether the rows are judged at the end: those of the isotropic law are not, nor too few."""
        return self.is_fitted and self.count >= MIN_ROWS

    @property
    def spaces(self) -> tuple[str, ...]:
        """The space, where one was named; empty means the server's default."""
        return () if self.space is None else (self.space,)

    @property
    def server_dir(self) -> Path:
        """The embedded server's folder."""
        return self.data_dir or self.output_dir / "server"

    @property
    def centroids(self) -> Path:
        """Where phase 2 puts its result."""
        return self.output_dir / "centroids.npy"

    @property
    def model(self) -> Path:
        """The model that rows are drawn from."""
        return self.output_dir / "model.npz" if self.is_fitted else self.centroids

    @property
    def held_out(self) -> Path:
        """Real memories that the fit did not see."""
        return self.output_dir / "heldout.npy"

    @property
    def page(self) -> Path:
        """Where the verdict is drawn."""
        return self.output_dir / "fidelity.html"

    @property
    def synthetic(self) -> Path:
        """Where phase 3 puts its result."""
        return self.output_dir / "synthetic.jsonl"
