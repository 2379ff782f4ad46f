"""Frames written directly are read by the library: any numbers, any widths, any cut into blocks."""

import io
import random

import numpy as np
import pytest
import zstandard
from numpy.typing import NDArray

from synthgen.formats import _frames
from synthgen.formats.jsonl import LineEncoder, LineLayout
from synthgen.formats.zstd_codes import make_literal_codes, make_symbol_table
from synthgen.formats.zstd_frame import FrameWriter
from synthgen.specs import Grid, Rows
from tests.datasets import make_dataset, make_mixture

Bytes = NDArray[np.uint8]


def lines_of(numbers: NDArray[np.int64], grid: Grid, contents: list[bytes]) -> tuple[LineLayout, Bytes]:
    n, d = numbers.shape
    width = max(map(len, contents))
    texts = np.frombuffer(b"".join(contents[i % len(contents)].ljust(width) for i in range(n)), np.uint8)
    ids = np.frombuffer(b"".join(b"syn-12345678-%013d" % i for i in range(n)), np.uint8).reshape(n, -1)
    layout = LineLayout(ids.shape[1], width, d, grid)
    confidences = (np.arange(n, dtype=np.int32) * 7_919) % 1_000_000
    rows = Rows(0, ids, numbers.astype(np.int32), confidences, texts.reshape(n, width), np.empty(0, np.int64))
    return layout, LineEncoder(layout, n).encode(rows)


def frame_of(layout: LineLayout, lines: Bytes, block_rows: int = 100, sample: Bytes | None = None) -> bytes:
    writer = FrameWriter(layout, lines[:10] if sample is None else sample)
    writer.begin(len(lines), memoryview(bytearray(2 * lines.nbytes + 100_000)))
    for at in range(0, len(lines), block_rows):
        writer.add(lines[at : at + block_rows])
    return bytes(writer.end())


def check(layout: LineLayout, lines: Bytes, block_rows: int = 100) -> bytes:
    frame = frame_of(layout, lines, block_rows)
    assert zstandard.ZstdDecompressor().decompress(frame) == lines.tobytes()
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(frame)) as reader:  # holds the window alone
        assert reader.read() == lines.tobytes()
    return frame


KINDS = {
    "normal": lambda rng, shape: np.rint(rng.normal(0, 36_000, shape)),
    "wide": lambda rng, shape: np.rint(rng.normal(0, 300_000, shape)),
    "zeros": lambda rng, shape: np.zeros(shape),
    "positive": lambda rng, shape: rng.integers(0, 1_000_000, shape),
    "negative and tiny": lambda rng, shape: -rng.integers(1, 100_000, shape),
    "edges": lambda rng, shape: rng.choice([-1_000_000, 1_000_000, 99_999, 100_000, -99_999, 0], shape),
    "one sign at a time": lambda rng, shape: (
        np.where(np.arange(shape[1]) % 200 < 100, 1, -1) * rng.integers(0, 99_999, shape)
    ),
    "rarely tiny": lambda rng, shape: np.where(rng.random(shape) < 0.001, 5, 500_000),
}


@pytest.mark.parametrize("dimension", [1, 2, 63, 64, 65, 100, 768])
@pytest.mark.parametrize("kind", KINDS)
def test_any_numbers_come_back(kind: str, dimension: int) -> None:
    numbers = KINDS[kind](np.random.default_rng(1), (230, dimension)).clip(-1_000_000, 1_000_000)
    layout, lines = lines_of(numbers.astype(np.int64), Grid.unit(6), [b'"a topic"', b'"another topic"'])
    check(layout, lines)


@pytest.mark.parametrize(
    "grid", [Grid.unit(4), Grid.unit(7), Grid(6, 9_000_000), Grid(4, 12_345_678), Grid(1, 999_999)], ids=str
)
def test_any_grid_comes_back(grid: Grid) -> None:
    numbers = np.random.default_rng(2).integers(-grid.largest, grid.largest, (60, 300))
    numbers[::2] //= 50
    check(*lines_of(numbers, grid, [b'"x"']))


def test_text_of_any_language_comes_back() -> None:
    contents = [b'"plain"', '"Größe"'.encode(), '"数学"'.encode(), b'"with \\"quotes\\" and \x7f"', b'""']
    numbers = np.random.default_rng(3).integers(-90_000, 90_000, (300, 50))
    check(*lines_of(numbers, Grid.unit(6), contents))


def test_lines_longer_than_a_block_and_texts_longer_than_one_come_back() -> None:
    numbers = np.random.default_rng(4).integers(-90_000, 90_000, (3, 40_000))
    check(*lines_of(numbers, Grid.unit(6), [b'"x"']), block_rows=2)
    contents = [b'"' + bytes(random.Random(i).choices(range(97, 123), k=200_000)) + b'"' for i in range(3)]
    check(*lines_of(numbers[:, :30], Grid.unit(6), contents))


def test_lines_far_apart_are_not_matched_beyond_the_window() -> None:
    numbers = np.random.default_rng(5).integers(100_000, 900_000, (8, 30_000))
    numbers[0, 1:3] = 5, -5  # the only ones that others could be matched with
    numbers[7, 29_000:] = 7
    check(*lines_of(numbers, Grid.unit(6), [b'"x"']))


@pytest.mark.parametrize("block_rows", [1, 7, 100])
def test_rows_of_both_laws_come_back_and_are_small(block_rows: int) -> None:
    for dataset in (make_dataset(500), make_dataset(500, model=make_mixture())):
        from synthgen.phases.datasets import source_of

        layout = source_of(dataset).layout
        encoder = LineEncoder(layout)
        lines = np.concatenate([encoder.encode(block).copy() for block in dataset.blocks(0, 500)])
        frame = check(layout, lines, block_rows)
        library = zstandard.ZstdCompressor(level=1).compress(lines.tobytes())
        assert len(frame) < 0.9 * len(library)


def test_the_sample_changes_no_content() -> None:
    numbers = np.random.default_rng(6).integers(-90_000, 90_000, (50, 300))
    layout, lines = lines_of(numbers, Grid.unit(6), [b'"x"'])
    other = lines_of(np.zeros((10, 300), np.int64), Grid.unit(6), [b'"zzzz"'.ljust(layout.content_width)])[1]
    frame = frame_of(layout, lines, sample=other[:, : layout.line_bytes])
    assert zstandard.ZstdDecompressor().decompress(frame) == lines.tobytes()


def test_a_flipped_bit_is_found_by_the_checksum() -> None:
    numbers = np.random.default_rng(7).integers(-90_000, 90_000, (50, 300))
    frame = bytearray(frame_of(*lines_of(numbers, Grid.unit(6), [b'"x"'])))
    for place in range(20, len(frame), len(frame) // 50):
        frame[place] ^= 16
        with pytest.raises(zstandard.ZstdError):
            zstandard.ZstdDecompressor().decompress(bytes(frame))
        frame[place] ^= 16


def test_a_buffer_too_short_is_refused_not_overrun() -> None:
    numbers = np.random.default_rng(8).integers(-90_000, 90_000, (50, 300))
    layout, lines = lines_of(numbers, Grid.unit(6), [b'"x"'])
    writer = FrameWriter(layout, lines)
    needed = len(frame_of(layout, lines))
    for size in (100, needed // 2, needed - 10):
        buffer = bytearray(size + 64)
        writer.begin(50, memoryview(buffer)[:size])
        with pytest.raises(ValueError, match="too short"):
            writer.add(lines)
        assert bytes(buffer[size:]) == bytes(64)


def test_layouts_that_are_none_are_refused() -> None:
    numbers = np.random.default_rng(9).integers(-90_000, 90_000, (5, 30))
    layout, lines = lines_of(numbers, Grid.unit(6), [b'"x"'])
    writer = FrameWriter(layout, lines)
    good = writer._layout
    for place, value in ((0, 10), (1, 0), (1, 10**6), (2, 0), (2, 10**6), (3, 7), (4, 9)):
        bad = (*good[:place], value, *good[place + 1 :])
        out = memoryview(bytearray(10**6))
        state = np.array([0, 0, 0, 1, 1], np.int64)
        with pytest.raises(ValueError, match="not the layout"):
            _frames.write_blocks(lines, bad, writer._codes, writer._tables, state, writer._scratch, out)


@pytest.mark.parametrize("seed", range(5))
def test_literal_codes_are_complete_and_not_too_long(seed: int) -> None:
    counts = (np.random.default_rng(seed).pareto(0.2 + seed / 5, 128) * 10).astype(np.int64).tolist()
    codes = make_literal_codes([min(count, 10**9) for count in counts])
    coded = [code for code in codes.single.tolist() if code]
    assert len(coded) == 97 and max(code >> 16 for code in coded) <= 11
    assert sum(2.0 ** -(code >> 16) for code in coded) == 1
    texts = {format(code & 0xFFFF, f"0{code >> 16}b") for code in coded}
    assert len(texts) == 97
    assert not any(a != b and b.startswith(a) for a in texts for b in texts)


def test_symbol_tables_lead_back_from_every_state() -> None:
    table = make_symbol_table([0.5, 0.0, 0.3, 0.1, 0.0], 6)
    states = table.entries & 0xFFFF
    for symbol in range(5):
        assert ((table.entries[symbol] >> 16) <= 6).all()
        assert len(set(states[symbol].tolist())) >= 1
    assert sorted({state for row in states.tolist() for state in row}) == list(range(64))
