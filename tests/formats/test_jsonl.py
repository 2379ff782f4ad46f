"""Lines of one length that any JSON reader reads back exactly."""

import json

import numpy as np
import orjson
import pytest

from synthgen.formats.jsonl import LineEncoder, LineLayout
from synthgen.phases.datasets import source_of
from synthgen.specs import Grid, Rows
from tests.datasets import make_dataset


@pytest.mark.parametrize("decimals", [4, 5, 6, 7])
def test_lines_read_back_as_the_rows(decimals: int) -> None:
    dataset = make_dataset(decimals=decimals)
    source = source_of(dataset)
    rows = dataset.rows(0, 150)
    for i, body in enumerate(source.open().read(0, 150)):
        memory = json.loads(body)
        assert list(memory) == ["id", "content", "embedding", "confidence"]
        assert memory["id"] == dataset.spec.memory_id(i)
        assert np.array_equal(np.rint(np.array(memory["embedding"]) * 10**decimals), rows.embeddings[i])
        assert round(memory["confidence"] * 1e6) == rows.confidences[i]
        assert memory["content"] == json.loads(rows.contents[i].tobytes())
        assert len(body) == source.layout.line_bytes - 1


#: From vectors far shorter than 1 to the longest that can be written, and where the parts of a number change.
GRIDS = [
    *(Grid.unit(decimals) for decimals in (4, 5, 6, 7)),
    Grid(4, 300),
    Grid(6, 15_921),
    Grid(7, 10_000_001),
    Grid(7, 19_999_999),
    Grid(7, 20_000_001),
    Grid(7, 99_999_999),
    Grid(4, 95_000),
    Grid(6, 12_345_678),
    Grid(7, 999_999_999),
    Grid(4, 105_000),
    Grid(6, 999_999_999),
    Grid(4, 1_500_000),
    Grid(5, 999_999_999),
    Grid(4, 12_345_678),
    Grid(4, 199_999_999),
    Grid(4, 999_999_999),
    Grid(3, 100_000_000),
    Grid(3, 999_999_000),
]


def kinds_of_numbers(grid: Grid) -> list[int]:
    """Return numbers of every length, and those at which a digit, a blank or a table begins."""
    powers = [10**k for k in range(len(str(grid.largest)))]
    ends = [end for power in powers for end in (power - 1, power, power + 1, 2 * power, 7 * power + 3)]
    ends += [grid.largest, grid.largest - 1, grid.largest // 2]
    rng = np.random.default_rng(grid.largest)
    ends += np.exp(rng.uniform(0, np.log(grid.largest), 2_000)).astype(int).tolist()
    numbers = [0, *(min(end, grid.largest) for end in ends)]
    return [number for size in numbers for number in (size, -size)]


def text_of(number: int, grid: Grid) -> bytes:
    """Return what one number must be, from Python's own formatting of integers."""
    whole, rest = divmod(abs(number), 10**grid.decimals)
    text = f"{'-' if number < 0 else ''}{whole}.{rest:0{grid.decimals}d}"
    return text.rjust(grid.integer_digits + grid.decimals + 2).encode()


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid.largest}e-{grid.decimals}")
def test_every_kind_of_number_is_written_right(grid: Grid) -> None:
    numbers = kinds_of_numbers(grid)
    rows = Rows(
        0,
        np.frombuffer(b"ab", np.uint8).reshape(1, 2),
        np.array([numbers], np.int32),
        np.array([1_000_000], np.int32),
        np.frombuffer(b'"x" ', np.uint8).reshape(1, 4),
        np.empty(0, np.int64),
    )
    layout = LineLayout(2, 4, len(numbers), grid)
    line = LineEncoder(layout).encode(rows).tobytes()
    assert len(line) == layout.line_bytes
    assert line.split(b"[")[1].split(b"]")[0].split(b",") == [text_of(number, grid) for number in numbers]
    memory = orjson.loads(line)
    assert memory == json.loads(line)
    assert memory["embedding"] == [number / 10**grid.decimals for number in numbers]
    assert memory["confidence"] == 1.0 and memory["content"] == "x" and memory["id"] == "ab"


def test_rows_do_not_leave_anything_to_the_next_ones() -> None:
    grid = Grid(4, 999_999_999)
    encoder = LineEncoder(LineLayout(1, 2, 3, grid), block_rows=1)
    for numbers in ([-999_999_999, 5, 123_456], [1, -1, 0], [7, -999_999_999, -10_000]):
        rows = Rows(
            0,
            np.full((1, 1), ord("a"), np.uint8),
            np.array([numbers], np.int32),
            np.array([1], np.int32),
            np.full((1, 2), ord('"'), np.uint8),
            np.empty(0, np.int64),
        )
        memory = json.loads(encoder.encode(rows).tobytes())
        assert memory["embedding"] == [number / 10**4 for number in numbers]
