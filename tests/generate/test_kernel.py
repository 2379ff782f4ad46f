"""The compiled kernels against plain arithmetic, with and without wide vector code, and at their edges."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from synthgen.formats import _lines
from synthgen.formats.jsonl import LineEncoder, LineLayout
from synthgen.generate import _rows
from synthgen.generate.isotropic import IsotropicLaw
from synthgen.generate.streams import NOISE, Stream
from synthgen.specs import Grid, Rows
from tests.datasets import make_model

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("dimension", [1, 3, 4, 7, 8, 100, 768, 1_537])
def test_isotropic_rows_are_those_of_plain_integers(dimension: int) -> None:
    centroids = make_model(5, dimension).centroids
    law = IsotropicLaw(centroids, 0.1, 6, 100)
    clusters = np.arange(100) * 3 % 5
    words = Stream(9, (NOISE, 4), law.words_per_row, 50).next_rows(100)
    draws = words.view(np.uint16).reshape(100, -1)[:, :dimension]
    sums = law._noise[draws].astype(np.int64) + law._centroids[clusters]
    squares = [sum(value * value for value in row) for row in sums.tolist()]
    wanted = np.rint(sums * (1e6 / np.sqrt(np.array(squares, np.float64)))[:, None])
    assert np.array_equal(law.embed(law.open_stream(9, 4, 50), clusters), wanted)


def test_the_kernel_makes_the_words_of_numpy_and_moves_the_state() -> None:
    law = IsotropicLaw(make_model(5).centroids, 0.1, 6, 100)
    clusters = np.zeros(60, np.int64)
    state = law.open_stream(1, 2, 0)
    parts = [law.embed(state, clusters[:n]).copy() for n in (10, 1, 49)]
    assert np.array_equal(np.concatenate(parts), law.embed(law.open_stream(1, 2, 0), clusters))
    further = Stream(1, (NOISE, 2), law.words_per_row)
    further.next_rows(60)
    assert np.array_equal(state, further.state())


@pytest.mark.parametrize(
    ("grid", "dimension"),
    [(Grid.unit(decimals), 5) for decimals in (4, 5, 6, 7)]
    + [(Grid(decimals, 10**digits - 1), 3) for decimals in range(1, 8) for digits in range(5, 10)],
    ids=str,
)
def test_text_is_that_of_python(grid: Grid, dimension: int) -> None:
    if not 5 <= grid.integer_digits + grid.decimals <= 9 or grid.integer_digits > 6:
        pytest.skip("no dataset has such a grid")
    layout = LineLayout(3, 4, dimension, grid)
    edges = [0, 1, -1, 9, 10, 99, 100, 999, 1_000, 9_999, 10_000, 99_999, grid.largest, -grid.largest]
    rng = np.random.default_rng(1)
    numbers = np.concatenate([edges, rng.integers(-grid.largest, grid.largest, 10 * dimension)])
    numbers = np.resize(numbers.clip(-grid.largest, grid.largest), (-(-len(numbers) // dimension), dimension))
    numbers = numbers.astype(np.int32)
    n = len(numbers)
    rows = Rows(
        0,
        np.full((n, 3), 65, np.uint8),
        numbers,
        np.zeros(n, np.int32),
        np.full((n, 4), 34, np.uint8),
        numbers,
    )
    width = layout.cell_bytes - 1
    for line, row in zip(LineEncoder(layout, n).encode(rows), numbers.tolist(), strict=True):
        cells = (b"%*.*f" % (width, grid.decimals, number / 10**grid.decimals) for number in row)
        text = b",".join(cells)
        assert line[layout.embedding_at : layout.embedding_at + len(text) + 1].tobytes() == text + b"]"


def test_what_does_not_fit_is_refused_not_read_beyond() -> None:
    law = IsotropicLaw(make_model(5).centroids, 0.1, 6, 10)
    for bad in (-1, 5):
        with pytest.raises(IndexError, match="is none of 5 rows"):
            law.embed(law.open_stream(1, 2, 0), np.full(3, bad))
    with pytest.raises(ValueError, match=r"out: 10 items .* needed"):
        _rows.draw_isotropic(
            law.open_stream(1, 2, 0),
            law._noise,
            law._centroids,
            np.zeros(1, np.int64),
            1e6,
            np.empty(10, np.int32),
            768,
        )
    layout = LineLayout(3, 4, 768, Grid.unit(6))
    tables = (np.zeros(2_002, np.uint64), np.zeros(4_000, np.uint8))
    ids, contents = np.zeros((1, 3), np.uint8), np.zeros((1, 4), np.uint8)
    rows = (ids, contents, np.zeros((1, 768), np.int32), np.zeros(1, np.int32))
    lines = np.zeros((1, layout.line_bytes), np.uint8)
    good = (layout.line_bytes, 7, 3, 22, 4, 40, 768, 10, 6, layout.confidence_at)
    _lines.write_lines(rows, tables, 3, good, lines)
    for place, value in ((1, -1), (3, 10**6), (5, 900), (6, 10**5), (7, 5), (8, 7), (9, layout.line_bytes)):
        bad = (*good[:place], value, *good[place + 1 :])
        with pytest.raises(ValueError, match="do not fit the line"):
            _lines.write_lines(rows, tables, 3, bad, lines)
    with pytest.raises(ValueError, match="the second table: 999 items"):
        _lines.write_lines(rows, (tables[0], tables[1][:999]), 3, good, lines)


def test_texts_are_joined_within_their_rows_only() -> None:
    texts = np.frombuffer(b"onetwothree", np.uint8)
    starts, places = np.array([0, 3, 6, 11]), np.array([0, 2, 1])
    out = np.full((3, 12), ord("x"), np.uint8)
    _rows.join_texts((texts, starts, places), (texts, starts, places[::-1].copy()), out, 2)
    assert [row.tobytes() for row in out] == [b"xxonetwo    ", b"xxthreethree", b"xxtwoone    "]
    both = (texts, starts, places)
    for near, far, at, said in (
        (both, both, 3, "do not fit"),
        (both, (texts, starts, places[:2]), 2, "as many places"),
        ((texts[:9], starts, places), both, 2, "not within the texts"),
        ((texts, starts, places + 1), both, 2, "is none of 3 rows"),
    ):
        with pytest.raises((ValueError, IndexError), match=said):
            _rows.join_texts(near, far, out, at)


def test_baseline_code_can_be_asked_for() -> None:
    code = "from synthgen.generate import _rows as a; from synthgen.formats import _lines as b; "
    code += "print(a.is_wide, b.is_wide)"
    environment = {**os.environ, "SYNTHGEN_BASELINE_CODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "0 0\n"
