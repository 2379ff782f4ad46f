"""Outputs that cannot be written, and what of a run's folder is in its way: one line, with a next step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from synthgen.cli import main
from synthgen.formats.chunks import Digests
from synthgen.formats.journal import Header, Journal
from synthgen.formats.manifest import journal_path
from synthgen.phases.generate import GenerateOptions, generate
from synthgen.phases.run_options import RunOptions
from synthgen.specs import DatasetSpec
from tests.datasets import make_dataset, make_model, save_model

FULL = Path("/dev/full")


def test_a_folder_as_output_is_refused_before_any_work(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for command, name in (("generate", "x.jsonl"), ("centroids", "x.npy"), ("fit", "x.npz")):
        (tmp_path / name).mkdir()
        source = [] if command == "generate" else ["--endpoint", "http://127.0.0.1:9"]
        assert main([command, *source, "--output", str(tmp_path / name), "-q"]) == 3
        assert capfd.readouterr().err == f"synthgen: {tmp_path / name}: is a folder; name a file in it\n"
    centroids = str(save_model(tmp_path))
    plan = ["generate", "--centroids", centroids, "--output", str(tmp_path / "x.jsonl"), "--dry-run", "-q"]
    assert main(plan) == 3
    assert "is a folder" in capfd.readouterr().err


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_disk_under_a_stream_is_one_line_with_a_next_step(tmp_path: Path) -> None:
    centroids = save_model(tmp_path)
    command = [sys.executable, "-m", "synthgen", "generate", "--centroids", str(centroids), "--count", "100"]
    for output, name in ((str(FULL), str(FULL)), ("-", "standard output")):
        with FULL.open("w") as full:
            ended = subprocess.run(
                [*command, "--output", output, "-q"],
                stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
            )  # fmt: skip
        lines = [line for line in ended.stderr.splitlines() if "warning" not in line]
        assert (ended.returncode, len(lines)) == (3, 1), ended.stderr
        assert lines[0].startswith(f"synthgen: {name}: No space left on device; free some room")


def run(folder: Path, *flags: str) -> int:
    return main(["run", "--std-dev", "0.1", "--count", "1000", "--output-dir", str(folder), "-q", *flags])


def test_a_run_refuses_a_foreign_file_before_it_stores_anything(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "synthetic.jsonl"
    path.write_text("dear diary\n")
    assert run(tmp_path) == 3
    error = capfd.readouterr().err
    assert f"{path}: is there already, and is no dataset of ours; move it away" in error
    assert "--output-dir" in error and "--output," not in error and "--overwrite" not in error
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_refuses_what_another_one_began_before_it_stores_anything(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spec = DatasetSpec(make_model().reference("centroids.npy"), count=1_000, decimals=5)
    header = Header(spec, "jsonl", 7_000)
    Journal.restart(journal_path(tmp_path / "synthetic.jsonl"), header, Digests(length=1), None).close()
    before = sorted(tmp_path.iterdir())
    assert run(tmp_path) == 3
    assert f"{tmp_path}: holds another run (parameters.decimals 5 -> 6); choose" in capfd.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_a_run_refuses_another_space(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_model(tmp_path)
    path = tmp_path / "centroids.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, "num_centroids": 100, "seed": 42, "spaces": []}))
    assert run(tmp_path, "--space", "other") == 3
    assert "holds another run (spaces default -> other)" in capfd.readouterr().err


def test_too_few_rows_are_not_judged() -> None:
    assert not RunOptions(Path("x"), count=999).is_judged
    assert RunOptions(Path("x"), count=1_000).is_judged
    assert not RunOptions(Path("x"), count=1_000, std_dev=0.1).is_judged


def test_a_stream_leaves_the_signals_of_its_process_as_they_were(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    before = signal.getsignal(signal.SIGPIPE)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.DEVNULL):
        generate(make_dataset(10), pipe, GenerateOptions(quiet=True))
    assert signal.getsignal(signal.SIGPIPE) is before
