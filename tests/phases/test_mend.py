"""`synthgen regenerate FILE`: after any damage the same bytes again, and only what was damaged is made."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from synthgen.cli import main
from synthgen.errors import InputError
from synthgen.formats.inspection import read_file
from synthgen.formats.manifest import journal_path, manifest_path, partial_path
from synthgen.model.centroids import save_centroids
from synthgen.phases import generate as generate_module
from synthgen.phases.datasets import make_dataset
from synthgen.phases.generate import generate
from synthgen.phases.mend import MendReport, mend
from synthgen.phases.verify_dataset import verify_dataset
from synthgen.specs import FORMATS
from tests.datasets import make_model
from tests.generated import (
    N_ROWS,
    QUIET,
    check_refusal,
    edit_manifest,
    flip,
    manifest_of,
    sha256,
    state_of,
    swap_chunks,
    swap_digests,
)
from tests.processes import still_running


def mended(path: Path, *, recompute: bool = False) -> MendReport:
    """Mend ``path``; that it is whole shows in its bytes, which are those of before."""
    return mend(path, QUIET, recompute=recompute)


@pytest.mark.parametrize("format_", FORMATS)
def test_the_files_of_these_tests_are_whole_by_the_seed(whole_files: Path, format_: str) -> None:
    assert not verify_dataset(whole_files / f"x.{format_}", recompute=True, options=QUIET).findings


def flipped_in(*chunks: int) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        for chunk in chunks:
            flip(path, manifest_of(path).byte_range(chunk)[0] + 50)

    return harm


def head_or_footer(path: Path) -> None:
    manifest = manifest_of(path)
    if manifest.head.n_bytes:
        flip(path, 2)
    if manifest.tail.n_bytes:
        flip(path, manifest.n_bytes - 2)


def cut(path: Path) -> None:
    os.truncate(path, manifest_of(path).byte_range(2)[0] + 99)


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


HARMS: list[tuple[Callable[[Path], object], int]] = [
    (lambda path: None, 0),
    (flipped_in(1), 1_000),
    (flipped_in(0, 3), 1_300),
    (head_or_footer, 0),
    (cut, 1_300),
    (longer, 0),
    (lambda path: path.unlink(), N_ROWS),
    (lambda path: path.write_bytes(b""), N_ROWS),
]


@pytest.mark.parametrize("harm", range(len(HARMS)))
@pytest.mark.parametrize("format_", FORMATS)
def test_the_same_bytes_again_and_only_what_was_damaged_is_made(
    folder: Path, format_: str, harm: int
) -> None:
    path = folder / f"x.{format_}"
    before = state_of(folder)
    do_harm, n_rows = HARMS[harm]
    do_harm(path)
    assert mended(path).made.rows_made == n_rows
    assert state_of(folder) == before, "other bytes, or something left behind"


@pytest.mark.parametrize("format_", ["jsonl", "npy", "fbin"])
def test_swapped_chunks_are_put_right(folder: Path, format_: str) -> None:
    path, before = folder / f"x.{format_}", state_of(folder)
    swap_chunks(path, 0, 2)
    assert mended(path).made.rows_made == 2_000
    assert state_of(folder) == before


def test_a_whole_file_is_not_touched(folder: Path) -> None:
    path = folder / "x.npy"
    before = path.stat()
    states = state_of(folder)
    report = mended(path)
    assert state_of(folder) == states
    assert path.stat().st_mtime_ns == before.st_mtime_ns and path.stat().st_ino == before.st_ino
    assert report.lines()[0].endswith("are whole: nothing to mend")


@pytest.mark.parametrize("format_", FORMATS)
def test_a_forged_manifest_is_believed_unless_rows_are_recomputed(folder: Path, format_: str) -> None:
    path, before = folder / f"x.{format_}", state_of(folder)
    manifest = manifest_of(path)
    flip(path, manifest.byte_range(1)[0] + 300)
    digest = read_file(path, manifest).chunks[1]
    edit_manifest(path, lambda document: document["chunks"][1].update(xxh3_128=digest), forge=True)
    forged = state_of(folder)
    assert mend(path, QUIET).made.rows_made == 0 and state_of(folder) == forged
    report = mended(path, recompute=True)
    assert (report.made.rows_made, report.manifest_replaced) == (1_000, True)
    assert state_of(folder) == before
    assert "its manifest was not what the seed says, and is replaced" in report.lines()


def test_swapped_chunks_with_forged_digests_are_put_right(folder: Path) -> None:
    path, before = folder / "x.jsonl", state_of(folder)
    swap_chunks(path, 0, 2)
    edit_manifest(path, swap_digests(0, 2), forge=True)
    report = mended(path, recompute=True)
    assert (report.made.rows_made, report.manifest_replaced) == (2_000, True)
    assert state_of(folder) == before


@pytest.mark.parametrize("forge", [False, True])
def test_a_wrong_manifest_of_right_rows_is_replaced(folder: Path, forge: bool) -> None:
    path, before = folder / "x.parquet", state_of(folder)
    edit_manifest(path, lambda document: document["chunks"][2].update(xxh3_128="1" * 32), forge=forge)
    report = mended(path, recompute=True)
    assert (report.made.rows_made, report.manifest_replaced) == (0, True)
    assert state_of(folder) == before


def test_recomputing_a_whole_file_leaves_it_alone(folder: Path) -> None:
    before = state_of(folder)
    report = mended(folder / "x.jsonl.zst", recompute=True)
    assert (report.made.rows_made, report.manifest_replaced) == (0, False)
    assert state_of(folder) == before


def refused(folder: Path, path: Path, message: str) -> None:
    before = state_of(folder)
    with pytest.raises(InputError, match=message):
        mend(path, QUIET)
    assert state_of(folder) == before, "something was touched"


@pytest.mark.parametrize("format_", FORMATS)
def test_without_its_model_or_with_another_one_nothing_is_touched(folder: Path, format_: str) -> None:
    path = folder / f"x.{format_}"
    flip(path, manifest_of(path).byte_range(1)[0])
    model, titles = folder / "centroids.npy", folder / "centroids.json"
    saved = model.read_bytes()
    model.unlink()
    refused(folder, path, r"centroids\.npy: no such file")
    model.write_bytes(saved)
    titles.unlink()  # another model: contents name no titles
    refused(folder, path, "not the model that the dataset was drawn from")


def test_what_is_no_file_of_ours_is_refused(folder: Path) -> None:
    manifest_path(folder / "x.npy").unlink()
    refused(folder, folder / "x.npy", r"no manifest beside it \(x\.npy\.manifest\.json\)")
    refused(folder, folder / "nothing.jsonl", r"no manifest beside it \(nothing\.manifest\.json\)")
    (folder / "some").mkdir()
    with pytest.raises(InputError, match="not a regular file"):
        mend(folder / "some", QUIET)


def test_a_damaged_manifest_is_refused_and_named_a_way_out(folder: Path) -> None:
    path, before = folder / "x.fbin", state_of(folder)
    edit_manifest(path, swap_digests(0, 1))
    refused(folder, path, "damaged manifest.*`synthgen regenerate --recompute FILE`")
    assert mended(path, recompute=True).manifest_replaced
    assert state_of(folder) == before


def test_an_unfinished_file_is_finished(folder: Path) -> None:
    path, before = folder / "x.jsonl", state_of(folder)
    flip(path, 5)
    manifest = manifest_of(path)
    header = {"format_version": 1, "spec": manifest.spec.to_document(), "line_bytes": manifest.line_bytes}
    entries = [{"chunk": c, "xxh3_128": digest} for c, digest in enumerate(manifest.chunks)]
    journal_path(path).write_text("".join(f"{json.dumps(line)}\n" for line in [header, *entries]))
    path.rename(partial_path(path))
    manifest_path(path).unlink()
    assert mended(path).made.rows_made == 1_000
    assert state_of(folder) == before


def test_a_damaged_file_has_no_name_while_it_is_mended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, before = folder / "x.jsonl", state_of(folder)
    flip(path, 5)
    fill = generate_module._fill

    def look(*arguments: object) -> object:
        assert not path.exists() and not manifest_path(path).exists() and partial_path(path).exists()
        return fill(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(generate_module, "_fill", look)
    assert mended(path).made.rows_made == 1_000
    assert state_of(folder) == before


@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.25])
@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_killed_in_the_middle_the_same_command_goes_on(tmp_path: Path, format_: str, delay_s: float) -> None:
    centroids, path = tmp_path / "centroids.npy", tmp_path / f"x.{format_}"
    save_centroids(centroids, make_model(7, 64), {})
    dataset = make_dataset(centroids, tmp_path, count=60_000)
    generate(dataset, path, QUIET)
    before = state_of(tmp_path)
    manifest = manifest_of(path)
    for chunk in range(0, 60, 2):
        flip(path, manifest.byte_range(chunk)[0] + 20)
    command = [sys.executable, "-m", "synthgen", "regenerate", str(path), "-q"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while path.exists() and process.poll() is None:
        time.sleep(0.005)
    time.sleep(delay_s)
    workers = psutil.Process(process.pid).children() if process.poll() is None else []
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not still_running(workers, 10)
    assert manifest_path(path).exists() or journal_path(path).exists(), "what it was is forgotten"
    assert main(["regenerate", str(path), "-q", "--workers", "1"]) == 0
    assert state_of(tmp_path) == before


def test_the_command_says_what_it_did(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = folder / "x.parquet"
    flip(path, manifest_of(path).byte_range(2)[0])
    assert main(["regenerate", str(path), "-q", "--workers", "1"]) == 0
    printed = capfd.readouterr().out
    assert printed.startswith(f"{path}: 1,000 of 3,300 rows (parquet, 0.00 GB) made again in ")
    assert main(["regenerate", str(path), "--json", "-q"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert (report["rows_made"], report["rows"], report["manifest_replaced"]) == (0, N_ROWS, False)
    assert report["digest"] == manifest_of(path).digest and sha256(path)


@pytest.mark.parametrize(
    "case",
    [
        (["x.npy", "--output", "y.npy"], 2, "--output goes with --rows"),
        (["x.npy", "--format", "jsonl"], 2, "--format goes with --rows"),
        (["--spec", "x.npy.manifest.json"], 2, "--spec goes with --rows"),
        (["x.npy", "--memory-budget", "1MB"], 3, "holds not one worker"),
        (["x.npy", "--workers", "-1"], 2, "--workers must be"),
        (["none.npy"], 3, "no manifest beside it"),
    ],
)
def test_bad_input_is_one_line_and_touches_nothing(
    folder: Path, capfd: pytest.CaptureFixture[str], case: tuple[list[str], int, str]
) -> None:
    flags, *expected = case
    flip(folder / "x.npy", 500)
    check_refusal(folder, ["regenerate", "-q", *flags], *expected, lambda: capfd.readouterr().err)


@pytest.mark.parametrize("flags", [[], ["x", "--spec", "y"], ["--rows", "1:2"]])
def test_one_source_has_to_be_named(flags: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["regenerate", *flags])
    assert stop.value.code == 2
