"""The life of a generated file: same bytes whatever happens, never a half one under its name."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from synthgen.errors import InputError, ResourceError, UsageError, WorkerDied
from synthgen.formats.manifest import journal_path, manifest_path, partial_path, read_manifest
from synthgen.phases import making
from synthgen.phases.datasets import load_dataset, make_dataset, open_input
from synthgen.phases.generate import GenerateOptions, GenerateReport, generate
from tests.datasets import make_dataset as small_dataset
from tests.datasets import save_model
from tests.phases.generating import workers_of
from tests.processes import still_running

QUIET = GenerateOptions(workers=1, quiet=True)
TWO = GenerateOptions(workers=2, quiet=True)


def make(
    centroids: Path, output: Path, count: int = 3_500, options: GenerateOptions = QUIET
) -> GenerateReport:
    return generate(make_dataset(centroids, output.parent, count=count), output, options)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def start_command(centroids: Path, output: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "synthgen", "generate", "--centroids", str(centroids), "--quiet"]
    command += ["--output", str(output), "--workers", "2", *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)


def wait_for_journal(process: subprocess.Popen[bytes], output: Path) -> None:
    while not journal_path(output).exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def test_any_number_of_workers_makes_the_same_bytes(centroids: Path, tmp_path: Path) -> None:
    digests = set()
    for workers in (1, 2, 3):
        output = tmp_path / f"w{workers}.jsonl"
        make(centroids, output, options=GenerateOptions(workers=workers, quiet=True))
        digests.add(sha256(output))
    assert len(digests) == 1


def test_a_smaller_dataset_is_a_prefix_of_a_larger_one(centroids: Path, tmp_path: Path) -> None:
    make(centroids, tmp_path / "small.jsonl", 1_234)
    make(centroids, tmp_path / "large.jsonl", 3_000)
    small = (tmp_path / "small.jsonl").read_bytes()
    assert (tmp_path / "large.jsonl").read_bytes().startswith(small)
    assert len(small.splitlines()) == 1_234


def test_again_says_that_it_is_there(centroids: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    first = make(centroids, output)
    before = output.stat()
    second = make(centroids, output)
    assert (first.rows_made, second.rows_made) == (3_500, 0)
    assert second.digest == first.digest and output.stat().st_mtime_ns == before.st_mtime_ns


def test_a_larger_count_replaces_the_file_whole(centroids: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    make(centroids, output, 1_500)
    make(centroids, output, 2_500)
    assert read_manifest(manifest_path(output)).spec.count == 2_500
    assert len(output.read_bytes().splitlines()) == 2_500


def test_a_smaller_count_is_refused(centroids: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    make(centroids, output, 2_500)
    digest = sha256(output)
    with pytest.raises(InputError, match="already holds 2,500 rows"):
        make(centroids, output, 2_000)
    assert sha256(output) == digest


def test_another_spec_is_refused_with_the_difference(centroids: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    make(centroids, output, 1_000)
    digest = sha256(output)
    other = make_dataset(centroids, tmp_path, count=1_000, seed=43)
    with pytest.raises(InputError, match=r"seed 42 -> 43"):
        generate(other, output, QUIET)
    assert sha256(output) == digest
    generate(other, output, GenerateOptions(workers=1, overwrite=True, quiet=True))
    assert sha256(output) != digest


def test_a_file_of_somebody_else_is_refused(centroids: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    output.write_text("precious\n")
    with pytest.raises(InputError, match="not a dataset of ours"):
        make(centroids, output, 10)
    assert output.read_text() == "precious\n"
    assert not partial_path(output).exists()


@pytest.fixture(scope="module")
def whole_60_000(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Both digests of a file that nothing disturbed; the file itself is large, and not kept."""
    folder = tmp_path_factory.mktemp("whole")
    report = make(save_model(folder), folder / "whole.jsonl", 60_000)
    digest = sha256(folder / "whole.jsonl")
    (folder / "whole.jsonl").unlink()
    return report.digest, digest


@pytest.mark.parametrize("delay_s", [0.4, 0.7, 1.0])
def test_killed_at_any_moment_it_continues_to_the_same_bytes(
    centroids: Path, tmp_path: Path, whole_60_000: tuple[str, str], delay_s: float
) -> None:
    output = tmp_path / "killed.jsonl"
    process = start_command(centroids, output, "--count", "60000")
    time.sleep(delay_s)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    assert not still_running(workers, 2), "orphans two seconds after the parent's death"
    if not manifest_path(output).exists():
        assert not output.exists() or journal_path(output).exists()
    report = make(centroids, output, 60_000, TWO)
    assert (report.digest, sha256(output)) == whole_60_000
    assert sorted(p.name for p in tmp_path.glob(".*")) == [], "something was left behind"


def test_continuing_makes_only_what_is_missing_or_damaged(centroids: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    make(centroids, output, 5_000)
    digest = sha256(output)
    manifest = read_manifest(manifest_path(output))
    # As a kill leaves it: not renamed, no manifest, a journal with chunks 0, 1, 3 and a torn line for 4.
    output.rename(partial_path(output))
    manifest_path(output).unlink()
    header = {"format_version": 1, "spec": manifest.spec.to_document(), "line_bytes": manifest.line_bytes}
    lines = [json.dumps(header)]
    lines += [json.dumps({"chunk": c, "xxh3_128": manifest.chunks[c]}) for c in (0, 1, 3)]
    journal_path(output).write_text("\n".join(lines) + '\n{"chunk": 4, "xxh')
    with partial_path(output).open("r+b") as file:  # chunk 1 is recorded, but its bytes are not those
        file.seek(manifest.byte_range(1)[0] + 500)
        file.write(b"#")
    report = make(centroids, output, 5_000)
    assert report.rows_made == 3_000
    assert sha256(output) == digest


def test_the_remains_of_another_spec_are_refused(centroids: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    dataset = make_dataset(centroids, tmp_path, count=1_000)
    header = {"format_version": 1, "spec": dataset.spec.to_document(), "line_bytes": 1}
    journal_path(output).write_text(json.dumps(header) + "\n")
    with pytest.raises(InputError, match=r"unfinished run of another dataset lies there \(seed 42 -> 5\)"):
        generate(make_dataset(centroids, tmp_path, count=1_000, seed=5), output, QUIET)
    assert journal_path(output).exists()


def test_ctrl_c_stops_clean_and_resumable(centroids: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    process = start_command(centroids, output, "--count", "400000")
    wait_for_journal(process, output)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert b"the same command continues" in errors
    assert not output.exists() and partial_path(output).exists()


def test_a_second_run_on_the_name_is_refused(centroids: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    process = start_command(centroids, output, "--count", "300000")
    wait_for_journal(process, output)
    with pytest.raises(InputError, match=f"another run \\(process {process.pid}\\) is writing it"):
        make(centroids, output, 300_000)
    process.kill()
    process.communicate()


def test_a_killed_worker_is_replaced(centroids: Path, tmp_path: Path, whole_60_000: tuple[str, str]) -> None:
    output = tmp_path / "a.jsonl"
    process = start_command(centroids, output, "--count", "60000")
    wait_for_journal(process, output)
    os.kill(workers_of(process, 1)[0].pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert sha256(output) == whole_60_000[1]


def _die(channel: object, job: object) -> None:
    os._exit(9)


def test_workers_that_always_die_end_the_run_naming_the_chunk(
    centroids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "_write_chunks", _die)
    with pytest.raises(WorkerDied, match=r"chunk 0 \(rows 0 to 999\).*workers died"):
        make(centroids, tmp_path / "a.jsonl", 1_000)


def test_disk_space_is_checked_before_the_first_byte(centroids: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    with pytest.raises(ResourceError, match=r"GB are needed"):
        make(centroids, output, 10**12)
    assert not output.exists() and not partial_path(output).exists()


def test_a_budget_too_small_is_an_error(centroids: Path, tmp_path: Path) -> None:
    options = GenerateOptions(workers=2, memory_budget_bytes=50_000_000, quiet=True)
    with pytest.raises(ResourceError, match="holds not one worker"):
        make(centroids, tmp_path / "a.jsonl", 1_000, options)


def test_standard_output_and_dev_null_carry_the_same_rows(centroids: Path, tmp_path: Path) -> None:
    file = make(centroids, tmp_path / "a.jsonl", 1_500)
    null = make(centroids, Path("/dev/null"), 1_500)
    assert null.digest == file.digest and Path("/dev/null").is_char_device()
    process = start_command(centroids, Path("-"), "--count", "1500")
    output, _ = process.communicate()
    assert output == (tmp_path / "a.jsonl").read_bytes()


def test_a_reader_that_leaves_early_is_no_error(centroids: Path) -> None:
    process = start_command(centroids, Path("-"), "--count", "100000")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(1_000)
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.wait(timeout=60)
    process.stderr.close()


def test_damage_is_named_when_it_is_read(centroids: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    make(centroids, output, 3_000)
    width = read_manifest(manifest_path(output)).line_bytes
    with output.open("r+b") as file:
        file.seek(1_500 * width + 200)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    reader = open_input(output).open()
    assert len(reader.read(0, 1_000)) == 1_000
    with pytest.raises(InputError, match=r"rows 1,000 to 1,999 .* are damaged"):
        reader.read(1_200, 1_300)
    reader.close()
    with output.open("r+b") as file:
        file.truncate(3_000 * width - 1)
    with pytest.raises(InputError, match="bytes, its manifest says"):
        open_input(output)


def test_a_manifest_is_enough_to_make_rows_again(centroids: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    make(centroids, output, 1_200)
    dataset = load_dataset(manifest_path(output))
    lines = output.read_bytes().splitlines()
    reader = open_input(output).open()
    from synthgen.phases.datasets import source_of

    assert source_of(dataset).open().read(1_100, 1_200) == reader.read(1_100, 1_200) == lines[1_100:]
    reader.close()
    (tmp_path / "centroids.json").unlink()  # without titles it is another model
    with pytest.raises(InputError, match="digest differs"):
        load_dataset(manifest_path(output))


def test_a_manifest_of_another_generator_is_refused(centroids: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    make(centroids, output, 100)
    path = manifest_path(output)
    path.write_text(path.read_text().replace('"generator_version": 1', '"generator_version": 99'))
    with pytest.raises(InputError, match="generator version 99"):
        load_dataset(path)


def test_a_sync_that_fails_leaves_no_file_under_the_name(
    centroids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "a.jsonl"

    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("synthgen.runtime.files.os.fsync", broken)
        with pytest.raises(ResourceError, match="Input/output error"):
            make(centroids, output)
    assert not output.exists() and partial_path(output).exists()
    assert make(centroids, output).rows == 3_500


def test_a_full_disk_in_the_middle_is_resumable(centroids: Path, tmp_path: Path) -> None:
    limit = 20_000_000
    code = (
        "import resource, sys, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
        "from synthgen.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "generate", "--centroids", str(centroids), "--quiet"]
    command += ["--count", "5000", "--output", str(tmp_path / "a.jsonl")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 3 and "File too large" in result.stderr, result.stderr
    assert "Traceback" not in result.stderr and not (tmp_path / "a.jsonl").exists()
    assert make(centroids, tmp_path / "a.jsonl", 5_000).rows == 5_000


def test_again_on_a_damaged_file_only_that_chunk_is_remade(centroids: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    make(centroids, output, 4_000)
    digest = sha256(output)
    with output.open("r+b") as file:
        file.seek(read_manifest(manifest_path(output)).byte_range(2)[0] + 700)
        file.write(b"#")
    assert make(centroids, output, 4_000).rows_made == 1_000
    assert sha256(output) == digest


@pytest.mark.parametrize("workers", [-1, 2_000])
def test_an_impossible_number_of_workers_is_a_usage_error(workers: int) -> None:
    with pytest.raises(UsageError, match="--workers must be"):
        GenerateOptions(workers=workers)


def test_a_budget_for_no_worker_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    options = GenerateOptions(memory_budget_bytes=10_000_000, quiet=True)
    with pytest.raises(ResourceError, match="holds not one worker"):
        generate(small_dataset(), tmp_path / "x.jsonl", options)
    assert list(tmp_path.iterdir()) == []
