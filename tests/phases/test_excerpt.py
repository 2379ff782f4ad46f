"""`synthgen regenerate --rows`: any rows alone, in any format, as the whole file has them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import synthgen
from synthgen.cli import main
from synthgen.errors import InputError, UsageError
from synthgen.formats import fixed
from synthgen.formats.manifest import journal_path, manifest_path
from synthgen.phases.datasets import make_dataset
from synthgen.phases.excerpt import Excerpt, ExcerptReport, parse_rows, write_excerpt
from synthgen.phases.generate import generate
from synthgen.specs import FORMATS, MAX_QUERIES, MAX_ROWS
from tests.datasets import make_dataset as small_dataset
from tests.generated import N_ROWS, QUIET, check_refusal, manifest_of, state_of

RANGES = [(0, 1), (0, N_ROWS), (999, 1_001), (500, 2_700), (3_299, 3_300), (1_000, 2_000)]


def write(folder: Path, rows: str, name: str = "part.jsonl", source: str = "x.jsonl") -> ExcerptReport:
    return write_excerpt(Excerpt(folder / source, rows, folder / name), quiet=True)


@pytest.mark.parametrize(("start", "stop"), RANGES)
def test_json_lines_are_the_slice_of_the_whole_file(folder: Path, start: int, stop: int) -> None:
    width, whole = manifest_of(folder / "x.jsonl").line_bytes, (folder / "x.jsonl").read_bytes()
    report = write(folder, f"{start}:{stop}")
    assert (folder / "part.jsonl").read_bytes() == whole[start * width : stop * width]
    assert (report.rows, report.n_bytes) == (range(start, stop), (stop - start) * width)


@pytest.mark.parametrize(("start", "stop"), RANGES)
@pytest.mark.parametrize("source", ["x.npy", "x.parquet.manifest.json"])
def test_vectors_are_those_of_the_whole_file(folder: Path, source: str, start: int, stop: int) -> None:
    whole = np.load(folder / "x.npy")
    write(folder, f"{start}:{stop}", "part.npy", source)
    assert np.array_equal(np.load(folder / "part.npy", mmap_mode="r"), whole[start:stop])
    write(folder, f"{start}:{stop}", "part.fbin", source)
    data = (folder / "part.fbin").read_bytes()
    assert np.frombuffer(data, "<u4", 2).tolist() == [stop - start, 64]
    assert np.array_equal(np.frombuffer(data, "<f4", offset=8).reshape(-1, 64), whole[start:stop])


@pytest.mark.parametrize(("start", "stop"), RANGES)
def test_parquet_holds_the_same_rows(folder: Path, start: int, stop: int) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write(folder, f"{start}:{stop}", "part.parquet")
    table, whole = (parquet.read_table(folder / name) for name in ("part.parquet", "x.parquet"))
    assert table.equals(whole.slice(start, stop - start))
    assert parquet.ParquetFile(folder / "part.parquet").metadata.num_rows == stop - start


@pytest.mark.parametrize(("start", "stop"), RANGES)
def test_compressed_lines_are_the_same_lines(folder: Path, start: int, stop: int) -> None:
    zstandard = pytest.importorskip("zstandard")
    write(folder, f"{start}:{stop}", "part.jsonl.zst")
    write(folder, f"{start}:{stop}", "part.jsonl")
    with (folder / "part.jsonl.zst").open("rb") as file:
        lines = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    assert lines == (folder / "part.jsonl").read_bytes()


@pytest.mark.parametrize("format_", FORMATS)
def test_all_rows_are_the_whole_file(folder: Path, format_: str) -> None:
    write(folder, ":", f"part.{format_}")
    assert (folder / f"part.{format_}").read_bytes() == (folder / f"x.{format_}").read_bytes()


def test_rows_behind_the_last_one_are_those_of_a_larger_count(folder: Path) -> None:
    larger = make_dataset(folder / "centroids.npy", folder, count=5_000, seed=5)
    generate(larger, folder / "larger.jsonl", QUIET)
    report = write(folder, "3200:4100")
    width = manifest_of(folder / "larger.jsonl").line_bytes
    whole = (folder / "larger.jsonl").read_bytes()
    assert (folder / "part.jsonl").read_bytes() == whole[3_200 * width : 4_100 * width]
    assert report.lines()[1] == "the dataset has 3,300: rows behind them are those of a larger --count"
    write(folder, "1_000_000_000_000:1_000_000_000_002", "far.npy")
    memories = synthgen.open_dataset(folder / "x.jsonl", count=MAX_ROWS)
    assert np.array_equal(np.load(folder / "far.npy"), memories.embeddings(10**12, 10**12 + 2))
    assert len(write(folder, "3:5", "two.jsonl").lines()) == 1


def test_a_spec_is_enough(folder: Path) -> None:
    (folder / "spec.json").write_text(json.dumps(manifest_of(folder / "x.npy").spec.to_document()))
    for path in folder.glob("x.*"):
        path.unlink()
    write(folder, "7:9", source="spec.json")
    assert (folder / "part.jsonl").read_text().count("\n") == 2


def test_queries_are_written_alike(folder: Path) -> None:
    queries = make_dataset(folder / "centroids.npy", folder, count=1_500, role="queries", shift=0.5)
    generate(queries, folder / "q.jsonl", QUIET)
    width = manifest_of(folder / "q.jsonl").line_bytes
    write(folder, "990:1010", source="q.jsonl")
    expected = (folder / "q.jsonl").read_bytes()[990 * width : 1_010 * width]
    assert (folder / "part.jsonl").read_bytes() == expected


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("5:7", (5, 7)),
        (":7", (0, 7)),
        ("5:", (5, 2_500)),
        (":", (0, 2_500)),
        (" 1_000:2_000 ", (1_000, 2_000)),
    ],
)
def test_ranges(text: str, rows: tuple[int, int]) -> None:
    assert parse_rows(text, small_dataset().spec) == range(*rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be A:B"),
        ("5", "must be A:B"),
        ("-5:3", "must be A:B"),
        ("5:-3", "must be A:B"),
        ("1.0:3", "must be A:B"),
        ("a:b", "must be A:B"),
        ("1:2:3", "must be A:B"),
        ("1__0:20", "must be A:B"),
        ("٣:٤", "must be A:B"),
        ("5:5", "holds no row"),
        ("9:5", "holds no row"),
        (":0", "holds no row"),
        ("2500:", "holds no row: the dataset has 2,500"),
        (f"0:{MAX_ROWS + 1}", "ends behind the last possible row, 2,147,483,647,999"),
    ],
)
def test_what_is_no_range_is_a_usage_error(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_rows(text, small_dataset().spec)


def test_queries_end_earlier() -> None:
    spec = small_dataset(role="queries").spec  # type: ignore[arg-type]
    assert len(parse_rows(f"5:{MAX_QUERIES}", spec)) == MAX_QUERIES - 5
    with pytest.raises(UsageError, match="ends behind"):
        parse_rows(f"5:{MAX_QUERIES + 1}", spec)


def run(folder: Path, *flags: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "synthgen", "regenerate", *flags]
    return subprocess.run(command, cwd=folder, stderr=subprocess.PIPE, check=False, **options)


def test_standard_output_is_the_default(folder: Path) -> None:
    lines = (folder / "x.jsonl").read_bytes().splitlines(keepends=True)
    done = run(folder, "x.jsonl", "--rows", "998:1003", "-q", stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (0, b"".join(lines[998:1_003]))
    assert done.stderr.startswith(b"rows 998 to 1,002 in - (jsonl, ")
    flags = ["--spec", "x.npy.manifest.json", "--rows", ":2", "--output", "-", "--format", "fbin", "--json"]
    done = run(folder, *flags, "-q", stdout=subprocess.PIPE)
    assert len(done.stdout) == 8 + 2 * 64 * 4
    report = json.loads(done.stderr)
    assert (report["rows"], report["bytes"], report["format"]) == ([0, 2], 520, "fbin")


def test_a_reader_that_leaves_early_is_no_error(folder: Path) -> None:
    script = f"{sys.executable} -m synthgen regenerate x.jsonl --rows 0:900000 -q | head -c 100 | wc -c"
    done = subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, check=False)
    assert done.stdout.strip() == b"100" and done.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(folder: Path) -> None:
    done = run(folder, "x.jsonl", "--rows", ":", "--output", "/dev/full", "-q")
    assert done.returncode == 3
    assert done.stderr.startswith(b"synthgen: /dev/full: No space left on device")
    assert len(done.stderr.splitlines()) == 1


def test_what_has_the_name_is_left_alone(folder: Path) -> None:
    (folder / "mine.jsonl").write_text("precious")
    manifest_path(folder / "lost.npy").write_text("{}")
    journal_path(folder / "begun.jsonl").write_text("{}")
    (folder / "some").mkdir()
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    for name, message in [
        ("mine.jsonl", r"is there already \(mine\.jsonl\)"),
        ("x.parquet", r"is there already \(x\.parquet\)"),
        ("lost.npy", r"is there already \(lost\.npy\.manifest\.json\)"),
        ("begun.jsonl", r"is there already \(\.begun\.jsonl\.journal\)"),
        ("nowhere/x.jsonl", "no such folder"),
        ("some", "is a folder"),
    ]:
        with pytest.raises(InputError, match=message):
            write(folder, "1:5", name)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError(5, "Input/output error")])
def test_what_breaks_in_the_middle_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    before = state_of(folder)
    encode = fixed.JsonLinesEncoder.encode

    def broken(self: fixed.JsonLinesEncoder, maker: Any, start: int, stop: int) -> Any:
        if start >= 2_000:
            raise error
        return encode(self, maker, start, stop)

    monkeypatch.setattr(fixed.JsonLinesEncoder, "encode", broken)
    with pytest.raises((KeyboardInterrupt, MemoryError, Exception)):
        write(folder, ":")
    assert state_of(folder) == before


def test_more_than_the_disk_holds_is_refused_before_the_first_byte(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = state_of(folder)
    assert (
        main(
            ["regenerate", str(folder / "x.npy"), "--rows", f":{MAX_ROWS}", "--output", str(folder / "y.npy")]
        )
        == 3
    )
    assert "GB are needed" in capfd.readouterr().err
    assert state_of(folder) == before


@pytest.mark.parametrize(
    "case",
    [
        (["x.jsonl", "--rows", "9:3"], 2, "--rows 9:3 holds no row"),
        (["x.jsonl", "--rows", "five"], 2, "--rows must be A:B"),
        (["none.jsonl", "--rows", "1:2"], 3, "no manifest beside it (none.manifest.json)"),
        (["--spec", "none.json", "--rows", "1:2"], 3, "none.json: no such file"),
        (["--spec", "centroids.json", "--rows", "1:2"], 3, "not a dataset spec"),
    ],
)
def test_bad_input_is_one_line_and_touches_nothing(
    folder: Path, capfd: pytest.CaptureFixture[str], case: tuple[list[str], int, str]
) -> None:
    flags, *expected = case
    argv = ["regenerate", *flags, "--output", "y.jsonl", "-q"]
    check_refusal(folder, argv, *expected, lambda: capfd.readouterr().err)


def test_without_the_model_nothing_is_written(folder: Path) -> None:
    (folder / "centroids.npy").unlink()
    before = state_of(folder)
    with pytest.raises(InputError, match=r"centroids\.npy: no such file"):
        write(folder, "1:5")
    assert state_of(folder) == before
