"""Findings: neighbours of one kind are joined, all are counted, a handful is told."""

from __future__ import annotations

from synthgen.formats.findings import DAMAGED, MISSING, MOVED, Finding, Findings


def damaged(chunk: int, what: str = DAMAGED, origin: int | None = None) -> Finding:
    rows = range(chunk * 1_000, (chunk + 1) * 1_000)
    came = range(0) if origin is None else range(origin * 1_000, (origin + 1) * 1_000)
    return Finding(what, "rows", chunk * 10, chunk * 10 + 10, rows, came)


def test_neighbours_of_one_kind_are_joined() -> None:
    findings = Findings.of([damaged(0), damaged(1), damaged(3), damaged(4, MISSING), damaged(5, MISSING)])
    assert [(f.what, f.rows, f.start, f.stop) for f in findings.kept] == [
        (DAMAGED, range(2_000), 0, 20),
        (DAMAGED, range(3_000, 4_000), 30, 40),
        (MISSING, range(4_000, 6_000), 40, 60),
    ]
    assert (findings.n, findings.n_rows) == (3, 5_000)


def test_what_was_moved_is_joined_when_it_was_moved_together() -> None:
    together = Findings.of([damaged(0, MOVED, 7), damaged(1, MOVED, 8)])
    assert [(f.rows, f.origin) for f in together.kept] == [(range(2_000), range(7_000, 9_000))]
    apart = Findings.of([damaged(0, MOVED, 7), damaged(1, MOVED, 6)])
    assert apart.n == 2


def test_head_and_rows_are_not_joined() -> None:
    head = Finding(DAMAGED, "the head", 0, 10)
    assert Findings.of([head, damaged(1)]).n == 2


def test_a_gap_of_bytes_is_not_joined() -> None:
    after = Finding(DAMAGED, "rows", 11, 21, range(1_000, 2_000))
    assert Findings.of([damaged(0), after]).n == 2


def test_many_are_counted_and_a_handful_is_told() -> None:
    findings = Findings.of(damaged(2 * chunk) for chunk in range(3_000))
    assert (findings.n, findings.n_rows, len(findings.kept)) == (3_000, 3_000_000, 1_000)
    assert len(findings.lines()) == 7 and findings.lines()[-1] == "and 2,994 more such places"
    document = findings.to_document()
    assert (len(document["damaged"]), document["n_damaged"]) == (1_000, 3_000)


def test_nothing_is_nothing() -> None:
    findings = Findings.of([])
    assert not findings and findings.lines() == [] and findings.to_document()["n_damaged"] == 0
