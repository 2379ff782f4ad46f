"""How much to measure: what the flags of ``python -m bench`` come to."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Scale = Literal["quick", "normal", "full"]

#: Sizes and repetitions of each scale; a normal run takes minutes, a full one the better part of an hour.
_REPETITIONS: dict[Scale, int] = {"quick": 2, "normal": 5, "full": 5}


@dataclass(frozen=True)
class Settings:
    """``rows`` and ``repetitions`` replace those of ``scale`` where given; results and scratch files go below
    ``output``. ``workers`` are what generation tries (empty: 1, 2, 4 ... cores), ``processes`` and
    ``connections`` what delivery does (empty: the defaults of ingest). ``real`` are files of real vectors for
    realism (empty: the built-in foundation). ``sizes`` are the numbers of rows that server tries, ``rows``
    the largest of them; ``candidates`` are parts of the names of what indexes tries (empty: all). Of
    embedding, ``model`` is the folder, ``articles`` a file of titles and texts, ``embeddings`` their vectors;
    ``dump`` is what wikitext reads.
    """

    output: Path
    scale: Scale = "normal"
    rows: int | None = None
    repetitions: int | None = None
    workers: tuple[int, ...] = ()
    processes: tuple[int, ...] = ()
    connections: tuple[int, ...] = ()
    real: tuple[Path, ...] = ()
    sizes: tuple[int, ...] = ()
    candidates: tuple[str, ...] = ()
    model: str | None = None
    articles: Path | None = None
    embeddings: Path | None = None
    dump: Path | None = None

    def rows_of(self, **by_scale: int) -> int:
        """Return the asked number of rows, else that of the scale."""
        return self.rows or by_scale[self.scale]

    @property
    def n_repetitions(self) -> int:
        """How often each case is measured, in turn with the others; of realism, the splits."""
        return self.repetitions or _REPETITIONS[self.scale]

    def to_document(self) -> dict[str, Any]:
        """Return the settings as JSON."""
        return {
            "scale": self.scale,
            "rows": self.rows,
            "repetitions": self.n_repetitions,
            "workers": list(self.workers),
            "processes": list(self.processes),
            "connections": list(self.connections),
            "real": [path.name for path in self.real],
            "sizes": list(self.sizes),
            "candidates": list(self.candidates),
            "model": self.model and Path(self.model).name,
            "articles": self.articles and self.articles.name,
            "embeddings": self.embeddings and self.embeddings.name,
            "dump": self.dump and self.dump.name,
        }

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a folder below the results, on the same disk, gone afterwards."""
        self.output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="scratch-", dir=self.output) as folder:
            yield Path(folder)
