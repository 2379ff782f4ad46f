"""Model files and files of vectors: what is read back, and what is refused."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synthgen.errors import InputError, UsageError
from synthgen.model.mixture import MixtureModel, load_mixture, save_mixture
from synthgen.model.mixture_fit import fit_mixture
from synthgen.model.vectorfiles import open_vectors
from tests.model.test_mixture_fit import make_vectors


@pytest.fixture(scope="module")
def model() -> MixtureModel:
    return fit_mixture(make_vectors(150), 1)


def test_a_saved_model_is_read_back(tmp_path: Path, model: MixtureModel) -> None:
    save_mixture(tmp_path / "m.npz", model)
    loaded = load_mixture(tmp_path / "m.npz")
    assert loaded.digest == model.digest and loaded.about == model.about
    assert np.array_equal(loaded.anchors, model.anchors) and loaded.anchors.dtype == np.int16
    assert loaded.settings == model.settings and loaded.titles == model.titles


def test_the_digest_covers_numbers_and_titles_but_not_provenance(model: MixtureModel) -> None:
    assert replace(model, about={"x": 1}).digest == model.digest
    assert replace(model, titles=("t",) * 150).digest != model.digest
    assert replace(model, settings={**model.settings, "gain": 1.0}).digest != model.digest
    assert replace(model, tightness=model.tightness + 1).digest != model.digest


def test_what_is_no_model_is_refused(tmp_path: Path, model: MixtureModel) -> None:
    path = tmp_path / "m.npz"
    with pytest.raises(InputError, match="no such file"):
        load_mixture(path)
    np.savez(path, x=np.zeros(3))
    with pytest.raises(InputError, match="not a model file"):
        load_mixture(path)
    save_mixture(path, model)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a model file"):
        load_mixture(path)


def test_a_changed_or_newer_model_is_refused(tmp_path: Path, model: MixtureModel) -> None:
    path = tmp_path / "m.npz"
    save_mixture(path, model)
    with np.load(path) as data:
        arrays = {name: data[name] for name in data.files}
    document = json.loads(arrays["document"].tobytes())
    rewrite(path, arrays, {**document, "format_version": 99})
    with pytest.raises(InputError, match="format version 99"):
        load_mixture(path)
    rewrite(path, {**arrays, "stay": arrays["stay"] + 1}, document)
    with pytest.raises(InputError, match="digest does not match"):
        load_mixture(path)


def rewrite(path: Path, arrays: dict[str, np.ndarray], document: dict[str, object]) -> None:
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(document).encode(), np.uint8)
    np.savez(buffer, **{**arrays, "document": text})  # type: ignore[arg-type]
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize("kind", ["<f2", "<f4", ">f8"])
def test_npy_files_are_read_by_row(tmp_path: Path, kind: str) -> None:
    vectors = make_vectors(300).astype(kind)
    np.save(tmp_path / "v.npy", np.asfortranarray(vectors) if kind == ">f8" else vectors)
    source = open_vectors(tmp_path / "v.npy")
    rows = np.array([5, 3, 299])
    assert len(source) == 300 and source.dimension == 96
    assert np.array_equal(source.gather(rows), vectors[rows].astype(np.float32))


@pytest.mark.parametrize("name", ["embedding", "emb", "vector"])
def test_parquet_files_are_read_by_row(tmp_path: Path, name: str) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    vectors = make_vectors(9_000, 64)
    flat = arrow.array(vectors.ravel())
    column = arrow.FixedSizeListArray.from_arrays(flat, 64)
    table = {"id": arrow.array(np.arange(9_000)), name: column if name == "emb" else column.to_pylist()}
    parquet.write_table(arrow.table(table), tmp_path / "v.parquet", row_group_size=1_000)
    source = open_vectors(tmp_path / "v.parquet")
    rows = np.array([8_999, 0, 4_096])
    assert len(source) == 9_000 and source.dimension == 64
    assert np.array_equal(source.gather(rows), vectors[rows])


def test_parquet_rows_of_other_lengths_are_refused(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "v.parquet"
    parquet.write_table(arrow.table({"embedding": [[1.0, 2.0]] * 5 + [[1.0]]}), path)
    with pytest.raises(InputError, match="rows 0 to 5 hold nulls, or vectors of other lengths"):
        open_vectors(path).gather(np.array([5]))
    parquet.write_table(arrow.table({"embedding": [1.0, 2.0]}), path)
    with pytest.raises(InputError, match="no column of float lists"):
        open_vectors(path)


def test_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="cannot read vectors"):
        open_vectors(tmp_path / "v.csv")
    with pytest.raises(InputError, match="No such file"):
        open_vectors(tmp_path / "v.npy")
    (tmp_path / "v.npy").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"not a \.npy file"):
        open_vectors(tmp_path / "v.npy")
    np.save(tmp_path / "v.npy", np.zeros(7))
    with pytest.raises(InputError, match="holds float64"):
        open_vectors(tmp_path / "v.npy")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UsageError, match="needs the package pyarrow"):
        open_vectors(tmp_path / "v.parquet")
