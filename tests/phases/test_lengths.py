"""Vectors of any length through all phases: fitted, written, found by offset, delivered, proven, judged."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from synthgen.cli import main
from synthgen.errors import InputError
from synthgen.formats.manifest import journal_path, manifest_path, partial_path, read_manifest
from synthgen.generate.dataset import Dataset
from synthgen.model.mixture import save_mixture
from synthgen.model.mixture_fit import fit_mixture
from synthgen.phases.datasets import load_dataset, make_dataset, source_of
from synthgen.phases.fit import FitOptions, fit
from synthgen.phases.generate import GenerateOptions, generate
from synthgen.phases.realism import judge_dataset
from tests.datasets import make_dataset as make_dataset_of
from tests.datasets import make_mixture
from tests.model.test_mixture_fit import make_vectors
from tests.server.client import Client
from tests.serverproc import running_server

QUIET = GenerateOptions(workers=1, quiet=True)


def long_vectors(n: int, dimension: int, length: float, *, seed: int = 7) -> NDArray[np.float32]:
    """Return rows whose lengths are spread around ``length`` as word vectors' are."""
    lengths = length * np.exp(0.15 * np.random.default_rng(seed).standard_normal(n))
    return (make_vectors(n, dimension, seed=seed) * lengths[:, None]).astype(np.float32)


@pytest.mark.parametrize(
    ("dimension", "length", "digits"),
    [
        (64, 0.01, (1, 6)),
        (64, 3.0, (1, 6)),
        (64, 40.0, (2, 6)),
        (64, 1_000.0, (4, 5)),
        (64, 30_000.0, (5, 4)),
        (768, 3.0, (1, 6)),
        (768, 30_000.0, (5, 4)),
        (4_096, 1_000.0, (4, 5)),
    ],
)
def test_rows_are_as_long_as_what_was_fitted(dimension: int, length: float, digits: tuple[int, int]) -> None:
    vectors = long_vectors(200, dimension, length)
    dataset = make_dataset_of(1_500, model=fit_mixture(vectors, 3))
    grid, source = dataset.grid, source_of(dataset)
    assert (grid.integer_digits, grid.decimals) == digits
    bodies = source.open().read(990, 1_090)  # beyond the end of a chunk
    made = dataset.rows(990, 1_090)
    assert {len(body) for body in bodies} == {source.layout.line_bytes - 1}
    for i, body in enumerate(bodies):
        memory = json.loads(body)
        assert memory == orjson.loads(body) and memory["id"] == dataset.spec.memory_id(990 + i)
        assert memory["embedding"] == (made.embeddings[i] / 10**grid.decimals).tolist()
    rows = dataset.rows(0, 1_500).embeddings / 10**grid.decimals
    lengths, fitted = np.linalg.norm(rows, axis=1), np.linalg.norm(vectors.astype(float), axis=1)
    for quantile in (0.0, 0.1, 0.5, 0.9, 1.0):
        assert abs(np.quantile(lengths, quantile) / np.quantile(fitted, quantile) - 1) < 0.05


def long_dataset(folder: Path, count: int = 3_500) -> Dataset:
    save_mixture(folder / "model.npz", make_mixture(longest=31_234.5))
    return make_dataset(folder / "model.npz", folder, count=count)


def test_a_file_is_the_same_however_it_was_made(tmp_path: Path) -> None:
    dataset = long_dataset(tmp_path)
    whole = b"".join(body + b"\n" for body in source_of(dataset).open().read(0, 3_500))
    for workers in (1, 3):
        output = tmp_path / f"w{workers}.jsonl"
        report = generate(dataset, output, GenerateOptions(workers=workers, quiet=True))
        assert output.read_bytes() == whole
    assert report.to_document()["grid"] == {
        "integer_digits": 5,
        "decimals": 4,
        "largest": 312_345_000,
    }
    manifest = read_manifest(manifest_path(output))
    # As a kill leaves it: not renamed, no manifest, a journal with chunks 0 and 2, of which 2 is damaged.
    output.rename(partial_path(output))
    manifest_path(output).unlink()
    header = {"format_version": 1, "spec": manifest.spec.to_document(), "line_bytes": manifest.line_bytes}
    lines = [header, *({"chunk": c, "xxh3_128": manifest.chunks[c]} for c in (0, 2))]
    journal_path(output).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with partial_path(output).open("r+b") as file:
        file.seek(manifest.byte_range(2)[0] + 5_000)
        file.write(b"7")
    assert generate(dataset, output, QUIET).rows_made == 2_500
    assert output.read_bytes() == whole
    assert read_manifest(manifest_path(output)) == manifest


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_queries_are_as_long_as_rows(shift: float) -> None:
    model = make_mixture(60, 64, longest=31_234.5)
    spec = replace(make_dataset_of(300, model=model).spec, role="queries", shift=shift)
    dataset = Dataset(spec, model)
    exact = dataset.rows(0, 300).embeddings / 1e4
    bodies = source_of(dataset).open().read(0, 300)
    assert [json.loads(body)["embedding"] for body in bodies] == exact.tolist()
    wanted = np.array([0.5, 0.75, 1.0]) * 31_234.5
    assert np.abs(np.linalg.norm(exact, axis=1)[:, None] - wanted).min(axis=1).max() < 0.01


def test_a_reader_finds_any_number_by_the_manifest_alone(tmp_path: Path) -> None:
    dataset = long_dataset(tmp_path, 1_200)
    generate(dataset, tmp_path / "a.jsonl", QUIET)
    file = json.loads(manifest_path(tmp_path / "a.jsonl").read_text())["file"]
    data = (tmp_path / file["name"]).read_bytes()
    cell = file["grid"]["integer_digits"] + file["grid"]["decimals"] + 3
    for row, component in ((0, 0), (999, 767), (1_199, 401)):
        line = data[row * file["line_bytes"] : (row + 1) * file["line_bytes"]]
        at = line.index(b'"embedding":[') + len(b'"embedding":[') + component * cell
        made = dataset.rows(row, row + 1).embeddings[0, component]
        assert float(line[at : at + cell - 1]) == made / 10 ** file["grid"]["decimals"]


def test_manifests_without_a_grid_are_those_of_unit_vectors(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    save_mixture(tmp_path / "model.npz", make_mixture())
    generate(make_dataset(tmp_path / "model.npz", tmp_path, count=100), output, QUIET)
    document = json.loads(manifest_path(output).read_text())
    manifest = read_manifest(manifest_path(output))
    del document["file"]["grid"]
    manifest_path(output).write_text(json.dumps(document))
    assert read_manifest(manifest_path(output)) == manifest
    document["file"]["grid"] = {"decimals": "few", "largest": 1}
    manifest_path(output).write_text(json.dumps(document))
    with pytest.raises(InputError, match="damaged manifest"):
        read_manifest(manifest_path(output))


def test_from_real_vectors_to_a_proof(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "v.npy", long_vectors(300, 768, 1_000.0))
    model, output = str(tmp_path / "m.npz"), str(tmp_path / "s.jsonl")
    assert main(["fit", "--input", str(tmp_path / "v.npy"), "--output", model, "-q"]) == 0
    capsys.readouterr()
    command = ["generate", "--model", model, "--count", "1500", "--output", output, "-q"]
    told = "4 digits before the point, as vectors are long, and so 5 decimals (asked: 6)"
    assert main([*command, "--dry-run"]) == 0
    assert f"numbers      {told}" in capsys.readouterr().out
    assert main(command) == 0
    assert f"numbers have {told}" in capsys.readouterr().out
    dataset = load_dataset(tmp_path / "s.manifest.json")
    with running_server(tmp_path / "data") as server:
        where = ["--endpoint", server.endpoint, "-q"]
        assert main(["ingest", "--input", output, *where]) == 0
        assert main(["ingest", "--spec", str(tmp_path / "s.manifest.json"), "--space", "made", *where]) == 0
        assert main(["verify", "--input", output, *where]) == 0
        with Client(server.port) as client:
            listed = client.get("/api/v1/memories?limit=1&offset=1234&include_embeddings=true&tier=all").json
    (memory,) = listed["memories"]
    row = int(re.sub(r"syn-\w+-", "", memory["id"]))
    exact = dataset.rows(row, row + 1).embeddings[0] / 1e5
    assert np.array_equal(np.array(memory["embedding"], np.float32), exact.astype(np.float32))
    assert 500 < np.linalg.norm(exact) < 2_000


@pytest.mark.usefixtures("few_splits")
def test_lengths_are_judged_at_their_scale(tmp_path: Path) -> None:
    vectors = long_vectors(6_000, 64, 1_000.0)
    dataset = make_dataset_of(3_000, model=fit_mixture(vectors[3_000:], 3))
    np.save(tmp_path / "heldout.npy", vectors[:3_000])
    report = judge_dataset(dataset, tmp_path / "heldout.npy", tmp_path / "page.html", quiet=True)
    judged = {line.key: line for line in report.judgements}
    assert not report.about.is_unit_length
    assert abs(judged["length_mean"].synthetic - 1) < 0.02 and judged["length_mean"].is_ok
    assert abs(judged["length_sd"].difference) < 0.02 and judged["length_w1"].is_ok


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (1e30, "up to 1.*e\\+30 long, but at most 999,999 can be written; divide them by a constant"),
        (1e-9, "7 decimals would change by 100%; bring them to unit length"),
    ],
)
def test_what_can_never_be_written_is_not_fitted(length: float, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", long_vectors(150, 64, length))
    with pytest.raises(InputError, match=message) as caught:
        fit(FitOptions(tmp_path / "m.npz", tmp_path / "v.npy", quiet=True))
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'v.npy'}: its vectors are") and "\n" not in text
    assert not (tmp_path / "m.npz").exists()


def test_too_few_decimals_are_an_error_that_names_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_mixture(tmp_path / "m.npz", make_mixture(longest=1.2e-4))
    flags = ["generate", "--model", str(tmp_path / "m.npz"), "--output", str(tmp_path / "x.jsonl"), "-q"]
    assert main([*flags, "--count", "10"]) == 3
    told = capsys.readouterr().err
    assert re.search(r"m\.npz: its vectors are about 9e-05 long .*; give --decimals 7$", told)
    assert main([*flags, "--count", "10", "--decimals", "7"]) == 0
