"""`synthgen fit` as a phase: files and databases in, a model file out."""

from pathlib import Path

import numpy as np
import pytest

from synthgen.errors import InputError, TargetError, UsageError
from synthgen.model.mixture import load_mixture
from synthgen.phases.fit import FitOptions, fit
from tests.model.test_mixture_fit import make_vectors
from tests.server.client import Client, numbers
from tests.serverproc import running_server


def test_a_file_becomes_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "v.npy", make_vectors(300).astype(np.float16))
    report = fit(FitOptions(tmp_path / "m.npz", tmp_path / "v.npy", seed=5))
    model = load_mixture(tmp_path / "m.npz")
    assert report["digest"] == model.digest and report["output"] == str(tmp_path / "m.npz")
    assert model.about["input"] == "v.npy" and model.about["seed"] == 5 and model.titles == ()
    assert (report["n_fit_rows"], report["n_source_rows"], report["dimension"]) == (300, 300, 96)
    assert report["elapsed_s"] >= 0
    captured = capsys.readouterr()
    assert captured.out == "" and "a model of 300 of 300 rows" in captured.err
    fit(FitOptions(tmp_path / "again.npz", tmp_path / "v.npy", seed=5, quiet=True))
    assert load_mixture(tmp_path / "again.npz").digest == model.digest
    assert capsys.readouterr().err == ""


def test_a_database_becomes_a_model(tmp_path: Path) -> None:
    vectors = make_vectors(130, 768)
    with running_server(tmp_path / "data") as server, Client(server.port) as client:
        for row, vector in enumerate(vectors):
            name = f"real-{row:03d}" if row < 120 else f"syn-{row}" if row < 125 else f"qry-{row}"
            content = f"Title {row}\nand more"
            assert (
                client.remember("people", id=name, content=content, embedding=numbers(vector)).status == 201
            )
        report = fit(FitOptions(tmp_path / "m.npz", endpoint=server.endpoint, spaces=("people",), quiet=True))
        with pytest.raises(InputError, match=r"space none: No memories found; check"):
            fit(FitOptions(tmp_path / "n.npz", endpoint=server.endpoint, spaces=("none",), quiet=True))
    model = load_mixture(tmp_path / "m.npz")
    assert report["num_synthetic_left_out"] == 10 and report["n_fit_rows"] == 120
    assert set(model.titles) == {f"Title {row}" for row in range(120)}
    # what was listed, in the order of its ids, is what a file of the same vectors gives
    np.save(tmp_path / "v.npy", vectors[:120])
    assert fit(FitOptions(tmp_path / "f.npz", tmp_path / "v.npy", quiet=True))["gain"] == report["gain"]
    assert [path.suffix for path in tmp_path.glob("*.partial")] == []


def test_what_cannot_be_fitted_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    np.save(path, make_vectors(50))
    with pytest.raises(InputError, match=r"v\.npy: 50 vectors are too few to fit; give at least 100"):
        fit(FitOptions(tmp_path / "m.npz", path, quiet=True))
    with pytest.raises(TargetError):
        fit(FitOptions(tmp_path / "m.npz", endpoint="http://127.0.0.1:1", quiet=True))
    with pytest.raises(InputError, match="no such folder"):
        fit(FitOptions(tmp_path / "no" / "m.npz", path, quiet=True))
    assert not (tmp_path / "m.npz").exists()


def test_options_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in \.npz"):
        FitOptions(tmp_path / "m.npy")
    with pytest.raises(UsageError, match="--space"):
        FitOptions(tmp_path / "m.npz", tmp_path / "v.npy", spaces=("people",))
    with pytest.raises(UsageError, match="--seed"):
        FitOptions(tmp_path / "m.npz", seed=-1)


def test_a_file_that_is_no_model_is_never_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "mine.npz"
    np.savez(mine, a=np.arange(3))
    before = mine.read_bytes()
    np.save(tmp_path / "v.npy", np.random.default_rng(0).standard_normal((150, 64)).astype(np.float32))
    with pytest.raises(InputError, match="is no model"):
        fit(FitOptions(mine, tmp_path / "v.npy", quiet=True))
    assert mine.read_bytes() == before
