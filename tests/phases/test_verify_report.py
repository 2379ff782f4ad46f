"""What `synthgen verify-dataset` says: reports, what cannot be verified, one line for each."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synthgen.cli import main
from synthgen.formats import inspection
from synthgen.formats.findings import UNREADABLE
from synthgen.formats.inspection import read_file
from synthgen.formats.manifest import journal_path, manifest_path
from tests.generated import N_ROWS, edit_manifest, flip, manifest_of
from tests.phases.generating import workers_of
from tests.phases.test_verify_dataset import only_finding, verify


def test_damage_is_joined_and_at_most_a_handful_is_told(folder: Path) -> None:
    path = folder / "x.jsonl"
    manifest = manifest_of(path)
    for chunk in (1, 2):
        flip(path, manifest.byte_range(chunk)[0] + 7)
    report = verify(path)
    assert report.findings.n == 1 and report.findings.kept[0].rows == range(1_000, 3_000)
    start, stop = manifest.byte_range(1)[0], manifest.byte_range(2)[1] - 1
    assert f"  rows 1,000 to 2,999 (bytes {start:,} to {stop:,}) are damaged" in report.lines()
    assert report.lines()[0].startswith(f"{path}: DAMAGED, 2,000 of 3,300 rows")
    assert report.lines()[-1] == f"mend it with: synthgen regenerate {path}"


def test_what_the_disk_does_not_give_back_is_a_finding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "x.jsonl"
    start, stop = manifest_of(path).byte_range(2)
    read = os.preadv

    def broken(descriptor: int, buffers: Any, offset: int) -> int:
        if start < offset + len(buffers[0]) and offset < stop:
            raise OSError(5, "Input/output error")
        return read(descriptor, buffers, offset)

    monkeypatch.setattr(inspection.os, "preadv", broken)
    finding = only_finding(path)
    assert (finding.what, finding.rows, finding.note) == (
        UNREADABLE,
        range(2_000, 3_000),
        "Input/output error",
    )


def test_memory_is_flat(folder: Path) -> None:
    path, manifest = folder / "x.jsonl", manifest_of(folder / "x.jsonl")
    assert manifest.n_bytes > 2_500_000
    tracemalloc.start()
    read_file(path, manifest)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400_000


def unfinished(path: Path) -> None:
    journal_path(path).write_text("{}\n")
    manifest_path(path).unlink()


def without_model(path: Path) -> None:
    (path.parent / "centroids.npy").unlink()


def spec_edited(path: Path) -> None:
    edit_manifest(path, lambda document: document["spec"].update(seed=6))


def count_edited(path: Path) -> None:
    edit_manifest(path, lambda document: document["spec"].update(count=N_ROWS - 1))


def chunk_lost(path: Path) -> None:
    edit_manifest(path, lambda document: document["chunks"].pop())


def manifest_cut(path: Path) -> None:
    os.truncate(manifest_path(path), 500)


def size_edited(path: Path) -> None:
    edit_manifest(path, lambda document: document["file"].update(bytes=7))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda path: manifest_path(path).unlink(), "no manifest beside it (x.manifest.json)"),
        (lambda path: path.unlink(), "no such file; `synthgen regenerate` makes it again"),
        (lambda path: shutil.rmtree(path.parent), "no such file; name a generated file"),
        (lambda path: (path.unlink(), path.mkdir()), "not a regular file"),
        (unfinished, "is not finished"),
        (manifest_cut, "not a manifest"),
        (lambda path: manifest_path(path).write_text("[]"), "not a manifest"),
        (lambda path: manifest_path(path).write_bytes(b"\xff\x00"), "not a manifest"),
        (spec_edited, "fingerprint does not match"),
        (count_edited, "damaged manifest"),
        (chunk_lost, "damaged manifest"),
        (size_edited, "damaged manifest"),
    ],
)
def test_what_cannot_be_verified_is_one_line_and_exit_3(
    folder: Path, capfd: pytest.CaptureFixture[str], harm: Callable[[Path], object], message: str
) -> None:
    path = folder / "x.jsonl"
    harm(path)
    assert main(["verify-dataset", str(path), "-q"]) == 3
    [line] = capfd.readouterr().err.splitlines()
    assert message in line and "defect" not in line


def test_without_the_model_it_cannot_be_recomputed_but_verified(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = folder / "x.npy"
    without_model(path)
    assert main(["verify-dataset", str(path), "-q"]) == 0
    assert main(["verify-dataset", str(path), "--recompute", "-q"]) == 3
    assert "centroids.npy: no such file" in capfd.readouterr().err


def test_an_interrupt_while_rows_are_recomputed_is_one_line(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from synthgen.errors import Interrupted; "
        "from synthgen.phases.datasets import load_dataset; "
        "from synthgen.phases.verify_dataset import recompute_manifest; from tests.generated import QUIET\n"
        "try: recompute_manifest(load_dataset(Path('x.manifest.json'), 10**9), 'jsonl', QUIET)\n"
        "except Interrupted as error: print(error, file=sys.stderr); sys.exit(error.exit_code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, env=environment, stderr=subprocess.PIPE
    )
    workers_of(process, 1)  # the rows are being made
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == b"stopped; nothing was changed; run the same command again"
    assert b"Traceback" not in errors


def test_as_json_and_by_either_name(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = folder / "x.npy"
    manifest = manifest_of(path)
    assert main(["verify-dataset", "--input", str(path), "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert (report["whole"], report["rows"], report["bytes"]) == (True, N_ROWS, manifest.n_bytes)
    flip(path, manifest.byte_range(3)[0])
    assert main(["verify-dataset", str(path), "--json"]) == 1
    report = json.loads(capfd.readouterr().out)
    assert report["damaged"] == [
        {
            "what": "are damaged",
            "part": "rows",
            "bytes": list(manifest.byte_range(3)),
            "rows": [3_000, N_ROWS],
        }
    ]
    assert (report["whole"], report["n_damaged_rows"], report["exit_code"]) == (False, 300, 1)


@pytest.mark.parametrize("flags", [[], ["a", "--input", "b"], [""]])
def test_one_file_has_to_be_named(capfd: pytest.CaptureFixture[str], flags: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["verify-dataset", *flags])
    assert stop.value.code == 2
