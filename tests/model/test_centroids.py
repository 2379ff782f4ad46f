"""Centroid files: what is read back, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from synthgen.errors import InputError
from synthgen.model.centroids import CentroidModel, load_centroids, save_centroids
from synthgen.model.kmeans import fit_centroids
from synthgen.model.spool import EmbeddingSpool
from tests.datasets import make_model, save_model


def test_a_saved_model_is_read_back(tmp_path: Path) -> None:
    model = make_model()
    loaded = load_centroids(save_model(tmp_path))
    assert np.array_equal(loaded.centroids, model.centroids)
    assert loaded.titles == model.titles and loaded.digest == model.digest


def test_titles_of_other_centroids_are_refused(tmp_path: Path) -> None:
    path = save_model(tmp_path)
    np.save(path, make_model().centroids[::-1])
    with pytest.raises(InputError, match="describes other centroids"):
        load_centroids(path)


def test_the_json_of_another_tool_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.npy"
    np.save(path, make_model().centroids)
    path.with_suffix(".json").write_text(json.dumps({"num_centroids": 7, "seed": 42}))
    assert load_centroids(path).titles == ()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 768), np.float32), r"shape \(0, 768\)"),
        (np.ones(768, np.float32), r"shape \(768,\)"),
        (np.ones((2, 3, 4), np.float32), "shape"),
        (np.ones((2, 768), np.int64), "floating-point"),
        (np.array([["a"]]), "floating-point"),
        (np.array([[1.0, np.nan]], np.float32), "row 0 holds NaN"),
        (np.array([[1.0, 1.0], [np.inf, 0]], np.float32), "row 1 holds"),
        (np.array([[1.0, 1.0], [0, 0]], np.float32), "row 1 is all zeros"),
    ],
)
def test_unusable_arrays_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "c.npy", array)
    with pytest.raises(InputError, match=message):
        load_centroids(tmp_path / "c.npy")


@pytest.mark.parametrize("content", [b"", b"not numpy", b"PK\x03\x04", b"\x93NUMPY\x01\x00\x10\x00"])
def test_what_is_no_npy_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"not a \.npy file|floating-point"):
        load_centroids(tmp_path / "c.npy")
    with pytest.raises(InputError, match="no such file"):
        load_centroids(tmp_path / "missing.npy")


def fill(spool: EmbeddingSpool, order: np.ndarray) -> None:
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((4, 16)).astype(np.float32)
    x = np.repeat(centres, 100, axis=0) + 0.01 * rng.standard_normal((400, 16)).astype(np.float32)
    for at in range(0, 400, 70):
        rows = order[at : at + 70]
        spool.add([f"id-{i:03d}" for i in rows], [f"title of {i // 100}" for i in rows], x[rows])


def test_the_fit_does_not_depend_on_the_order_of_the_listing(tmp_path: Path) -> None:
    fits = []
    for order in (np.arange(400), np.random.default_rng(1).permutation(400)):
        with EmbeddingSpool(tmp_path) as spool:
            fill(spool, order)
            fill(spool, order[:50])  # a listing may repeat itself
            assert len(spool) == 400
            fits.append(fit_centroids(spool, 4, 42))
    assert fits[0].model.digest == fits[1].model.digest
    assert sorted(fits[0].sizes.tolist()) == [100, 100, 100, 100]
    for titles in fits[0].model.titles:
        assert len(set(titles)) == 1, "titles of one cluster come from that cluster"
    assert abs(fits[0].inertia - 400 * 16 * 0.0001) < 0.1


def test_fewer_memories_than_centroids_is_an_error(tmp_path: Path) -> None:
    with EmbeddingSpool(tmp_path) as spool:
        spool.add(["a"], ["A"], np.ones((1, 8), np.float32))
        with pytest.raises(InputError, match="1 memories are fewer than 4 centroids"):
            fit_centroids(spool, 4, 42)


def test_large_sets_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthgen.model.kmeans._SAMPLE_ROWS", 150)
    monkeypatch.setattr("synthgen.model.kmeans._BATCH_ROWS", 64)
    with EmbeddingSpool(tmp_path) as spool:
        fill(spool, np.arange(400))
        fit = fit_centroids(spool, 4, 42)
    assert fit.sizes.sum() == 400 and isinstance(fit.model, CentroidModel)
    save_centroids(tmp_path / "c.npy", fit.model, {"a": 1})
    assert load_centroids(tmp_path / "c.npy").digest == fit.model.digest
