"""Files of vectors: read by row, in any order, in bounded memory, the same from every kind of file."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from numpy.typing import NDArray

from synthgen.errors import InputError, UsageError
from synthgen.fidelity import load_vectors
from synthgen.formats.vectors import open_vectors
from synthgen.model.mixture import load_mixture
from synthgen.phases.fit import FitOptions, fit
from synthgen.phases.generate import GenerateOptions, generate
from tests.datasets import make_dataset, make_mixture
from tests.model.test_mixture_fit import make_vectors
from tests.vectorfiles import WRITERS, write_jsonl

Vectors = NDArray[np.float32]


@pytest.mark.parametrize("name", WRITERS)
def test_rows_are_read_in_any_order_more_than_once(name: str, tmp_path: Path) -> None:
    vectors = make_vectors(300) * 1_000
    WRITERS[name](tmp_path / name, vectors)
    source = open_vectors(tmp_path / name)
    rows = np.array([5, 3, 299, 0, 3, 100])
    read = source.gather(rows)
    assert len(source) == 300 and source.dimension == 96 and source.title(3) == ""
    assert read.dtype == np.float32 and read.flags.c_contiguous
    assert np.array_equal(read, vectors[rows])
    assert np.array_equal(source.gather(np.arange(300)), vectors)
    assert source.gather(np.empty(0, np.int64)).shape == (0, 96)


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_can_be_fitted_to_the_same_model(name: str, tmp_path: Path) -> None:
    vectors = make_vectors(150, 64)
    WRITERS[name](tmp_path / name, vectors)
    np.save(tmp_path / "reference.npy", vectors)
    digests = set()
    for path in (tmp_path / name, tmp_path / "reference.npy"):
        fit(FitOptions(tmp_path / "m.npz", path, quiet=True))
        digests.add(load_mixture(tmp_path / "m.npz").digest)
    assert len(digests) == 1


@pytest.mark.parametrize("longest", [0.0, 31_234.5])
def test_what_generate_writes_is_read(longest: float, tmp_path: Path) -> None:
    dataset = make_dataset(1_100, model=make_mixture(60, 64, longest=longest))
    generate(dataset, tmp_path / "x.jsonl", GenerateOptions(workers=1, quiet=True))
    wanted = (dataset.rows(0, 1_100).embeddings / 10**dataset.grid.decimals).astype(np.float32)
    assert np.array_equal(load_vectors(tmp_path / "x.jsonl"), wanted)
    fit(FitOptions(tmp_path / "m.npz", tmp_path / "x.jsonl", quiet=True))
    assert load_mixture(tmp_path / "m.npz").about["n_source_rows"] == 1_100


@pytest.mark.parametrize("kind", ["<f2", "<f4", ">f8"])
def test_npy_files_of_every_float_type(tmp_path: Path, kind: str) -> None:
    vectors = make_vectors(300).astype(kind)
    np.save(tmp_path / "v.npy", np.asfortranarray(vectors) if kind == ">f8" else vectors)
    rows = np.array([5, 3, 299])
    assert np.array_equal(open_vectors(tmp_path / "v.npy").gather(rows), vectors[rows].astype(np.float32))


@pytest.mark.parametrize("name", ["embedding", "emb", "vector"])
def test_parquet_columns_of_other_names_and_types(tmp_path: Path, name: str) -> None:
    vectors = make_vectors(9_000, 64)
    column = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.ravel()), 64)
    table = {"id": pyarrow.array(np.arange(9_000)), name: column if name == "emb" else column.to_pylist()}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "v.parquet", row_group_size=1_000)
    source = open_vectors(tmp_path / "v.parquet")
    rows = np.array([8_999, 0, 4_096])
    assert len(source) == 9_000 and source.dimension == 64
    assert np.array_equal(source.gather(rows), vectors[rows])


def test_what_float32_cannot_hold_becomes_infinite(tmp_path: Path) -> None:
    vectors = make_vectors(3).astype(np.float64)
    vectors[1, 5] = 1e300
    np.save(tmp_path / "v.npy", vectors)
    write_jsonl(tmp_path / "v.jsonl", vectors)
    for name in ("v.npy", "v.jsonl"):
        assert np.isinf(open_vectors(tmp_path / name).gather(np.array([0, 1]))).sum() == 1


def test_parquet_rows_of_other_lengths_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"embedding": [[1.0, 2.0]] * 5 + [[1.0]]}), path)
    with pytest.raises(InputError, match="row 5 has 1 components, others have 2"):
        open_vectors(path).gather(np.array([5]))
    rows = [[1.0, 2.0]] * 10_000 + [[1.0]] * 10_000
    pyarrow.parquet.write_table(pyarrow.table({"embedding": rows}), path, row_group_size=10_000)
    with pytest.raises(InputError, match=r"row \d+,\d+ has 1 components"):
        open_vectors(path).gather(np.array([19_999]))
    for bad in (None, [1.0, None]):
        pyarrow.parquet.write_table(pyarrow.table({"embedding": [[1.0, 2.0]] * 3 + [bad, [1.0, 2.0]]}), path)
        with pytest.raises(InputError, match="row 3 is null, or holds nulls"):
            open_vectors(path).gather(np.array([4]))
    pyarrow.parquet.write_table(pyarrow.table({"embedding": [1.0, 2.0]}), path)
    with pytest.raises(InputError, match="no column of float lists: embedding is double"):
        open_vectors(path)


def test_a_file_that_is_cut_meanwhile_is_no_traceback(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "v.jsonl", make_vectors(20))
    source = open_vectors(tmp_path / "v.jsonl")
    write_jsonl(tmp_path / "v.jsonl", make_vectors(10))
    with pytest.raises(InputError, match="row 15 is no JSON object"):
        source.gather(np.array([3, 15]))
    (tmp_path / "v.jsonl").unlink()
    with pytest.raises(InputError, match="No such file"):
        source.gather(np.array([3]))


def test_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"cannot read vectors from \.csv"):
        open_vectors(tmp_path / "v.csv")
    with pytest.raises(InputError, match="No such file"):
        open_vectors(tmp_path / "v.npy")
    (tmp_path / "v.npy").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"not a \.npy file"):
        open_vectors(tmp_path / "v.npy")
    np.save(tmp_path / "v.npy", np.zeros(7))
    with pytest.raises(InputError, match="holds float64"):
        open_vectors(tmp_path / "v.npy")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="needs the package pyarrow"):
        open_vectors(tmp_path / "v.parquet")


_PEAK_OF = """
import re, sys
from pathlib import Path
import numpy as np
from synthgen.formats.vectors import open_vectors
def peak():  # getrusage would tell the parent's, from before the exec
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
before = peak()
source = open_vectors(Path(sys.argv[1]))
source.gather(np.arange(0, len(source), 100))
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of peak memory")
@pytest.mark.parametrize("name", ["v.npy", "v.fbin", "v.jsonl"])
def test_memory_does_not_grow_with_the_file(name: str, tmp_path: Path) -> None:
    rows = np.tile(make_vectors(100, 96), (2_000, 1))[: 20_000 if name == "v.jsonl" else None]
    WRITERS[name](tmp_path / name, rows)
    size = (tmp_path / name).stat().st_size
    result = subprocess.run(
        [sys.executable, "-c", _PEAK_OF, str(tmp_path / name)], capture_output=True, text=True, check=True
    )
    assert size > 30_000_000 and int(result.stdout) < size / 3
