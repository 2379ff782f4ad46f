"""Model files: what is read back, and what is refused."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synthgen.errors import InputError
from synthgen.model.mixture import MixtureModel, load_mixture, save_mixture
from synthgen.model.mixture_fit import fit_mixture
from tests.model.test_mixture_fit import make_vectors


@pytest.fixture(scope="module")
def model() -> MixtureModel:
    return fit_mixture(make_vectors(150), 1)


def test_a_saved_model_is_read_back(tmp_path: Path, model: MixtureModel) -> None:
    save_mixture(tmp_path / "m.npz", model)
    loaded = load_mixture(tmp_path / "m.npz")
    assert loaded.digest == model.digest and loaded.about == model.about
    assert np.array_equal(loaded.anchors, model.anchors) and loaded.anchors.dtype == np.int8
    assert loaded.settings == model.settings and loaded.titles == model.titles


def test_the_digest_covers_numbers_and_titles_but_not_provenance(model: MixtureModel) -> None:
    assert replace(model, about={"x": 1}).digest == model.digest
    assert replace(model, titles=("t",) * len(model.anchors)).digest != model.digest
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
