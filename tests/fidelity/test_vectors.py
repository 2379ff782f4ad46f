from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from synthgen.errors import InputError
from synthgen.fidelity import load_vectors
from synthgen.fidelity.vectors import row_limit
from tests.fidelity.sets import Vectors, real
from tests.vectorfiles import WRITERS, write_jsonl, write_parquet


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, real())
    loaded = load_vectors(tmp_path / name)
    assert loaded.dtype == np.float32
    assert loaded.flags.c_contiguous
    assert np.array_equal(loaded, real())


@pytest.mark.parametrize("name", WRITERS)
def test_a_sample_is_bounded_and_the_same_in_every_format(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, real())
    chosen = np.sort(np.random.default_rng(3).choice(len(real()), 1_100, replace=False))
    assert np.array_equal(load_vectors(tmp_path / name, max_rows=1_100, seed=3), real()[chosen])


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4", np.longdouble])
def test_every_float_type_of_npy(dtype: object, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", real().astype(dtype))  # type: ignore[call-overload]
    assert np.allclose(load_vectors(tmp_path / "x.npy"), real(), atol=1e-3)


def test_fortran_order(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.asfortranarray(real()))
    assert np.array_equal(load_vectors(tmp_path / "x.npy"), real())


@pytest.mark.parametrize("name", ["emb", "vector"])
@pytest.mark.parametrize(
    "kind",
    [
        pyarrow.list_(pyarrow.float32()),
        pyarrow.list_(pyarrow.float32(), 96),
        pyarrow.large_list(pyarrow.float64()),
    ],
    ids=str,
)
def test_columns_of_other_names_and_types(name: str, kind: pyarrow.DataType, tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", real(), name, kind)
    assert np.array_equal(load_vectors(tmp_path / "x.parquet"), real())


def test_fewer_rows_of_long_vectors() -> None:
    assert row_limit(768) == 50_000
    assert row_limit(4096) == 15_625


def spoil(row: int, value: float) -> Vectors:
    rows = real().copy()
    rows[row] = value
    return rows


def ragged_json(path: Path) -> None:
    write_jsonl(path, real())
    path.write_text(path.read_text() + '{"embedding": [1.0, 2.0]}\n')


def ragged_parquet(path: Path) -> None:
    kind = pyarrow.list_(pyarrow.float32())
    column = pyarrow.array([*real(), real()[0, :5]], kind)
    pyarrow.parquet.write_table(pyarrow.table({"embedding": column}), path)


def null_parquet(path: Path) -> None:
    column = pyarrow.array([*real(), None], pyarrow.list_(pyarrow.float32()))
    pyarrow.parquet.write_table(pyarrow.table({"embedding": column}), path)


BAD: list[tuple[str, Callable[[Path], object], str]] = [
    ("x.npy", lambda path: np.save(path, spoil(7, np.nan)), "row 7 is not finite"),
    ("x.npy", lambda path: np.save(path, spoil(9, 0.0)), "row 9 is all zero"),
    ("x.npy", lambda path: np.save(path, spoil(3, 1.0).astype(np.float64) * 1e300), "row 0 is not finite"),
    ("x.npy", lambda path: np.save(path, real()[:50]), "50 rows are too few"),
    ("x.npy", lambda path: np.save(path, real()[0]), "not rows of floats"),
    ("x.npy", lambda path: np.save(path, real().astype(np.int32)), "not rows of floats"),
    ("x.npy", lambda path: np.save(path, np.array([{}])), "not a .npy file"),
    ("x.npy", lambda path: np.save(path, real()[:, :4]), "4 components, 16 to 4,096"),
    ("x.npy", lambda path: path.write_bytes(b""), "not a .npy file"),
    ("x.npy", lambda path: None, "No such file"),
    ("x.npy", lambda path: path.mkdir(), "directory"),
    ("x.fbin", lambda path: path.write_bytes(b"\x01"), "not a .fbin file"),
    ("x.fbin", lambda path: path.write_bytes(bytes(100)), "not a .fbin file"),
    ("x.csv", lambda path: path.write_text("1,2"), "cannot read vectors from .csv"),
    ("x", lambda path: path.write_text("1,2"), "no suffix"),
    ("x.jsonl", lambda path: path.write_text(""), "0 rows"),
    ("x.jsonl", lambda path: path.write_text('{"id": 1}\n'), "row 0 is no JSON object"),
    ("x.jsonl", lambda path: path.write_text("[1]\n"), "row 0 is no JSON object"),
    ("x.jsonl", lambda path: path.write_text('{"embedding": ["a"]}\n'), "row 0 is no JSON object"),
    ("x.jsonl", lambda path: path.write_text('{"embedding": [[1.0], 2]}\n'), "row 0 is no JSON object"),
    ("x.jsonl", lambda path: path.write_bytes(b" " * 3_000_000), "longer than"),
    ("x.jsonl", ragged_json, r"row 1,200 has 2 components, those before 96"),
    ("x.jsonl", lambda path: write_jsonl(path, spoil(4, 0.0)), "row 4 is all zero"),
    ("x.parquet", lambda path: path.write_bytes(b"PAR1"), "not a Parquet file"),
    (
        "x.parquet",
        lambda path: write_parquet(path, real(), "other"),
        "no column embedding, emb, vector among id",
    ),
    ("x.parquet", lambda path: write_parquet(path, spoil(2, np.inf)), "row 2 is not finite"),
    ("x.parquet", ragged_parquet, "row 1,200 has 5 components, others have 96"),
    ("x.parquet", null_parquet, "row 1,200 is null, or holds nulls"),
]


@pytest.mark.parametrize(("name", "write", "message"), BAD, ids=[f"{name} {what}" for name, _, what in BAD])
def test_bad_files_are_one_line(
    name: str, write: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    write(path)
    with pytest.raises(InputError, match=message) as caught:
        load_vectors(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 3
