"""`synthgen verify-dataset`: every kind of damage is found, and named by its rows and bytes."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from synthgen.errors import InputError
from synthgen.formats.findings import (
    DAMAGED,
    MISDESCRIBED,
    MISNAMED,
    MISSING,
    MOVED,
    SURPLUS,
    WRONG,
    Finding,
)
from synthgen.formats.inspection import read_file
from synthgen.formats.manifest import manifest_path
from synthgen.phases.verify_dataset import VerifyReport, verify_dataset
from synthgen.specs import FORMATS, chunk_bounds
from tests.generated import (
    N_CHUNKS,
    N_ROWS,
    QUIET,
    edit_manifest,
    flip,
    manifest_of,
    state_of,
    swap_chunks,
    swap_digests,
)

FIXED = ("jsonl", "npy", "fbin")


def verify(path: Path, *, recompute: bool = False) -> VerifyReport:
    """Verify ``path``; nothing is touched, whatever it is."""
    before = state_of(path.parent)
    report = verify_dataset(path, recompute=recompute, options=QUIET)
    assert state_of(path.parent) == before
    assert report.exit_code == (1 if report.findings else 0)
    assert report.findings.n_rows == sum(len(f.rows) for f in report.findings.kept)
    return report


def only_finding(path: Path, *, recompute: bool = False) -> Finding:
    report = verify(path, recompute=recompute)
    [finding] = report.findings.kept
    assert report.findings.n == 1
    return finding


@pytest.mark.parametrize("recompute", [False, True], ids=["", "recompute"])
@pytest.mark.parametrize("format_", FORMATS)
def test_whole_files_are_whole(folder: Path, format_: str, recompute: bool) -> None:
    path = folder / f"x.{format_}"
    report = verify(path, recompute=recompute)
    assert not report.findings and report.exit_code == 0
    assert "whole" in report.lines()[0] and report.to_document()["damaged"] == []
    assert verify_dataset(manifest_path(path), recompute=False, options=QUIET).path == path


@pytest.mark.parametrize("format_", FORMATS)
def test_any_flipped_bit_is_found_and_its_chunk_named(folder: Path, format_: str) -> None:
    path = folder / f"x.{format_}"
    manifest = manifest_of(path)
    ends = {offset for chunk in range(N_CHUNKS) for offset in manifest.byte_range(chunk)}
    rng = random.Random(format_)
    offsets = {
        0,
        manifest.n_bytes - 1,
        *(e for e in ends if e < manifest.n_bytes),
        *(e - 1 for e in ends if e),
    }
    offsets |= {rng.randrange(manifest.n_bytes) for _ in range(30)}
    for at in sorted(offsets):
        bit = rng.randrange(8)
        flip(path, at, bit)
        finding = only_finding(path)
        assert finding.what == DAMAGED and finding.start <= at < finding.stop
        chunk = [c for c in range(N_CHUNKS) if manifest.byte_range(c)[0] <= at < manifest.byte_range(c)[1]]
        if chunk:
            assert finding.rows == range(*chunk_bounds(chunk[0], N_ROWS))
            assert (finding.start, finding.stop) == manifest.byte_range(chunk[0])
        else:
            assert not finding.rows and finding.part in ("the head", "the tail")
        flip(path, at, bit)
    assert not verify(path).findings


@pytest.mark.parametrize("format_", ["npy", "fbin", "parquet"])
def test_a_damaged_head_is_named(folder: Path, format_: str) -> None:
    path = folder / f"x.{format_}"
    flip(path, 3)
    finding = only_finding(path)
    assert str(finding) == f"bytes 0 to {manifest_of(path).head.n_bytes - 1} (the head) are damaged"


@pytest.mark.parametrize("format_", ["jsonl.zst", "parquet"])
def test_a_damaged_footer_is_named(folder: Path, format_: str) -> None:
    path = folder / f"x.{format_}"
    flip(path, path.stat().st_size - 5)
    finding = only_finding(path)
    assert finding.part == "the tail" and finding.stop == path.stat().st_size
    assert finding.start == manifest_of(path).places.end


@pytest.mark.parametrize("format_", FORMATS)
def test_a_truncated_file_names_the_rows_that_are_missing(folder: Path, format_: str) -> None:
    path = folder / f"x.{format_}"
    manifest = manifest_of(path)
    size = manifest.byte_range(1)[1] + 10
    os.truncate(path, size)
    findings = verify(path).findings.kept
    assert findings[0].what == MISSING and findings[0].rows == range(2_000, N_ROWS)
    assert findings[0].note == f"the file ends at byte {size:,}"
    assert [f.part for f in findings[1:]] == ["the tail"] * bool(manifest.tail.n_bytes)
    assert findings[-1].stop == manifest.n_bytes


@pytest.mark.parametrize("format_", FORMATS)
def test_one_byte_less_and_none_at_all(folder: Path, format_: str) -> None:
    path = folder / f"x.{format_}"
    manifest = manifest_of(path)
    os.truncate(path, manifest.n_bytes - 1)
    finding = only_finding(path)
    assert finding.what == MISSING and finding.stop == manifest.n_bytes
    assert finding.rows == (range(0) if manifest.tail.n_bytes else range(3_000, N_ROWS))
    os.truncate(path, 0)
    report = verify(path)
    assert report.findings.n_rows == N_ROWS and {f.what for f in report.findings.kept} == {MISSING}


@pytest.mark.parametrize("n_more", [1, 10_000])
@pytest.mark.parametrize("format_", FORMATS)
def test_a_longer_file_is_found(folder: Path, format_: str, n_more: int) -> None:
    path = folder / f"x.{format_}"
    n_bytes = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"x" * n_more)
    finding = only_finding(path)
    assert (finding.what, finding.start, finding.stop) == (SURPLUS, n_bytes, n_bytes + n_more)


@pytest.mark.parametrize("format_", FIXED)
def test_swapped_chunks_are_known_for_what_they_are(folder: Path, format_: str) -> None:
    path = folder / f"x.{format_}"
    swap_chunks(path, 0, 2)
    findings = verify(path).findings.kept
    assert [(f.what, f.rows, f.origin) for f in findings] == [
        (MOVED, range(1_000), range(2_000, 3_000)),
        (MOVED, range(2_000, 3_000), range(1_000)),
    ]
    assert "rows 0 to 999 (bytes" in str(findings[0]) and str(findings[0]).endswith(
        ": of rows 2,000 to 2,999"
    )


@pytest.mark.parametrize("format_", ["jsonl.zst", "parquet"])
def test_rows_of_another_place_in_a_packed_file_are_damage(folder: Path, format_: str) -> None:
    path = folder / f"x.{format_}"
    manifest, data = manifest_of(path), bytearray(path.read_bytes())
    (a0, a1), (b0, b1) = manifest.byte_range(0), manifest.byte_range(1)
    path.write_bytes(data[:a0] + data[b0:b1] + data[a0:a1] + data[b1:])
    report = verify(path)
    assert report.findings.n_rows == 2_000


def test_swapped_chunks_and_digests_are_found_by_the_digest_over_all(folder: Path) -> None:
    path = folder / "x.jsonl"
    swap_chunks(path, 0, 2)
    edit_manifest(path, swap_digests(0, 2))
    with pytest.raises(InputError, match="damaged manifest"):
        verify(path)


@pytest.mark.parametrize("format_", FIXED)
def test_a_manifest_that_agrees_with_wrong_bytes_is_found_out_by_the_seed(folder: Path, format_: str) -> None:
    path = folder / f"x.{format_}"
    swap_chunks(path, 0, 2)
    edit_manifest(path, swap_digests(0, 2), forge=True)
    assert not verify(path).findings
    report = verify(path, recompute=True)
    assert [(f.what, f.rows) for f in report.findings.kept] == [
        (WRONG, range(1_000)),
        (WRONG, range(2_000, 3_000)),
    ]
    assert "synthgen regenerate --recompute" in report.lines()[-1]


@pytest.mark.parametrize("format_", FORMATS)
def test_a_forged_bit_is_found_out_by_the_seed(folder: Path, format_: str) -> None:
    path = folder / f"x.{format_}"
    manifest = manifest_of(path)
    flip(path, manifest.byte_range(1)[0] + 300)
    found = read_file(path, manifest)

    def forge(document: dict[str, Any]) -> None:
        document["chunks"][1]["xxh3_128"] = found.chunks[1]

    edit_manifest(path, forge, forge=True)
    assert not verify(path).findings
    finding = only_finding(path, recompute=True)
    assert (finding.what, finding.rows) == (WRONG, range(1_000, 2_000))


@pytest.mark.parametrize("format_", FORMATS)
def test_a_manifest_that_is_wrong_itself_is_told_from_wrong_bytes(folder: Path, format_: str) -> None:
    path = folder / f"x.{format_}"

    def forge(document: dict[str, Any]) -> None:
        document["chunks"][1]["xxh3_128"] = "1" * 32

    edit_manifest(path, forge, forge=True)
    assert only_finding(path).what == DAMAGED
    assert only_finding(path, recompute=True).what == MISNAMED


def test_forged_widths_are_found_out_by_the_seed(folder: Path) -> None:
    path = folder / "x.npy"
    edit_manifest(path, lambda document: document["file"]["grid"].update(decimals=5))
    assert not verify(path).findings
    assert only_finding(path, recompute=True).what == MISDESCRIBED
