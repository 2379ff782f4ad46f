"""A quick look instead of the whole proof: random rows by their ids, and random pages of the listing.

A memory read by its id comes without its embedding (Engram's wire, measured on orchard9/engram of
2025-11-21), so existence, content and confidence are checked on rows, embeddings on listed pages.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import quote

import numpy as np

from synthgen.errors import UsageError
from synthgen.ingest.client import Client
from synthgen.ingest.fingerprints import NO_CONFIDENCE, Print, fingerprint, parse_body
from synthgen.ingest.listing import LIST_ROUTE, count_of, fetch_items, space_header
from synthgen.ingest.reconcile import VerifyPlan, describe_row
from synthgen.ingest.report import VerifyReport
from synthgen.runtime.progress import Progress
from synthgen.specs import ROW_DIGITS, RowReader

_SEED = 0
_PAGE_ROWS = 100
_EXAMPLES = 5


def check_sample(plan: VerifyPlan, n_sampled: int) -> VerifyReport:
    """Check ``n_sampled`` rows, the same ones each time, and about as many embeddings.

    Embeddings can be checked where an id ends in the row's 13 digits (the ids of synthgen's datasets).
    """
    if n_sampled < 1:
        raise UsageError(f"--sample must be at least 1, not {n_sampled}")
    return _Sample(plan, min(n_sampled, plan.truth.n_rows)).run()


class _Sample:
    def __init__(self, plan: VerifyPlan, n_sampled: int) -> None:
        self._plan = plan
        self._n = n_sampled
        self._rng = np.random.Generator(np.random.PCG64(_SEED))
        self._missing: list[int] = []
        self._different: dict[str, list[int]] = {"content": [], "embedding": [], "confidence": []}
        self._n_listed = 0
        self._n_embeddings = 0

    def run(self) -> VerifyReport:
        started_s = time.monotonic()
        reader = self._plan.truth.open()
        try:
            with self._plan.client() as client:
                self._check_rows(client, reader)
                for items in self._pages(client):
                    self._check_page(items, reader)
            examples = self._examples(reader)
        finally:
            reader.close()
        return VerifyReport(
            endpoint=self._plan.endpoint,
            n_rows=self._plan.truth.n_rows,
            n_expected=self._n,
            n_listed=self._n_listed,
            n_found=self._n - len(self._missing),
            n_missing=len(self._missing),
            n_duplicated=0,
            n_shared_ids=0,
            n_different={name: len(set(rows)) for name, rows in self._different.items()},
            n_foreign=0,
            elapsed_s=time.monotonic() - started_s,
            examples=examples,
            n_sampled=self._n,
            n_sampled_embeddings=self._n_embeddings,
        )

    def _check_rows(self, client: Client, reader: RowReader) -> None:
        rows = np.sort(self._rng.choice(self._plan.truth.n_rows, self._n, replace=False)).tolist()
        progress = Progress("verify: a sample", self._n, "rows", quiet=self._plan.quiet)
        for done, row in enumerate(rows, 1):
            self._plan.check_cancelled()
            memory = parse_body(reader.read(row, row + 1)[0])
            space = self._plan.spaces[row % len(self._plan.spaces)]
            path = f"{LIST_ROUTE}/{quote(str(memory.get('id', '')), safe='')}"
            answer = client.get(path, headers=space_header(space))
            stored = parse_body(answer.body)
            if answer.status != 200 or stored.get("id") != memory.get("id"):
                self._missing.append(row)
            else:
                self._compare(row, fingerprint(memory), fingerprint(stored), ("content", "confidence"))
            progress.update(done)
        progress.finish(f"{self._n:,} rows")

    def _pages(self, client: Client) -> Iterator[list[dict[str, object]]]:
        # Random pages of each space, until as many embeddings as rows were seen.
        per_space = -(-self._n // len(self._plan.spaces))
        for space in self._plan.spaces:
            n_pages = -(-count_of(client, space) // _PAGE_ROWS)
            wanted = min(n_pages, -(-per_space // _PAGE_ROWS))
            for page in np.sort(self._rng.choice(n_pages, wanted, replace=False)).tolist() if n_pages else []:
                self._plan.check_cancelled()
                limit = min(_PAGE_ROWS, per_space)
                yield fetch_items(client, space, page * _PAGE_ROWS, limit, embeddings=True)

    def _check_page(self, items: list[dict[str, object]], reader: RowReader) -> None:
        self._n_listed += len(items)
        for item in items:
            row = self._row_of(str(item["id"]))
            if row is None:
                continue
            memory = parse_body(reader.read(row, row + 1)[0])
            if memory.get("id") == item["id"]:
                self._n_embeddings += 1
                self._compare(row, fingerprint(memory), fingerprint(item), tuple(self._different))

    def _row_of(self, memory_id: str) -> int | None:
        digits = memory_id[-ROW_DIGITS:]
        if len(digits) != ROW_DIGITS or not (digits.isascii() and digits.isdigit()):
            return None
        row = int(digits)
        return row if row < self._plan.truth.n_rows and row not in self._plan.excluded else None

    def _compare(self, row: int, expected: Print, stored: Print, fields: tuple[str, ...]) -> None:
        blanks = {"content": 0, "embedding": 0, "confidence": NO_CONFIDENCE}
        for (name, blank), mine, theirs in zip(blanks.items(), expected, stored, strict=True):
            if name in fields and mine not in (blank, theirs):
                self._different[name].append(row)

    def _examples(self, reader: RowReader) -> tuple[str, ...]:
        named = {"missing": self._missing}
        named |= {f"another {name}": rows for name, rows in self._different.items()}
        return tuple(
            describe_row(row, reader.read(row, row + 1)[0], what)
            for what, rows in named.items()
            for row in sorted(set(rows))[:_EXAMPLES]
        )
