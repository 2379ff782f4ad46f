"""Reads a database back and compares it with what should be there, in bounded memory and any order.

    truth ──row ranges──> Expectations ──┐ 20-byte fingerprints, one a row, in shared files
    listing ──pages──> Comparison <──────┘ flags, one byte a row
    still missing or listed twice? the listing once more, page after page, before anybody is told so

Both steps run in a pool of processes; small inputs are not worth starting one.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import Interrupted
from synthgen.ingest.client import Client, never
from synthgen.ingest.endpoint import parse_endpoint
from synthgen.ingest.fingerprints import parse_body
from synthgen.ingest.listing import fetch_items, iter_items
from synthgen.ingest.report import SpaceCount, VerifyReport
from synthgen.ingest.retry import RetryPolicy
from synthgen.ingest.tally import (
    DIFFERENT,
    FOUND,
    TWICE,
    Comparison,
    Expectations,
    PageCount,
    SharedIds,
    Shelf,
    sort_ids,
)
from synthgen.runtime.memory import available_cores
from synthgen.runtime.pool import Channel, Done, Pool
from synthgen.runtime.progress import Progress
from synthgen.specs import CHUNK_ROWS, RowSource

#: Below this many rows one process is as fast as starting several.
SMALL_ROWS = 50_000
_MAX_PROCESSES = 8
_EXAMPLES = 5
#: Pages of 1,000 cost half as much CPU again: their numbers, as Python objects, leave the caches.
_PAGE_ROWS = 250


@dataclass(frozen=True)
class VerifyPlan:
    """What to check: ``excluded`` rows (dead letters) need not be there. ``processes`` 0: by size."""

    truth: RowSource
    endpoint: str
    spaces: tuple[str | None, ...] = (None,)
    excluded: frozenset[int] = frozenset()
    processes: int = 0
    quiet: bool = False
    timeout_s: float = 60.0
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    cancelled: Callable[[], bool] = never

    @property
    def n_processes(self) -> int:
        """How many processes do the work; 1 is this one."""
        if self.processes:
            return self.processes
        return 1 if self.truth.n_rows < SMALL_ROWS else min(available_cores(), _MAX_PROCESSES)

    def client(self) -> Client:
        """Return a client for the listing."""
        return Client(parse_endpoint(self.endpoint), self.timeout_s, self.policy, self.cancelled)

    def check_cancelled(self) -> None:
        """Raise Interrupted when the user wants to stop."""
        if self.cancelled():
            raise Interrupted("verification stopped", next_step="run the same command again")


def reconcile(plan: VerifyPlan) -> VerifyReport:
    """Return how the database compares with ``plan.truth``; raise SynthgenError when it cannot be read."""
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="synthgen-verify-") as folder:
        shelf = Shelf(folder, plan.truth.n_rows, len(plan.spaces))
        shelf.create()
        _expect(plan, shelf)
        shared = sort_ids(shelf)
        pages = _list_parallel(plan, shelf) if plan.n_processes > 1 else _list_in_order(plan, shelf)
        flags = shelf.array("flags")
        shared.settle(flags)
        expected = np.ones(plan.truth.n_rows, dtype=np.bool_)
        expected[[row for row in plan.excluded if row < plan.truth.n_rows]] = False
        if np.any(expected & ((flags & FOUND == 0) | (flags & TWICE > 0))):
            first = flags.copy()
            flags[:] = 0
            pages = _list_in_order(plan, shelf)
            shared.settle(flags)
            flags[:] = (first | flags) & ~np.uint8(TWICE) | (first & flags & TWICE)
        result = _Result(plan, np.array(flags), expected, shared, pages)
        return result.report(time.monotonic() - started_s)


# --- what should be there


def _expect(plan: VerifyPlan, shelf: Shelf) -> None:
    n_rows = plan.truth.n_rows
    ranges = ((start, min(start + CHUNK_ROWS, n_rows)) for start in range(0, n_rows, CHUNK_ROWS))
    progress = Progress("verify: computing", n_rows, "rows", quiet=plan.quiet)
    done = 0
    for start, stop in _expect_ranges(plan, shelf, ranges):
        plan.check_cancelled()
        done += stop - start
        progress.update(done)
    progress.finish(f"{done:,} rows")


def _expect_ranges(
    plan: VerifyPlan, shelf: Shelf, ranges: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    if plan.n_processes > 1:
        with Pool(_expect_worker, (plan.truth, shelf), plan.n_processes) as pool:
            for event in pool.run(ranges):
                plan.check_cancelled()
                if isinstance(event, Done):
                    yield event.task
        return
    reader = plan.truth.open()
    try:
        expectations = Expectations(shelf, reader)
        for start, stop in ranges:
            expectations.fill(start, stop)
            yield start, stop
    finally:
        reader.close()


def _expect_worker(channel: Channel, truth: RowSource, shelf: Shelf) -> None:
    reader = truth.open()
    expectations = Expectations(shelf, reader)
    while (assignment := channel.get()) is not None:
        expectations.fill(*assignment.task)
        channel.done(assignment.number)
    reader.close()


# --- what is there


Pages = list[list[PageCount]]


def _list_in_order(plan: VerifyPlan, shelf: Shelf) -> Pages:
    comparison = Comparison(shelf)
    progress = Progress("verify: reading back", plan.truth.n_rows, "rows", quiet=plan.quiet)
    pages: Pages = [[] for _ in plan.spaces]
    with plan.client() as client:
        for index, space in enumerate(plan.spaces):
            for items in iter_items(client, space, embeddings=True, page_rows=_PAGE_ROWS):
                plan.check_cancelled()
                pages[index].append(comparison.take(index, items))
                progress.update(_n_known(pages))
    progress.finish(f"{_n_known(pages):,} of {plan.truth.n_rows:,} rows")
    return pages


def _n_known(pages: Pages) -> int:
    return sum(page.n_known for space in pages for page in space)


class _Offsets:
    """Hands out (space, offset, limit) until the listing of each space has ended."""

    def __init__(self, page_rows: list[int]) -> None:
        self.page_rows = page_rows
        self.ended: set[int] = set()

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        for space, limit in enumerate(self.page_rows):
            offset = limit
            while limit and space not in self.ended:
                yield space, offset, limit
                offset += limit


def _list_parallel(plan: VerifyPlan, shelf: Shelf) -> Pages:
    comparison = Comparison(shelf)
    progress = Progress("verify: reading back", plan.truth.n_rows, "rows", quiet=plan.quiet)
    pages: Pages = []
    with plan.client() as client:  # the first page tells how long pages are
        for index, space in enumerate(plan.spaces):
            items = fetch_items(client, space, 0, _PAGE_ROWS, embeddings=True)
            pages.append([comparison.take(index, items)])
    offsets = _Offsets([space[0].n_items for space in pages])
    reading = _Reading(plan.endpoint, plan.spaces, plan.timeout_s, plan.policy)
    with Pool(_list_worker, (reading, shelf), plan.n_processes) as pool:
        for event in pool.run(offsets):
            plan.check_cancelled()
            if isinstance(event, Done):
                pages[event.task[0]].append(event.value)
                if event.value.n_items == 0:
                    offsets.ended.add(event.task[0])
            progress.update(_n_known(pages))
    progress.finish(f"{_n_known(pages):,} of {plan.truth.n_rows:,} rows")
    return pages


@dataclass(frozen=True)
class _Reading:
    endpoint: str
    spaces: tuple[str | None, ...]
    timeout_s: float
    policy: RetryPolicy


def _list_worker(channel: Channel, reading: _Reading, shelf: Shelf) -> None:
    comparison = Comparison(shelf)
    endpoint = parse_endpoint(reading.endpoint)
    with Client(endpoint, reading.timeout_s, reading.policy, tell=None) as client:
        while (assignment := channel.get()) is not None:
            space, offset, limit = assignment.task
            items = fetch_items(client, reading.spaces[space], offset, limit, embeddings=True)
            channel.done(assignment.number, comparison.take(space, items))


# --- what it comes to


@dataclass(frozen=True)
class _Result:
    plan: VerifyPlan
    flags: NDArray[np.uint8]
    expected: NDArray[np.bool_]
    shared: SharedIds
    pages: Pages

    def report(self, elapsed_s: float) -> VerifyReport:
        flags, expected = self.flags, self.expected
        found = (flags & FOUND > 0) & expected
        masks = {"missing": expected & ~found, "listed twice": (flags & TWICE > 0) & expected}
        different = {name: (flags & bit > 0) & expected for name, bit in DIFFERENT.items()}
        masks |= {f"another {name}": mask for name, mask in different.items()}
        return VerifyReport(
            endpoint=self.plan.endpoint,
            n_rows=self.plan.truth.n_rows,
            n_expected=int(expected.sum()),
            n_listed=sum(page.n_items for space in self.pages for page in space),
            n_found=int(found.sum()),
            n_missing=int(masks["missing"].sum()),
            n_duplicated=int(masks["listed twice"].sum()),
            n_shared_ids=len(self.shared.rows),
            n_different={name: int(mask.sum()) for name, mask in different.items()},
            n_foreign=sum(page.n_foreign for space in self.pages for page in space),
            elapsed_s=elapsed_s,
            by_space=tuple(self._space(index, found) for index in range(len(self.plan.spaces))),
            examples=self._examples(masks),
        )

    def _space(self, index: int, found: NDArray[np.bool_]) -> SpaceCount:
        rows = slice(index, None, len(self.plan.spaces))
        n_expected, n_found = int(self.expected[rows].sum()), int(found[rows].sum())
        pages = self.pages[index]
        return SpaceCount(
            space=self.plan.spaces[index] or "",
            n_expected=n_expected,
            n_listed=sum(page.n_items for page in pages),
            n_found=n_found,
            n_missing=n_expected - n_found,
            n_foreign=sum(page.n_foreign for page in pages),
        )

    def _examples(self, masks: dict[str, NDArray[np.bool_]]) -> tuple[str, ...]:
        named: list[str] = []
        reader = self.plan.truth.open()
        try:
            for what, mask in masks.items():
                rows = np.flatnonzero(mask)[:_EXAMPLES].tolist()
                named += [describe_row(row, reader.read(row, row + 1)[0], what) for row in rows]
            later = self.shared.rows != self.shared.firsts
            pairs = zip(self.shared.rows[later].tolist(), self.shared.firsts[later].tolist(), strict=True)
            for row, first in islice(pairs, _EXAMPLES):
                named.append(describe_row(row, reader.read(row, row + 1)[0], f"has the id of row {first:,}"))
        finally:
            reader.close()
        return tuple(named)


def describe_row(row: int, body: bytes, what: str) -> str:
    """Return a line that names a row and what is wrong with it."""
    memory_id = parse_body(body).get("id")
    name = f"({memory_id})" if isinstance(memory_id, str) else "(its body names no id)"
    return f"row {row:,} {name}: {what}"
