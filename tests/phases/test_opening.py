"""`synthgen.open_dataset`: from whatever names a dataset to its memories; else one clear error."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import synthgen
from synthgen.errors import InputError, SynthgenError, UsageError
from synthgen.formats.manifest import manifest_path
from synthgen.model.mixture import save_mixture
from synthgen.phases.datasets import load_dataset, make_dataset
from synthgen.phases.generate import GenerateOptions, generate
from synthgen.specs import DatasetSpec
from tests.datasets import make_mixture, make_model


@pytest.fixture
def made(centroids: Path) -> Path:
    """A generated file with its manifest, named by its model's folder."""
    path = centroids.with_name("rows.jsonl")
    dataset = make_dataset(centroids, path.parent, count=1_100, seed=3)
    generate(dataset, path, GenerateOptions(workers=1, quiet=True))
    return path


def test_without_anything_it_is_the_built_in_model() -> None:
    memories = synthgen.open_dataset()
    assert (len(memories), memories.spec.seed, memories.spec.model.source) == (950_000, 42, "built-in")
    assert memories[949_999].content.startswith("Synthetic memory 0000000949999: near ")
    few = synthgen.open_dataset(count=10, seed=7, tightness=2.0, near_duplicate_rate=0.1)
    assert len(few) == 10 and few.spec.tightness == 2 and few.spec.near_duplicate_rate == 0.1
    assert few.fingerprint != memories.fingerprint


def test_whatever_names_it_the_rows_are_those_of_the_file(made: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in made.read_text().splitlines()]
    manifest = manifest_path(made)
    document = json.loads(manifest.read_text())
    spec_file = tmp_path / "spec.json"
    spec_file.write_text(json.dumps(document["spec"]))
    model = tmp_path / "centroids.npy"
    vectors = tmp_path / "rows.npy"
    generate(load_dataset(manifest), vectors, GenerateOptions(workers=1, quiet=True))
    for named in (made, manifest, spec_file, str(manifest), vectors):
        memories = synthgen.open_dataset(named)
        assert len(memories) == 1_100 and memories.spec.seed == 3
        for line, memory in zip(lines[990:], memories[990:], strict=True):
            assert (memory.id, memory.content, memory.confidence) == (
                line["id"],
                line["content"],
                line["confidence"],
            )
            assert np.array_equal(memory.embedding, np.array(line["embedding"], np.float32))
        for spec in (document, document["spec"], memories.spec, memories.spec.to_document()):
            assert synthgen.open_dataset(spec, centroids=model)[990] == memories[990]
        assert synthgen.open_dataset(memories.spec)[990] == memories[990]
        again = pickle.loads(pickle.dumps(memories))
        assert again[990] == memories[990]


def test_a_model_is_found_from_any_folder(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    opened = [synthgen.open_dataset(manifest_path(made)), synthgen.open_dataset(centroids="centroids.npy")]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for memories in opened:
        assert synthgen.open_dataset(memories.spec)[7] == memories[7]
        assert synthgen.open_dataset(memories.spec.to_document())[7] == memories[7]


def test_another_count_is_of_the_same_rows(made: Path) -> None:
    whole, more = synthgen.open_dataset(made), synthgen.open_dataset(made, count=10**9)
    assert len(more) == 10**9 and more[1_050] == whole[1_050]
    assert more[10**9 - 1].id.endswith("0000999999999")
    with pytest.raises(UsageError, match="--count must be a whole number"):
        synthgen.open_dataset(made, count=0)


def test_models_of_every_kind(centroids: Path, tmp_path: Path) -> None:
    fitted = tmp_path / "model.npz"
    save_mixture(fitted, make_mixture())
    assert synthgen.open_dataset(model=fitted, zipf=1.0).spec.model.law == "mixture"
    by_file = synthgen.open_dataset(centroids=centroids, std_dev=0.02)
    assert by_file.spec.std_dev == 0.02 and "near Topic" in by_file[0].content
    array = make_model().centroids
    for kind in (np.float32, np.float64, np.float16):
        by_array = synthgen.open_dataset(centroids=array.astype(kind), std_dev=0.02)
        assert by_array.spec.model.source == "" and "near centroid" in by_array[0].content
        if kind is not np.float16:
            assert np.array_equal(by_array[5].embedding, by_file[5].embedding)


def test_an_array_is_copied_and_asked_for_again() -> None:
    array = make_model().centroids.copy()
    memories = synthgen.open_dataset(centroids=array)
    first = memories[0]
    document = memories.spec.to_document()
    with pytest.raises(InputError, match=r"made of an array.*give centroids="):
        synthgen.open_dataset(document)
    assert synthgen.open_dataset(document, centroids=array.copy())[0] == first
    array[:] = 1
    assert memories[0] == first
    with pytest.raises(InputError, match="not the model that the dataset was drawn from"):
        synthgen.open_dataset(document, centroids=array)


def test_queries_are_opened_like_rows(centroids: Path) -> None:
    queries = synthgen.open_dataset(centroids=centroids, role="queries", shift=0.5, count=50)
    assert len(queries) == 50 and queries[0].id.startswith("qry-")
    assert queries[0].content.startswith("Synthetic query 0000000000000")


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"count": 0}, UsageError, "--count must be a whole number"),
    ({"count": -5}, UsageError, "--count must be a whole number"),
    ({"count": 10**15}, UsageError, "--count must be a whole number"),
    ({"count": 1e6}, UsageError, "--count must be a whole number"),
    ({"std_dev": 0.1}, UsageError, "give --centroids FILE.npy"),
    ({"model": "a.npz", "centroids": "b.npy"}, UsageError, "choose"),
    ({"model": "a.npz", "centroids": np.ones((2, 3))}, UsageError, "choose"),
    ({"zipf": 1.0, "centroids": np.ones((2, 3))}, UsageError, "--zipf is no parameter of the isotropic law"),
    ({"role": "answers"}, UsageError, "no role is called 'answers'"),
    ({"sead": 4}, TypeError, "no parameter 'sead'; it has spec, model, centroids, count, seed"),
    ({"centroids": np.ones((2, 3), int)}, InputError, "centroids: not an array of floating-point numbers"),
    ({"centroids": np.ones(3)}, InputError, r"centroids: shape \(3,\), needs \(k, d\)"),
    ({"centroids": np.zeros((2, 3))}, InputError, "centroids: row 0 is all zeros"),
    ({"centroids": np.full((2, 3), np.nan)}, InputError, "centroids: row 0 holds NaN"),
    ({"centroids": "none.npy"}, InputError, "none.npy: no such file"),
    ({"model": "none.npz"}, InputError, "none.npz: no such file"),
    ({"spec": "none.json"}, InputError, "none.json: no such file"),
    ({"spec": "none.jsonl"}, InputError, "none.manifest.json: no such file"),
    ({"spec": {}}, InputError, "spec: not a dataset spec"),
    ({"spec": {"spec": 5}}, InputError, "spec: not a dataset spec"),
    ({"spec": "x.json", "seed": 4}, UsageError, "seed is given, and so is a spec"),
    ({"spec": 5}, TypeError, "int"),
]


@pytest.mark.parametrize(("arguments", "kind", "message"), BAD, ids=[str(b[0])[:40] for b in BAD])
def test_bad_input_is_one_clear_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any],
    kind: type[Exception],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=message) as caught:
        synthgen.open_dataset(**arguments)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, SynthgenError | TypeError)


def test_files_that_say_nothing_are_refused(made: Path, tmp_path: Path) -> None:
    manifest_path(made).unlink()
    with pytest.raises(InputError, match=r"rows\.jsonl: no manifest beside it \(rows\.manifest\.json\)"):
        synthgen.open_dataset(made)
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(InputError, match="not a dataset spec or manifest"):
        synthgen.open_dataset(tmp_path / "x.json")


def test_a_changed_model_is_refused(made: Path, tmp_path: Path) -> None:
    (tmp_path / "centroids.json").unlink()  # without titles it is another one
    with pytest.raises(InputError, match="digest differs"):
        synthgen.open_dataset(made)


def test_a_spec_that_was_edited_is_refused(made: Path) -> None:
    document = json.loads(manifest_path(made).read_text())["spec"]
    assert DatasetSpec.from_document(document).seed == 3
    with pytest.raises(InputError, match="fingerprint does not match"):
        synthgen.open_dataset({**document, "seed": 4})
