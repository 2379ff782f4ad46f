"""What phase 1 came to: for people, for ``--json``, as an exit code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from synthgen.errors import EXIT_OK
from synthgen.ingest import IngestReport
from synthgen.runtime.progress import format_duration
from synthgen.wiki.embedding import EmbeddingCounts


def describe_skipped(skipped: Mapping[str, int]) -> str:
    """Return what was left out, the most frequent reason first; empty where nothing was."""
    told = sorted(skipped.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {reason}" for reason, count in told if count)


@dataclass(frozen=True)
class WikipediaReport:
    """``n_memories`` of ``source`` are in the database, in ``output``, or both; ``n_before`` were made by
    earlier runs. ``model`` is None where embeddings were ready; ``lengths`` are then those that they had.
    """

    source: str
    n_memories: int
    n_before: int
    skipped: Mapping[str, int]
    elapsed_s: float
    model: Mapping[str, Any] | None = None
    counts: EmbeddingCounts = field(default_factory=EmbeddingCounts)
    lengths: tuple[float, float] | None = None
    output: str | None = None
    ingest: IngestReport | None = None

    @property
    def exit_code(self) -> int:
        """That of the ingest, else 0."""
        return EXIT_OK if self.ingest is None else self.ingest.exit_code

    @property
    def n_made(self) -> int:
        """Memories made by this run."""
        return self.n_memories - self.n_before

    @property
    def rate_per_s(self) -> float:
        """Memories that this run made a second, from its start to its end."""
        return self.n_made / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def to_document(self) -> dict[str, Any]:
        """Return everything as a JSON document."""
        return {
            "source": self.source,
            "n_memories": self.n_memories,
            "n_before": self.n_before,
            "skipped": dict(self.skipped),
            "elapsed_s": self.elapsed_s,
            "rate_per_s": self.rate_per_s,
            "model": None if self.model is None else dict(self.model),
            "embedding": {**vars(self.counts), "busy_share": self.counts.busy_share},
            "vector_lengths": self.lengths,
            "output": self.output,
            "ingest": self.ingest.to_document() if self.ingest else None,
            "exit_code": self.exit_code,
        }

    def lines(self) -> list[str]:
        """Return a few lines for people."""
        line = f"{self.n_memories:,} articles of {self.source}"
        if self.n_made == 0:
            line += ", made by earlier runs"
        elif self.n_before:
            line += f", {self.n_before:,} of them made by earlier runs"
        if self.n_made:
            line += f" in {format_duration(self.elapsed_s)}: {self.rate_per_s:,.1f}/s"
        lines = [line]
        if told := describe_skipped(self.skipped):
            lines.append(f"left out: {told}")
        lines += self._embedding_lines()
        if self.output:
            lines.append(f"in {self.output}, with a document beside it")
        return lines + self._ingest_lines()

    def _ingest_lines(self) -> list[str]:
        if self.ingest is None:
            return []
        # They went in parts, of which the first line of the report tells the last alone.
        head = f"{self.ingest.n_acked:,} of {self.ingest.n_rows:,} acknowledged by {self.ingest.endpoint}"
        return [head, *self.ingest.lines()[1:]]

    def _embedding_lines(self) -> list[str]:
        if self.lengths is not None and self.n_made:
            told = f"ready embeddings, of length {self.lengths[0]:.4g} to {self.lengths[1]:.4g}, scaled to 1"
            return [told]
        if self.model is None or self.n_made == 0:
            return []
        counts, model = self.counts, self.model
        line = f"{counts.embedded:,} embedded by {model['name']} ({model['device']}, {model['dtype']}), "
        line += f"busy {counts.busy_share:.1%} of the time"
        return [f"{line}; {counts.hits:,} out of the cache" if counts.hits else line]
