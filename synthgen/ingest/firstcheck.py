"""A look before the long run: are the first rows stored, under their ids, with their embeddings?

A few rows are sent one by one and read back. So a server that drops embeddings or ids (Engram's
`POST /api/v1/memories`), skips near-duplicates, or lacks the route is known after a second, not after hours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from synthgen.errors import TargetError
from synthgen.ingest.client import Answer, Client
from synthgen.ingest.fingerprints import fingerprint, parse_body
from synthgen.ingest.firstline import check_first_row
from synthgen.ingest.listing import LIST_ROUTE, count_of, fetch_items, space_header
from synthgen.ingest.target import Target, Verdict
from synthgen.specs import RowReader

#: Rows tried in each space, and how many of those accepted are read back.
_TRIED_ROWS = 16
_READ_BACK_ROWS = 8
#: Spaces looked at: what a server does to one it does to all.
_MAX_SPACES = 3
#: Pages looked through for the embeddings: the last ones, then the first ones.
_PAGE_ROWS = 100
_MAX_PAGES = 10


@dataclass(frozen=True)
class FirstRows:
    """What the check found: the route to use, a row that was accepted (None if none was), and the size of
    the largest body seen, in bytes.
    """

    route: str
    control_row: int | None
    body_bytes: int


@dataclass
class FirstCheck:
    """Checks the first of ``n_rows`` rows against ``target``; ``spaces`` holds None for the default one.

    ``name``: what messages call the input.
    """

    client: Client
    target: Target
    reader: RowReader
    spaces: tuple[str | None, ...]
    n_rows: int
    name: str
    _bodies: dict[int, bytes] = field(default_factory=dict)

    def run(self) -> FirstRows:
        """Return what was found; raise TargetError or InputError with what is wrong."""
        check_first_row(self._body(0), self.name)
        for route in self.target.routes:
            accepted = self._try_route(route)
            if accepted is not None:
                body_bytes = max(map(len, self._bodies.values()))
                return FirstRows(route, min(accepted, default=None), body_bytes)
        raise TargetError(
            f"the database has no route to store memories (tried {', '.join(self.target.routes)})",
            where=self.target.endpoint.url,
            next_step="check --endpoint",
        )

    def _try_route(self, route: str) -> list[int] | None:
        """Return the accepted rows, or None when there is no such route."""
        accepted: list[int] = []
        refusal: Answer | None = None
        for index, space in enumerate(self.spaces[:_MAX_SPACES]):
            stored: list[int] = []
            for row in range(index, self.n_rows, len(self.spaces))[:_TRIED_ROWS]:
                if len(stored) == _READ_BACK_ROWS:
                    break
                answer = self.client.post(route, self._body(row), dict(self.target.headers(space)))
                if answer.status in (404, 405):
                    return None
                if self.target.judge(answer.status) is Verdict.ACKED:
                    self._check_id(row, answer, route)
                    stored.append(row)
                else:
                    refusal = answer
            self._read_back(space, stored, route)
            accepted += stored
        if refusal is not None and not accepted and self.n_rows > len(self._bodies):
            raise self._refusal(route, refusal)
        return accepted

    def _body(self, row: int) -> bytes:
        if row not in self._bodies:
            self._bodies[row] = self.reader.read(row, row + 1)[0]
        return self._bodies[row]

    def _refusal(self, route: str, answer: Answer) -> TargetError:
        reason = self.target.reason(answer.status, answer.body).rstrip(".")
        next_step = "mend the input (are there 768 components?) or choose another database"
        if self.target.judge(answer.status) is Verdict.RETRY:  # whatever the rows are
            next_step = "see to the database, then run the same command again"
        return TargetError(
            f"the database refuses each of the first {len(self._bodies)} rows, the last with: {reason}",
            where=f"{self.target.endpoint.url}{route}",
            next_step=next_step,
        )

    def _check_id(self, row: int, answer: Answer, route: str) -> None:
        sent = parse_body(self._bodies[row]).get("id")
        answered = parse_body(answer.body).get("memory_id", sent)
        if sent != answered:
            raise self._lie(
                route, f"row {row} was sent as {sent!r} and stored as {answered!r}: ids are dropped"
            )

    def _read_back(self, space: str | None, rows: list[int], route: str) -> None:
        wanted = {parse_body(self._bodies[row])["id"]: row for row in rows}
        for memory_id, row in wanted.items():
            path = f"{LIST_ROUTE}/{quote(memory_id, safe='')}"
            if self.client.get(path, headers=space_header(space)).status == 404:
                raise self._lie(
                    route,
                    f"row {row} ({memory_id}) was acknowledged but does not exist: rows are skipped, perhaps "
                    "as near-duplicates",
                )
        for item in self._listed(space, wanted):
            self._compare(wanted.pop(item["id"]), item, route)

    def _listed(self, space: str | None, wanted: dict[str, int]) -> Iterator[dict[str, Any]]:
        # The listing may be long and in any order; what is not found here, the end of the run will tell.
        for offset in self._offsets(space):
            if not wanted:
                return
            items = fetch_items(self.client, space, offset, _PAGE_ROWS, embeddings=True)
            yield from [item for item in items if item["id"] in wanted]

    def _offsets(self, space: str | None) -> Iterator[int]:
        n_listed = count_of(self.client, space)
        last = max(0, n_listed - _PAGE_ROWS)
        offsets = [last, *range(0, n_listed + _PAGE_ROWS, _PAGE_ROWS)]
        yield from list(dict.fromkeys(offsets))[:_MAX_PAGES]

    def _compare(self, row: int, item: dict[str, Any], route: str) -> None:
        names = ("content", "embedding", "confidence")
        expected = fingerprint(parse_body(self._bodies[row]))
        listed = fingerprint(item)
        if expected[1] and not listed[1]:
            raise self._lie(route, f"row {row} ({item['id']}) is listed without its embedding")
        blank = fingerprint({})
        for name, mine, theirs, nothing in zip(names, expected, listed, blank, strict=True):
            if mine not in (nothing, theirs):
                raise self._lie(route, f"row {row} ({item['id']}) came back with another {name}")

    def _lie(self, route: str, what: str) -> TargetError:
        return TargetError(
            what,
            where=f"{self.target.endpoint.url}{route}",
            next_step="this database does not keep what it acknowledges; nothing more was sent",
        )
