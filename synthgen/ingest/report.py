"""What a run or a verification came to: for people, for `--json`, and as an exit code."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from synthgen.errors import EXIT_FAILED, EXIT_OK, EXIT_UNPROVEN
from synthgen.ingest.stats import Stats
from synthgen.runtime.progress import format_duration


@dataclass(frozen=True)
class SpaceCount:
    """One space: rows that should be there, memories listed, rows found and missing, memories of others."""

    space: str
    n_expected: int
    n_listed: int
    n_found: int
    n_missing: int
    n_foreign: int


@dataclass(frozen=True)
class VerifyReport:
    """The database against the rows that should be in it.

    ``n_expected`` rows were looked for; each is found by its id or missing; found ones may differ (by field:
    content, embedding, confidence; tolerance 0) or be listed more than once. ``n_shared_ids`` rows have an id
    that another row of their space has, too: one memory can be there for all of them, so they are found when
    it is, and never proven. ``n_foreign`` listed memories are not of this
    input, which is no fault. ``examples`` name the first faulty rows. ``n_sampled`` is None for a full check.
    """

    endpoint: str
    n_rows: int
    n_expected: int
    n_listed: int
    n_found: int
    n_missing: int
    n_duplicated: int
    n_shared_ids: int
    n_different: dict[str, int]
    n_foreign: int
    elapsed_s: float
    by_space: tuple[SpaceCount, ...] = ()
    examples: tuple[str, ...] = ()
    n_sampled: int | None = None
    n_sampled_embeddings: int = 0

    @property
    def is_proven(self) -> bool:
        """Whether everything expected is there, once, and equal."""
        faults = self.n_missing + self.n_duplicated + self.n_shared_ids + sum(self.n_different.values())
        return faults == 0 and self.n_found == self.n_expected

    @property
    def exit_code(self) -> int:
        """0 when proven, else 1."""
        return EXIT_OK if self.is_proven else EXIT_FAILED

    def to_document(self) -> dict[str, Any]:
        """Return everything as a JSON document."""
        document = asdict(self)
        document.update(is_proven=self.is_proven, exit_code=self.exit_code, tolerance=0)
        return document

    def lines(self) -> list[str]:
        """Return a few lines for people: the verdict first, then the first faulty rows."""
        rate = self.n_expected / self.elapsed_s if self.elapsed_s > 0 else 0.0
        verdict = "proven" if self.is_proven else "NOT proven"
        what = (
            "everything"
            if self.n_sampled is None
            else f"a sample of {self.n_sampled:,} of {self.n_rows:,} rows"
        )
        head = f"{verdict}: {self.n_found:,} of {self.n_expected:,} rows found by id in {self.endpoint}"
        faults = {"missing": self.n_missing, "listed twice": self.n_duplicated, **self._different()}
        faults["that share their id with another row"] = self.n_shared_ids
        told = ", ".join(f"{count:,} {name}" for name, count in faults.items() if count) or "all equal"
        tail = f"checked {what} in {format_duration(self.elapsed_s)} ({rate:,.0f}/s)"
        others = f", {self.n_foreign:,} memories of others" if self.n_foreign else ""
        lines = [f"{head}, {told}{others}", tail, *self.examples]
        if self.n_shared_ids:
            lines.append("of rows with one id the database keeps one: give every memory an id of its own")
        return lines

    def _different(self) -> dict[str, int]:
        return {f"with another {name}": count for name, count in self.n_different.items()}


@dataclass(frozen=True)
class IngestReport:
    """One ingest: ``n_rows`` in the input, ``n_acked`` of them acknowledged (by this run and earlier ones,
    ``n_acked_before``), ``n_dead`` refused for good; how this run went; and the proof, if one was asked for.
    """

    endpoint: str
    input_name: str
    ledger: str
    dead_letters: str
    n_rows: int
    n_acked: int
    n_acked_before: int
    n_dead: int
    n_groups: int
    elapsed_s: float
    client_cpu_s: float
    stats: Stats = field(default_factory=Stats)
    dead_examples: tuple[str, ...] = ()
    verification: VerifyReport | None = None

    @property
    def n_acked_now(self) -> int:
        """Rows acknowledged by this run."""
        return self.n_acked - self.n_acked_before

    @property
    def cpu_us_per_memory(self) -> float:
        """CPU time of all groups and the parent for each row of this run, in microseconds."""
        return self.client_cpu_s * 1e6 / self.n_acked_now if self.n_acked_now else 0.0

    @property
    def exit_code(self) -> int:
        """0 stored and proven; 1 some dead, missing or different; 4 stored, but not read back."""
        if self.n_dead or self.n_acked + self.n_dead != self.n_rows:
            return EXIT_FAILED
        if self.verification is None:
            return EXIT_UNPROVEN
        return self.verification.exit_code

    def to_document(self) -> dict[str, Any]:
        """Return everything as a JSON document."""
        return {
            "endpoint": self.endpoint,
            "input": self.input_name,
            "ledger": self.ledger,
            "dead_letters": self.dead_letters if self.n_dead else None,
            "n_rows": self.n_rows,
            "n_acked": self.n_acked,
            "n_acked_before": self.n_acked_before,
            "n_dead": self.n_dead,
            "n_sent": self.stats.n_sent,
            "n_retries": self.stats.n_retries,
            "errors": dict(self.stats.errors),
            "refusals": dict(self.stats.refusals),
            "n_groups": self.n_groups,
            "elapsed_s": self.elapsed_s,
            "rate_per_s": self.rate_per_s,
            "p50_ms": self.stats.latency_ms(0.5),
            "p99_ms": self.stats.latency_ms(0.99),
            "client_cpu_us_per_memory": self.cpu_us_per_memory,
            "verification": self.verification.to_document() if self.verification else None,
            "exit_code": self.exit_code,
        }

    @property
    def rate_per_s(self) -> float:
        """Rows acknowledged by this run per second of sending."""
        return self.n_acked_now / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def lines(self) -> list[str]:
        """Return a few lines for people."""
        lines = [self._sending_line()]
        if self.n_dead:
            lines.append(f"{self.n_dead:,} rows were refused: {self.dead_letters}, reasons beside it")
            lines += self.dead_examples
        if self.verification is None:
            lines.append("unproven: not read back (--no-verify); `synthgen verify` does it")
        else:
            lines += self.verification.lines()
            if self.verification.n_missing and self.n_acked:
                lines.append(
                    "the database has not kept what it acknowledged, or is of an older backup: to send all"
                    f" rows again under their ids, give another --ledger than {self.ledger}"
                )
        return lines

    def _sending_line(self) -> str:
        if self.n_acked_now == 0 and self.n_acked_before:
            return f"{self.n_acked:,} of {self.n_rows:,} rows acknowledged by earlier runs: nothing to send"
        line = f"{self.n_acked:,} of {self.n_rows:,} rows acknowledged"
        if self.n_acked_before:
            line += f" ({self.n_acked_before:,} of them by earlier runs)"
        line += f" in {format_duration(self.elapsed_s)}: {self.rate_per_s:,.0f}/s, "
        line += f"{self.cpu_us_per_memory:.0f} us of client CPU a memory"
        told = self.stats.describe()
        return f"{line}, {told}" if told else line
