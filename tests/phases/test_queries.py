"""`synthgen queries` as a user meets it: a file like a dataset's, of queries that are never stored."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.cli import main
from synthgen.formats.manifest import journal_path, manifest_path, partial_path, read_manifest
from synthgen.phases.datasets import load_dataset
from tests.datasets import save_model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path)
    return tmp_path


def run(command: str, *flags: str) -> int:
    model = ["--centroids", "centroids.npy"] if command in ("generate", "queries") else []
    return main([command, *model, "--quiet", *flags])


def report_of(capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(capfd.readouterr().out)
    return report


def error_of(capfd: pytest.CaptureFixture[str]) -> str:
    output = capfd.readouterr()
    lines = output.err.splitlines()
    assert len(lines) == 1 and output.out == "", output
    return lines[0]


def sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_dataset_and_its_queries_from_end_to_end(folder: Path) -> None:
    def synthgen(*arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "synthgen", *arguments, "--centroids", "centroids.npy", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    rows = synthgen("generate", "--count", "2000", "--output", "rows.jsonl")
    asked = synthgen("queries", "--count", "1500", "--shift", "0.5", "--output", "asked.jsonl")
    assert (asked["rows"], asked["role"], asked["line_bytes"]) == (1_500, "queries", rows["line_bytes"] - 1)
    assert asked["dataset_fingerprint"] == rows["fingerprint"] == rows["dataset_fingerprint"]
    manifest = json.loads(Path("asked.manifest.json").read_text())
    assert manifest["spec"]["role"] == "queries" and manifest["spec"]["parameters"]["shift"] == 0.5
    assert manifest["spec"]["dataset_fingerprint"] == rows["fingerprint"]

    lines = Path("asked.jsonl").read_bytes().splitlines()
    queries = [json.loads(line) for line in lines]
    assert [query["id"] for query in queries[:2]] == [
        f"qry-{asked['fingerprint'][:8]}-{i:013d}" for i in range(2)
    ]
    assert queries[1_499]["content"].startswith("Synthetic query 0000000001499: near Topic ")
    stored = {bytes(line.split(b"[")[1]) for line in Path("rows.jsonl").read_bytes().splitlines()}
    assert not stored & {bytes(line.split(b"[")[1]) for line in lines}
    made = load_dataset(Path("asked.manifest.json")).rows(1_000, 1_500).embeddings
    assert np.array_equal(made / 1e6, np.array([query["embedding"] for query in queries[1_000:]]))


def test_any_number_of_workers_makes_the_same_bytes_and_less_is_a_prefix(folder: Path) -> None:
    for workers, count in ((1, 2_500), (2, 2_500), (3, 1_234)):
        flags = ["--shift", "0.5", "--workers", str(workers), "--count", str(count)]
        assert run("queries", *flags, "--output", f"{workers}.jsonl") == 0
    assert sha256("1.jsonl") == sha256("2.jsonl")
    assert Path("1.jsonl").read_bytes().startswith(Path("3.jsonl").read_bytes())


def test_defaults_are_10000_queries_of_the_built_in_model(folder: Path) -> None:
    command = [sys.executable, "-m", "synthgen", "queries", "--dry-run", "--json"]
    plan = json.loads(subprocess.run(command, capture_output=True, timeout=60, check=True).stdout)
    assert plan["spec"]["count"] == 10_000 and plan["spec"]["model"]["source"] == "built-in"
    assert plan["output"] == "queries.jsonl" and plan["spec"]["parameters"]["shift"] == 0
    assert names(folder) == ["centroids.json", "centroids.npy"]


def test_again_only_what_is_missing_is_made(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flags = ["--shift", "0.5", "--count", "2500", "--output", "q.jsonl", "--json"]
    made = []
    assert run("queries", *flags) == 0
    made.append(report_of(capfd)["rows_made"])
    digest, manifest = sha256("q.jsonl"), read_manifest(Path("q.manifest.json"))
    with Path("q.jsonl").open("r+b") as file:
        file.seek(manifest.byte_range(1)[0] + 300)
        file.write(b"#")
    for _ in range(2):
        assert run("queries", *flags) == 0
        made.append(report_of(capfd)["rows_made"])
    assert made == [2_500, 1_000, 0] and sha256("q.jsonl") == digest


def test_a_file_of_other_rows_is_refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("generate", "--count", "100", "--output", "x.jsonl") == 0
    digest = sha256("x.jsonl")
    capfd.readouterr()
    for more in ([], ["--dry-run"]):
        assert run("queries", "--count", "100", "--output", "x.jsonl", *more) == 3
        assert "x.jsonl: holds another dataset (role rows -> queries" in error_of(capfd)
    assert run("queries", "--count", "100", "--output", "q.jsonl", "--shift", "0.2") == 0
    capfd.readouterr()
    assert run("queries", "--count", "100", "--output", "q.jsonl", "--shift", "0.3") == 3
    assert "shift 0.2 -> 0.3); choose another --output" in error_of(capfd)
    assert sha256("x.jsonl") == digest
    assert run("queries", "--count", "100", "--output", "x.jsonl", "--overwrite") == 0
    assert sha256("x.jsonl") != digest


@pytest.mark.parametrize(
    ("flags", "exit_code", "message"),
    [
        (["--shift", "2"], 2, "--shift must be a number from 0 to 1, not 2.0"),
        (["--shift", "nan"], 2, "--shift must be a number from 0 to 1, not nan"),
        (["--shift=-0.1"], 2, "--shift must be a number from 0 to 1, not -0.1"),
        (["--count", "0"], 2, "--count must be a whole number from 1 to 268,435,456,000, not 0"),
        (["--count", "268435456001"], 2, "--count must be a whole number"),
        (["--count", "268435456000"], 3, "GB are needed"),
        (["--model", "m.npz"], 2, "isotropic law's"),
        (["--format", "fbin", "--count", "5000000000"], 2, "at most 4,294,967,295 rows"),
        (["--output", "nowhere/q.jsonl"], 3, "no such folder"),
        (["--output", "precious.jsonl"], 3, "not a dataset of ours"),
    ],
)
def test_bad_input_is_one_line_and_touches_nothing(
    folder: Path, capfd: pytest.CaptureFixture[str], flags: list[str], exit_code: int, message: str
) -> None:
    Path("precious.jsonl").write_text("precious\n")
    before = names(folder)
    for more in ([], ["--dry-run"]):
        assert run("queries", "--count", "10", *flags, *more) == exit_code
        assert message in error_of(capfd)
    assert names(folder) == before and Path("precious.jsonl").read_text() == "precious\n"


def test_rows_have_no_shift(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run("generate", "--shift", "0.5")
    assert stop.value.code == 2 and "unrecognized arguments: --shift" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["generate", "queries"])
def test_a_dry_run_says_what_the_run_would_do(
    folder: Path, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    flags = ["--count", "1500", "--output", "x.jsonl"]

    def state() -> str:
        before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
        assert run(command, *flags, "--dry-run", "--json") == 0
        assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
        plan = report_of(capfd)
        assert plan["bytes"] == 1_500 * plan["line_bytes"] and plan["spec"]["count"] == 1_500
        return str(plan["state"])

    assert state() == "would be made"
    assert run(command, *flags, "--json") == 0
    made = report_of(capfd)
    assert state().startswith("there already")
    manifest = read_manifest(Path("x.manifest.json"))
    header = {"format_version": 1, "spec": manifest.spec.to_document(), "line_bytes": manifest.line_bytes}
    journal_path(Path("x.jsonl")).write_text(json.dumps(header) + "\n")
    Path("x.jsonl").rename(partial_path(Path("x.jsonl")))
    manifest_path(Path("x.jsonl")).unlink()
    assert state().startswith("unfinished")
    assert run(command, *flags, "--dry-run", "--overwrite") == 0
    text = capfd.readouterr().out
    assert f"fingerprint  {made['fingerprint'][:16]}\n" in text and text.endswith("nothing was written\n")
    assert ("for          the dataset with fingerprint" in text) == (command == "queries")
    assert run(command, "--count", "1500", "--seed", "1", "--output", "x.jsonl", "--dry-run") == 3
    assert "unfinished run of another dataset" in error_of(capfd)


def test_standard_output_carries_the_same_queries(folder: Path) -> None:
    flags = ["--centroids", "centroids.npy", "--count", "1200", "--shift", "0.3", "--quiet"]
    assert main(["queries", *flags, "--output", "q.jsonl"]) == 0
    command = [sys.executable, "-m", "synthgen", "queries", *flags, "--output", "-"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert done.stdout == Path("q.jsonl").read_bytes()
    assert b"1,200 queries" in done.stderr and b"for the dataset with fingerprint" in done.stderr


def test_a_config_file_has_a_table_for_queries(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("c.toml").write_text("[queries]\nshift = 0.25\ncount = 20\n[generate]\ncount = 10\n")
    assert run("queries", "--config", "c.toml", "--output", "q.jsonl", "--json") == 0
    assert report_of(capfd)["rows"] == 20
    assert read_manifest(Path("q.manifest.json")).spec.shift == 0.25


@pytest.mark.parametrize("command", [["ingest"], ["ingest", "--plan"], ["verify"]], ids=" ".join)
def test_queries_are_never_stored(
    folder: Path, capfd: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert run("queries", "--count", "20", "--output", "q.jsonl") == 0
    Path("moved.jsonl").write_bytes(Path("q.jsonl").read_bytes())  # no manifest beside it: by its ids
    before = names(folder)
    capfd.readouterr()
    for source in (["--input", "q.jsonl"], ["--spec", "q.manifest.json"], ["--input", "moved.jsonl"]):
        assert run(*command, *source) == 3
        error = error_of(capfd)
        assert f"{source[1]}: holds queries, which are asked and never stored" in error
    assert names(folder) == before
