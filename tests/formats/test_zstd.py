"""Compressed lines as `zstd -d`, seekable readers and ours read them."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
import zstandard

from synthgen.errors import InputError
from synthgen.formats.zstd import decompress_frame
from synthgen.generate.dataset import Dataset
from synthgen.phases.datasets import encoding_of
from tests.datasets import make_dataset, make_model
from tests.outputs import Encoded, encode

PROGRAM = shutil.which("zstd")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return make_dataset(2_500, model=make_model(dimension=100))


@pytest.fixture(scope="module")
def lines(dataset: Dataset) -> bytes:
    return encode(dataset, "jsonl").data


@pytest.fixture(scope="module")
def packed(dataset: Dataset) -> Encoded:
    return encode(dataset, "jsonl.zst")


@pytest.mark.skipif(PROGRAM is None, reason="the program zstd is not installed")
def test_the_program_unpacks_the_lines(packed: Encoded, lines: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl.zst").write_bytes(packed.data)
    assert PROGRAM is not None
    subprocess.run([PROGRAM, "-q", "-d", "x.jsonl.zst"], cwd=tmp_path, check=True)
    assert (tmp_path / "x.jsonl").read_bytes() == lines
    show = [PROGRAM, "-lv", "x.jsonl.zst"]
    listed = subprocess.run(show, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "XXH64" in listed.stdout and "Skippable Frames: 1" in listed.stdout


def test_the_library_unpacks_the_lines_across_frames(packed: Encoded, lines: bytes) -> None:
    reader = zstandard.ZstdDecompressor().stream_reader(packed.data, read_across_frames=True)
    assert reader.read() == lines


def seek_table(data: bytes) -> list[tuple[int, int]]:
    """Read the table as the format's document says: from the end."""
    n_frames, descriptor, magic = struct.unpack("<IBI", data[-9:])
    assert (magic, descriptor) == (0x8F92EAB1, 0)
    table_bytes = 8 * n_frames + 9
    assert struct.unpack("<II", data[-table_bytes - 8 : -table_bytes]) == (0x184D2A5E, table_bytes)
    return [struct.unpack_from("<II", data, len(data) - table_bytes + 8 * i) for i in range(n_frames)]


def test_the_seek_table_finds_every_frame(packed: Encoded, lines: bytes, dataset: Dataset) -> None:
    table, at, unpacked = seek_table(packed.data), 0, b""
    assert len(table) == 3
    for n_bytes, content_bytes in table:
        frame = packed.data[at : at + n_bytes]
        content = zstandard.ZstdDecompressor().decompress(frame)
        assert zstandard.frame_content_size(frame) == content_bytes == len(content)
        at, unpacked = at + n_bytes, unpacked + content
    assert unpacked == lines and at == len(packed.data) - (8 + 8 * 3 + 9)


def test_every_frame_has_a_checksum(packed: Encoded, dataset: Dataset) -> None:
    start, stop = packed.starts[1:3]
    n_bytes = 1_000 * encoding_of(dataset, "jsonl").row_bytes
    frame = bytearray(packed.data[start:stop])
    assert len(decompress_frame(bytes(frame), n_bytes)) == n_bytes
    assert zstandard.get_frame_parameters(bytes(frame)).has_checksum
    frame[-1] ^= 1
    with pytest.raises(InputError, match="not a frame of Zstandard"):
        decompress_frame(bytes(frame), n_bytes)
    with pytest.raises(InputError, match=f"a frame of {n_bytes:,} bytes, not 7"):
        decompress_frame(packed.data[start:stop], 7)


@pytest.mark.parametrize("decimals", [4, 7])
def test_950_000_memories_fit_into_two_and_a_half_gigabytes(decimals: int) -> None:
    dataset = make_dataset(1_000, decimals=decimals)
    n_bytes = len(encode(dataset, "jsonl.zst").data)
    most = 2.5e9 / 950_000 * (decimals + 1) / 7  # the promise is for 6 decimals
    assert n_bytes / 1_000 <= most


def test_the_promise_holds_for_six_decimals() -> None:
    assert len(encode(make_dataset(1_000), "jsonl.zst").data) / 1_000 <= 2.5e9 / 950_000
