"""Files of every format that were killed, damaged, cut: the same command ends with the same bytes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import xxhash
import zstandard

from synthgen.formats.chunks import Digests, PackedPlaces
from synthgen.formats.dataset_file import DatasetFile
from synthgen.formats.manifest import Manifest, journal_path, manifest_path, partial_path, read_manifest
from synthgen.generate.dataset import Dataset
from synthgen.phases import making
from synthgen.phases.datasets import encoding_of, make_dataset
from synthgen.phases.generate import GenerateOptions, GenerateReport, generate
from synthgen.runtime.pool import Channel
from synthgen.specs import FORMATS
from tests.generated import flip
from tests.outputs import encode
from tests.phases.generating import TooFast, catch, workers_of
from tests.processes import kill_all, still_running

PACKED = ["jsonl.zst", "parquet"]
COUNT = 40_300


def make(centroids: Path, output: Path, count: int = 4_500, workers: int = 1) -> GenerateReport:
    dataset = make_dataset(centroids, output.parent, count=count)
    return generate(dataset, output, GenerateOptions(workers=workers, quiet=True))


def whole(centroids: Path, count: int, name: str) -> bytes:
    return encode(make_dataset(centroids, centroids.parent, count=count), name).data


@contextlib.contextmanager
def running(centroids: Path, output: Path, count: int, *more: str) -> Iterator[psutil.Popen]:
    command = [sys.executable, "-m", "synthgen", "generate", "--centroids", str(centroids), "--quiet"]
    command += ["--output", str(output), "--workers", "2", "--count", str(count), *more]
    process = psutil.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            kill_all((*process.children(), process))  # stopped ones would hold the pipes
        process.communicate()


def wait_until(condition: object, process: psutil.Popen) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline_s
        if process.poll() is not None:
            raise TooFast(process.communicate())
        time.sleep(0.005)


def stop(worker: psutil.Process) -> None:
    try:
        worker.suspend()
    except psutil.NoSuchProcess as error:
        raise TooFast from error


def n_recorded(output: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return journal_path(output).read_bytes().count(b"xxh3_128")
    return 0


@pytest.mark.parametrize("name", FORMATS)
def test_killed_again_and_again_it_ends_with_the_same_bytes(
    centroids: Path, tmp_path: Path, name: str
) -> None:
    output, moments = tmp_path / f"x.{name}", random.Random(name)
    for _ in range(3):
        with running(centroids, output, COUNT) as process:
            wanted = n_recorded(output) + moments.randrange(1, 8)
            with contextlib.suppress(
                TooFast
            ):  # then there is nothing to continue, and that must go well, too
                wait_until(lambda least=wanted: n_recorded(output) >= least, process)
            children = process.children() if process.poll() is None else []
            kill_all([process])
            process.communicate()
            assert not still_running(children, 2)
        if not manifest_path(output).exists():
            assert not output.exists() or journal_path(output).exists()
    report = make(centroids, output, COUNT, workers=2)
    assert report.rows_made < COUNT
    assert output.read_bytes() == whole(centroids, COUNT, name)
    assert not list(tmp_path.glob(".*")), "something was left behind"


@pytest.mark.parametrize("name", PACKED)
def test_workers_that_are_killed_while_others_wait_for_their_size_are_replaced(
    centroids: Path, tmp_path: Path, name: str
) -> None:
    def lose_workers(output: Path) -> None:
        with running(centroids, output, COUNT) as process:
            for n_done in (2, 6):
                wait_until(lambda least=n_done: n_recorded(output) >= least, process)
                stopped, killed = workers_of(process)
                stop(stopped)  # soon the other one waits for the sizes of what it holds, ...
                time.sleep(0.3)
                kill_all([killed, stopped])  # ... and what that one holds is lost, too
                assert not still_running([stopped, killed], 10)  # they would be taken for the next two
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors

    output = catch(tmp_path, f"x.{name}", lose_workers)
    assert output.read_bytes() == whole(centroids, COUNT, name)


@pytest.mark.parametrize("name", PACKED)
def test_interrupted_with_a_dead_worker_it_stops_clean(centroids: Path, tmp_path: Path, name: str) -> None:

    def interrupt(output: Path) -> None:
        with running(centroids, output, 3 * COUNT) as process:  # it is not to end before it is interrupted
            wait_until(lambda: n_recorded(output) >= 2, process)
            stopped, _ = workers_of(process)
            stop(stopped)
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
            stopped.kill()
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 130 and b"the same command continues" in errors, errors

    output = catch(tmp_path, f"x.{name}", interrupt)
    n_rows = 10_000  # fewer, to save time
    assert make(centroids, output, n_rows).rows_made < n_rows
    assert output.read_bytes() == whole(centroids, n_rows, name)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("count", [3_300, 9_100, 6_000, 7_000])
def test_unfinished_it_is_continued_with_another_count(
    centroids: Path, tmp_path: Path, name: str, count: int
) -> None:
    """The last chunk of either count has another number of rows than that chunk of the other one."""
    output = tmp_path / f"x.{name}"
    make(centroids, output, 6_300)
    flip(output, read_manifest(manifest_path(output)).byte_range(1)[0])
    with DatasetFile(output, encoding_of(make_dataset(centroids, tmp_path, count=6_300), name)) as file:
        assert file.finished() is None  # as a killed run leaves it
    assert 0 < make(centroids, output, count).rows_made < count
    assert output.read_bytes() == whole(centroids, count, name)


@pytest.mark.parametrize("name", FORMATS)
def test_only_what_is_damaged_is_made_again(centroids: Path, tmp_path: Path, name: str) -> None:
    output = tmp_path / f"x.{name}"
    make(centroids, output)
    data = output.read_bytes()
    manifest = read_manifest(manifest_path(output))
    for chunk, n_rows in ((0, 1_000), (2, 1_000), (4, 500)):
        start, stop = manifest.byte_range(chunk)
        flip(output, (start + stop) // 2)
        assert make(centroids, output).rows_made == n_rows
        assert output.read_bytes() == data
    for chunk in (1, 2):  # neighbours: where one ends and the other begins is known all the same
        flip(output, manifest.byte_range(chunk)[0])
    assert make(centroids, output).rows_made == 2_000
    assert output.read_bytes() == data and read_manifest(manifest_path(output)) == manifest


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "jsonl"])
def test_a_damaged_head_or_tail_is_written_again(centroids: Path, tmp_path: Path, name: str) -> None:
    output = tmp_path / f"x.{name}"
    make(centroids, output)
    data = output.read_bytes()
    manifest = read_manifest(manifest_path(output))
    places = [0] * bool(manifest.head.n_bytes) + [len(data) - 1] * bool(manifest.tail.n_bytes)
    assert places
    for at in places:
        flip(output, at)
        assert make(centroids, output).rows_made == 0
        assert output.read_bytes() == data


@pytest.mark.parametrize("name", FORMATS)
def test_a_cut_or_longer_file_is_mended(centroids: Path, tmp_path: Path, name: str) -> None:
    output = tmp_path / f"x.{name}"
    make(centroids, output)
    data = output.read_bytes()
    with output.open("ab") as file:
        file.write(b"more")
    assert make(centroids, output).rows_made == 0 and output.read_bytes() == data
    start, stop = read_manifest(manifest_path(output)).byte_range(3)
    os.truncate(output, (start + stop) // 2)
    assert make(centroids, output).rows_made == 1_500 and output.read_bytes() == data


@pytest.mark.parametrize("name", PACKED)
def test_continuing_keeps_the_chunks_before_the_first_that_is_missing(
    centroids: Path, tmp_path: Path, name: str
) -> None:
    output = tmp_path / f"x.{name}"
    make(centroids, output)
    data = output.read_bytes()
    document = json.loads(manifest_path(output).read_text())
    header = {"format_version": 1, "spec": document["spec"], "format": name, "row_bytes": 0}
    entries = [
        {"chunk": i, **{k: c[k] for k in ("xxh3_128", "bytes")}} for i, c in enumerate(document["chunks"])
    ]
    # Out of order, chunk 2 is not there, the last line is torn.
    lines = [json.dumps(line) for line in (header, entries[1], entries[0], entries[3], entries[4])]
    output.rename(partial_path(output))
    manifest_path(output).unlink()
    journal_path(output).write_text("\n".join(lines) + '\n{"chunk": 2, "xxh')
    assert make(centroids, output).rows_made == 2_500
    assert output.read_bytes() == data


def test_a_frame_of_another_size_moves_what_follows(centroids: Path, tmp_path: Path) -> None:
    output = tmp_path / "x.jsonl.zst"
    make(centroids, output)
    fresh = output.read_bytes()
    _compress_otherwise(output, chunk=1, dataset=make_dataset(centroids, tmp_path, count=4_500))
    assert make(centroids, output).rows_made == 0, "another library's frame is as good"
    flip(output, read_manifest(manifest_path(output)).byte_range(1)[0] + 100)
    report = make(centroids, output)
    assert report.rows_made == 3_500, "it could not be put into its place: those behind it had to move"
    assert output.read_bytes() == fresh


def _compress_otherwise(output: Path, chunk: int, dataset: Dataset) -> None:
    """Put ``chunk`` into the file as another version of the library would have encoded it."""
    old, data = read_manifest(manifest_path(output)), output.read_bytes()
    frames = [data[slice(*old.byte_range(i))] for i in range(len(old.chunks))]
    lines = zstandard.ZstdDecompressor().decompress(frames[chunk])
    frames[chunk] = zstandard.ZstdCompressor(level=9, write_checksum=True).compress(lines)
    places = PackedPlaces.after(0)
    for frame in frames:
        places.append(len(frame))
    encoding = encoding_of(dataset, "jsonl.zst")
    digests = Digests(xxhash.xxh3_128_hexdigest(frame) for frame in frames)
    output.write_bytes(b"".join(frames) + b"".join(encoding.tail(places.starts)))
    manifest = Manifest.of(encoding, digests, places)
    manifest_path(output).write_bytes(b"".join(manifest.pieces(output)))


def _pack_with_a_pause(channel: Channel, job: making.Job) -> None:
    """The worker that gets chunk 0 dies once, after the others have told their sizes."""
    mark = job.path.with_name("died")
    if channel.index == 0 and not mark.exists():
        channel.get()
        mark.touch()
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    making_pack_chunks(channel, job)


making_pack_chunks = making._pack_chunks


@pytest.mark.parametrize("name", PACKED)
def test_the_first_chunk_may_come_last(
    centroids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(making, "_pack_chunks", _pack_with_a_pause)
    output = tmp_path / f"x.{name}"
    make(centroids, output, 12_300, workers=2)
    assert (tmp_path / "died").exists()
    assert output.read_bytes() == whole(centroids, 12_300, name)
