"""A server that lies is found out, before the run where possible, else by the proof (24 in the table).

Lies of the real Engram are in test_quirks.py, on the embedded server; here are those that it cannot tell.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from synthgen.errors import InputError, TargetError
from synthgen.ingest import ingest, verify
from synthgen.specs import IngestSpec
from tests.ingest.faulty import faulty_server
from tests.ingest.rows import TestRows

ROWS = TestRows(300, dimension=8)


def spec_for(endpoint: str, folder: Path, **settings: object) -> IngestSpec:
    return IngestSpec(endpoint, folder / "x.ledger", concurrent=4, quiet=True, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ("drops embeddings", r"row 0 \(syn-00000001-0000000000000\) came back with another embedding"),
        (
            "drops ids",
            r"row 0 was sent as 'syn-00000001-0000000000000' and stored as 'mem_1': ids are dropped",
        ),
        ("lists no embeddings", r"row 0 .* is listed without its embedding"),
    ],
)
def test_the_first_rows_tell_before_the_long_run(tmp_path: Path, lie: str, said: str) -> None:
    with faulty_server(lie=lie) as server:
        with pytest.raises(TargetError, match=said) as caught:
            ingest(ROWS, spec_for(server.endpoint, tmp_path))
        assert caught.value.exit_code == 3
        assert server.n_posts <= 8


def test_a_server_without_the_first_route_gets_the_other(tmp_path: Path) -> None:
    with faulty_server(routes=("/api/v1/memories",)) as server:
        assert ingest(ROWS, spec_for(server.endpoint, tmp_path)).exit_code == 0
    with faulty_server(routes=()) as server, pytest.raises(TargetError, match="no route to store memories"):
        ingest(TestRows(300, key=2), IngestSpec(server.endpoint, tmp_path / "y.ledger", quiet=True))


def test_a_server_that_refuses_all_first_rows_stops_the_run(tmp_path: Path) -> None:
    with faulty_server(misbehave=lambda n, row: "400") as server:
        with pytest.raises(TargetError, match=r"refuses each of the first 16 rows, .*400 SCRIPTED: 400"):
            ingest(ROWS, spec_for(server.endpoint, tmp_path))
        assert server.n_posts == 16


def test_rows_without_ids_are_not_sent(tmp_path: Path) -> None:
    rows = TestRows(10, bodies={0: b'{"content":"x","embedding":[1,0]}'})
    with faulty_server() as server:
        with pytest.raises(InputError, match="test rows 1, first row: the memory has no id"):
            ingest(rows, spec_for(server.endpoint, tmp_path))
        assert server.n_posts == 0


def test_what_is_there_is_proven_whatever_the_order_of_each_page(tmp_path: Path) -> None:
    rows = TestRows(240, dimension=8)  # one page: any order is any order, not a lottery
    with faulty_server(lie="lists in any order") as server:
        report = ingest(rows, spec_for(server.endpoint, tmp_path))
        assert report.exit_code == 0, report.lines()


def test_a_memory_listed_twice_is_named(tmp_path: Path) -> None:
    with faulty_server() as server:
        ingest(ROWS, spec_for(server.endpoint, tmp_path, verify=False))
        server.lie = "lists one twice"
        report = verify(ROWS, server.endpoint, quiet=True)
        assert (report.n_duplicated, report.n_missing, report.exit_code) == (1, 0, 1)
        assert any(line.startswith("row ") and line.endswith("listed twice") for line in report.lines())


def test_a_listing_that_ignores_the_offset_ends(tmp_path: Path) -> None:
    with faulty_server() as server:
        ingest(ROWS, spec_for(server.endpoint, tmp_path, verify=False))
        server.lie = "ignores the offset"
        with pytest.raises(TargetError, match="the listing repeats itself"):
            verify(ROWS, server.endpoint, quiet=True)


def test_pages_shorter_than_asked_for_are_no_end(tmp_path: Path) -> None:
    with faulty_server(page_limit=70) as server:
        ingest(ROWS, spec_for(server.endpoint, tmp_path, verify=False))
        for processes in (1, 2):
            assert verify(ROWS, server.endpoint, quiet=True, processes=processes).is_proven


def test_unproven_is_exit_code_4(tmp_path: Path) -> None:
    with faulty_server() as server:
        report = ingest(ROWS, spec_for(server.endpoint, tmp_path, verify=False))
        assert report.exit_code == 4
        assert "unproven" in "\n".join(report.lines())
