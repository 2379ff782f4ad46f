"""All formats hold the same rows, bit for bit, as readers that are not ours find them."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.errors import UsageError
from synthgen.formats.floats import write_nearest
from synthgen.formats.outputs import format_of, make_encoding
from synthgen.formats.vectors import open_vectors
from synthgen.generate.dataset import Dataset
from synthgen.phases.datasets import encoding_of
from synthgen.specs import FORMATS, Grid
from tests.datasets import make_dataset, make_mixture, make_model
from tests.outputs import encode, read_back, same_bits

OTHERS = [name for name in FORMATS if name != "jsonl"]
#: Titles with escapes and UTF-8, or none; few dimensions; long vectors; a short last chunk; one row.
DATASETS = {
    "escapes": lambda: make_dataset(2_500),
    "untitled": lambda: make_dataset(1_000, model=make_model(titles=False)),
    "small": lambda: make_dataset(1_001, model=make_model(dimension=100)),
    "flat": lambda: make_dataset(30, model=make_model(dimension=1, titles=False)),
    "one": lambda: make_dataset(1, decimals=7),
    "fitted": lambda: make_dataset(1_500, model=make_mixture()),
    "long": lambda: make_dataset(1_200, model=make_mixture(longest=2_000.0)),
    "queries": lambda: make_dataset(1_200, model=make_mixture(), role="queries", shift=0.5),
}


@pytest.fixture(scope="module", params=DATASETS)
def dataset(request: pytest.FixtureRequest) -> Dataset:
    return DATASETS[request.param]()


@pytest.mark.parametrize("name", OTHERS)
def test_every_format_holds_the_rows_of_the_lines(dataset: Dataset, name: str) -> None:
    lines, found = (read_back(encode(dataset, n).data, n) for n in ("jsonl", name))
    assert same_bits(found.embeddings, lines.embeddings)
    assert found.embeddings.dtype == np.float32 and len(found.embeddings) == dataset.spec.count
    if found.ids is not None:
        assert found.ids == lines.ids
        assert found.contents == lines.contents
        assert found.confidences == lines.confidences


def test_a_single_wrong_bit_would_be_seen() -> None:
    dataset = make_dataset(10, model=make_model(dimension=100))
    data = bytearray(encode(dataset, "npy").data)
    lines = read_back(encode(dataset, "jsonl").data, "jsonl").embeddings
    assert same_bits(read_back(bytes(data), "npy").embeddings, lines)
    data[-4] ^= 1
    assert not same_bits(read_back(bytes(data), "npy").embeddings, lines)


@pytest.mark.parametrize("name", FORMATS)
def test_the_size_is_known_or_estimated_from_above(dataset: Dataset, name: str) -> None:
    encoding, n_bytes = encoding_of(dataset, name), len(encode(dataset, name).data)
    if encoding.row_bytes:
        assert n_bytes == encoding.expected_bytes
    else:
        assert n_bytes <= encoding.expected_bytes
        assert dataset.spec.count < 1_000 or encoding.expected_bytes < 2 * n_bytes


@pytest.mark.parametrize(("n_rows", "dimension"), [(1, 1), (950_000, 768), (10**12, 4_096)])
def test_the_head_of_npy_is_what_numpy_writes(n_rows: int, dimension: int) -> None:
    layout = encoding_of(make_dataset(1, model=make_model(dimension=dimension, titles=False)), "npy").layout
    theirs = io.BytesIO()
    about = {"descr": "<f4", "fortran_order": False, "shape": (n_rows, dimension)}
    np.lib.format.write_array_header_1_0(theirs, about)
    assert make_encoding("npy", layout, make_dataset(1).spec, range(n_rows)).head() == theirs.getvalue()


@pytest.mark.parametrize("name", ["npy", "fbin", "parquet", "jsonl"])
def test_fit_and_fidelity_read_what_is_written(tmp_path: Path, name: str) -> None:
    dataset = make_dataset(1_100, model=make_model(dimension=100))
    path = tmp_path / f"x.{name}"
    path.write_bytes(encode(dataset, name).data)
    rows = np.array([0, 3, 999, 1_000, 1_099])
    lines = read_back(encode(dataset, "jsonl").data, "jsonl")
    assert same_bits(open_vectors(path).gather(rows), lines.embeddings[rows])


def test_a_mapped_npy_file_is_the_matrix(tmp_path: Path) -> None:
    dataset = make_dataset(1_100, model=make_model(dimension=100))
    (tmp_path / "x.npy").write_bytes(encode(dataset, "npy").data)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert mapped.shape == (1_100, 100) and mapped.dtype == np.dtype("<f4") and mapped.flags.c_contiguous
    assert mapped.offset % 64 == 0


@given(
    st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=1, max_size=20),
    st.integers(1, 7),
    st.booleans(),
)
def test_floats_are_the_nearest_to_the_decimals(steps: list[int], decimals: int, is_small: bool) -> None:
    largest = 2**24 if is_small else 2**31 - 1
    steps = [(step > 0 or -1) * (abs(step) % (largest + 1)) for step in steps]
    out = np.empty((1, len(steps)), np.float32)
    write_nearest(np.array([steps], np.int32), Grid(decimals, largest), out)
    assert [Fraction(float(x)) for x in out[0]] == [nearest(Fraction(s, 10**decimals)) for s in steps]


def nearest(value: Fraction) -> Fraction:
    """Return the float32 nearest to ``value``, ties to even, by exact arithmetic."""
    if value <= 0:
        return -nearest(-value) if value else value
    exponent = 0
    while value * Fraction(2) ** -exponent >= 2**24:
        exponent += 1
    while value * Fraction(2) ** -exponent < 2**23:
        exponent -= 1
    return Fraction(round(value / Fraction(2) ** exponent)) * Fraction(2) ** exponent


def test_one_division_in_float32_would_not_do_for_long_vectors() -> None:
    steps = np.arange(2**24, 2**24 + 4_000, dtype=np.int32)[None]
    out, single = np.empty((2, *steps.shape), np.float32)
    write_nearest(steps, Grid(6, 2**25), out)
    np.divide(steps, np.float32(1e6), out=single, dtype=np.float32, casting="unsafe")
    assert (out != single).any()
    assert np.array_equal(out[0], [np.float32(f"{step / 1e6:.6f}") for step in steps[0].tolist()])


def test_the_suffix_names_the_format() -> None:
    named = {f"a.b.{name}": name for name in FORMATS} | {"a": "jsonl", "a.txt": "jsonl", "npy": "jsonl"}
    assert {name: format_of(Path(name)) for name in named} == named
    assert format_of(None) == format_of(Path("/dev/null")) == "jsonl"


@pytest.mark.parametrize(("name", "most"), [("fbin", 2**32 - 1), ("parquet", 5_368_709_000)])
def test_more_rows_than_a_format_holds_are_refused(name: str, most: int) -> None:
    dataset = make_dataset(1, model=make_model(dimension=4, titles=False))
    layout, spec = encoding_of(dataset, name).layout, dataset.spec
    assert make_encoding(name, layout, spec, range(most)).expected_bytes > 0
    with pytest.raises(UsageError, match=rf"at most {most:,} rows, not {most + 1:,}; lower --count"):
        make_encoding(name, layout, spec, range(most + 1))
    with pytest.raises(UsageError, match=r"no format is called 'csv'; there are: jsonl, jsonl\.zst"):
        make_encoding("csv", layout, spec)
