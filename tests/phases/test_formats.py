"""Files of every format: the same bytes by any workers, streams, what refuses them, who reads them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from synthgen.cli import main
from synthgen.errors import InputError, UsageError
from synthgen.formats import zstd
from synthgen.formats.manifest import manifest_path, partial_path, read_manifest
from synthgen.phases.datasets import make_dataset, open_input
from synthgen.phases.generate import GenerateOptions, GenerateReport, generate
from synthgen.specs import FORMATS
from tests.datasets import make_dataset as small_dataset
from tests.outputs import encode, read_file, same_bits
from tests.phases.generating import command, sha256, workers_of

PACKED = ["jsonl.zst", "parquet"]


def make(centroids: Path, output: Path, count: int = 3_500, **options: object) -> GenerateReport:
    how = GenerateOptions(**{"workers": 1, "quiet": True, **options})  # type: ignore[arg-type]
    return generate(make_dataset(centroids, output.parent, count=count), output, how)


@pytest.mark.parametrize("name", FORMATS)
def test_any_number_of_workers_makes_the_bytes_of_one_process(
    centroids: Path, tmp_path: Path, name: str
) -> None:
    alone = encode(make_dataset(centroids, tmp_path, count=7_300), name).data
    for workers in (1, 2, 3):
        output = tmp_path / f"w{workers}.{name}"
        report = make(centroids, output, 7_300, workers=workers)
        assert output.read_bytes() == alone
        manifest = read_manifest(manifest_path(output))
        assert (manifest.format, manifest.n_bytes) == (name, len(alone)) == (report.format, report.n_bytes)
        assert manifest.digest == report.digest


def test_several_formats_of_a_dataset_lie_side_by_side(centroids: Path, tmp_path: Path) -> None:
    for name in FORMATS:
        make(centroids, tmp_path / f"x.{name}", 1_500)
    lines = read_file(tmp_path / "x.jsonl", "jsonl")
    for name in FORMATS:
        found = read_file(tmp_path / f"x.{name}", name)
        assert same_bits(found.embeddings, lines.embeddings) and found.ids in (None, lines.ids)
        assert make(centroids, tmp_path / f"x.{name}", 1_500).rows_made == 0


@pytest.mark.parametrize("name", FORMATS)
def test_streams_carry_the_bytes_of_the_file(centroids: Path, tmp_path: Path, name: str) -> None:
    file, pipe = make(centroids, tmp_path / f"x.{name}", 1_500), tmp_path / "pipe"
    data = (tmp_path / f"x.{name}").read_bytes()
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    stream = make(centroids, pipe, 1_500, format=name, workers=2)
    reader.join()
    assert received == [data] and (stream.digest, stream.n_bytes) == (file.digest, file.n_bytes)
    argv = command(centroids, "-", "-q", "--count", "1500", "--format", name)
    assert subprocess.run(argv, capture_output=True, check=True).stdout == data


@pytest.mark.parametrize("name", PACKED)
def test_a_reader_that_leaves_early_is_no_error(centroids: Path, name: str) -> None:
    argv = command(centroids, "-", "-q", "--format", name)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(1_000)
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
        assert process.wait(timeout=60) in (-signal.SIGPIPE, 0)


@pytest.mark.parametrize("name", FORMATS)
def test_the_null_sink_takes_every_format(centroids: Path, tmp_path: Path, name: str) -> None:
    null = make(centroids, Path("/dev/null"), 2_500, format=name, workers=2)
    file = make(centroids, tmp_path / f"x.{name}", 2_500)
    tail_bytes = read_manifest(manifest_path(tmp_path / f"x.{name}")).tail.n_bytes
    assert (null.format, null.digest, null.n_bytes) == (name, file.digest, file.n_bytes - tail_bytes)


def test_a_count_without_end_starts_at_once_and_stays_small(centroids: Path) -> None:
    argv = command(centroids, "/dev/null", "--count", "1000000000000", "--format", "npy", "--quiet")
    with subprocess.Popen(argv, stderr=subprocess.PIPE) as process:
        workers_of(process)
        parent, sizes = psutil.Process(process.pid), list[int]()
        deadline_s = time.monotonic() + 40
        while not has_come_to_rest(sizes):  # at first it starts workers and loads what it needs
            assert time.monotonic() < deadline_s, sizes
            time.sleep(0.5)
            sizes.append(parent.memory_info().rss)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and b"of 1,000,000,000,000 rows" in errors


def has_come_to_rest(sizes: list[int]) -> bool:
    """Return whether the last looks, half a second apart, saw no more grow than a bounded buffer may."""
    return len(sizes) >= 4 and max(sizes[-4:]) - sizes[-4] < 2_000_000


def test_a_format_overrides_the_suffix(centroids: Path, tmp_path: Path) -> None:
    make(centroids, tmp_path / "x.data", 1_500, format="npy")
    make(centroids, tmp_path / "x.npy", 1_500)
    assert sha256(tmp_path / "x.data") == sha256(tmp_path / "x.npy")
    with pytest.raises(InputError, match=r"holds another dataset \(format npy -> parquet\)"):
        make(centroids, tmp_path / "x.data", 1_500, format="parquet")
    make(centroids, tmp_path / "x.data", 1_500, format="fbin", overwrite=True)
    assert read_manifest(manifest_path(tmp_path / "x.data")).format == "fbin"


def test_the_remains_of_another_format_are_refused(centroids: Path, tmp_path: Path) -> None:
    output = tmp_path / "x.data"
    make(centroids, output, 1_500, format="npy")
    with output.open("r+b") as file:
        file.write(b"#")
    manifest_path(output).rename(tmp_path / "kept")
    partial_path(output).touch()
    (tmp_path / "kept").rename(manifest_path(output))
    with pytest.raises(InputError, match=r"format npy -> parquet"):
        make(centroids, output, 1_500, format="parquet")
    assert make(centroids, output, 1_500, format="npy").rows_made == 0  # the head alone was damaged
    assert sha256(output) == hashlib.sha256(encode(small_dataset(1_500), "npy").data).hexdigest()


@pytest.mark.parametrize("name", FORMATS)
def test_the_plan_tells_format_and_size(
    centroids: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    flags = ["generate", "--centroids", str(centroids), "--count", "2500", "--dry-run", "-q"]
    flags += ["--output", str(tmp_path / f"x.{name}")]
    assert main([*flags, "--json"]) == 0
    plan = json.loads(capfd.readouterr().out)
    report = make(centroids, tmp_path / f"x.{name}", 2_500)
    assert plan["format"] == name
    assert plan["bytes"] == report.n_bytes if plan["row_bytes"] else plan["bytes"] >= report.n_bytes
    assert main(flags) == 0
    text = capfd.readouterr().out
    assert f"({name}): 2,500 rows of" in text and "there already" in text


@pytest.mark.parametrize("name", FORMATS)
def test_disk_space_is_checked_before_the_first_byte(
    centroids: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    flags = ["generate", "--centroids", str(centroids), "--count", "4000000000", "-q"]
    assert main([*flags, "--output", str(tmp_path / f"x.{name}")]) == 3
    assert "GB are needed" in capfd.readouterr().err
    assert not list(tmp_path.glob("*x.*")) and not list(tmp_path.glob(".*"))


def test_compressed_lines_are_read_by_chunk(centroids: Path, tmp_path: Path) -> None:
    for name in ("jsonl", "jsonl.zst"):
        make(centroids, tmp_path / f"x.{name}", 2_500)
    plain, packed = (open_input(tmp_path / f"x.{name}") for name in ("jsonl", "jsonl.zst"))
    assert packed.n_rows == 2_500 and packed.digest == plain.digest
    one, other = plain.open(), packed.open()
    for start, stop in ((0, 1), (990, 1_010), (2_400, 2_500), (0, 2_500)):
        assert other.read(start, stop) == one.read(start, stop)
    one.close()
    other.close()


def test_damage_in_compressed_lines_is_named(centroids: Path, tmp_path: Path) -> None:
    output = tmp_path / "x.jsonl.zst"
    make(centroids, output, 2_500)
    start, stop = read_manifest(manifest_path(output)).byte_range(1)
    data = bytearray(output.read_bytes())
    data[start + 5_000] ^= 1
    output.write_bytes(data)
    reader = open_input(output).open()
    assert len(reader.read(0, 1_000)) == 1_000
    with pytest.raises(
        InputError, match=rf"rows 1,000 to 1,999 \(bytes {start:,} to {stop - 1:,}\) are damaged"
    ):
        reader.read(1_500, 1_501)
    reader.close()


@pytest.mark.parametrize("name", ["parquet", "npy", "fbin"])
def test_what_holds_no_lines_cannot_be_sent(centroids: Path, tmp_path: Path, name: str) -> None:
    output = tmp_path / f"x.{name}"
    make(centroids, output, 10)
    manifest = manifest_path(output)
    with pytest.raises(
        InputError, match=f"cannot be sent as it is; rows are made again by --spec {manifest}"
    ):
        open_input(output)
    manifest.unlink()
    if name == "parquet":  # rows of any tool's table are sent as they are
        assert open_input(output).n_rows == 10
        return
    with pytest.raises(InputError, match="give a file of JSON lines, or of Parquet"):
        open_input(output)


def test_compressed_lines_without_a_manifest_cannot_be_sent(centroids: Path, tmp_path: Path) -> None:
    make(centroids, tmp_path / "x.jsonl.zst", 10)
    manifest_path(tmp_path / "x.jsonl.zst").unlink()
    with pytest.raises(InputError, match="its manifest is missing: unpack it"):
        open_input(tmp_path / "x.jsonl.zst")


def test_a_missing_package_is_a_usage_error(
    centroids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(UsageError, match=r"needs the package zstandard .*synthgen-memories\[zstd\]"):
        zstd.import_zstandard()
