"""The mixture law: exact, addressed by row, and the law that its model describes."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from synthgen.errors import UsageError
from synthgen.generate.choices import pair_rows, reweigh
from synthgen.generate.dataset import Dataset
from synthgen.generate.isotropic import normal_table
from synthgen.generate.streams import MIXTURE_NOISE, Stream
from synthgen.model.mixture import save_mixture
from synthgen.phases.datasets import load_dataset
from synthgen.phases.datasets import make_dataset as make_dataset_of_file
from synthgen.specs import DatasetSpec
from tests.datasets import make_dataset, make_mixture
from tests.generate.test_dataset import digest_of
from tests.model.mixture_reference import reference_rows

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "mixture.json").read_text())


def make(count: int = 2_500, **parameters: float | None) -> Dataset:
    return make_dataset(count, model=make_mixture(), **parameters)


def golden_digests() -> dict[str, str]:
    small = make_mixture(60, 101, titles=False, longest=0.75)
    long = make_mixture(60, 101, titles=False, longest=31_234.5)
    shifted = make_dataset(model=make_mixture(60, 101, titles=False, middle=50_001), outlier_rate=0.1)
    return {
        "default, rows 0 to 2,499": digest_of(make(), 0, 2_500),
        "default, rows 10**12 to 10**12 + 9": digest_of(make(), 10**12, 10**12 + 10),
        "seed 7, 4 decimals, tightness 3, zipf 1.25": digest_of(
            make(seed=7, decimals=4, tightness=3.0, zipf=1.25), 0, 1_500
        ),
        "near_duplicate_rate 0.3, outlier_rate 0.1, 7 decimals": digest_of(
            make(near_duplicate_rate=0.3, outlier_rate=0.1, decimals=7), 500, 1_500
        ),
        "101 components, other lengths, no titles, 5 decimals": digest_of(
            make_dataset(model=small, decimals=5), 900, 1_100
        ),
        "101 components, up to 31,234.5 long": digest_of(make_dataset(model=long), 900, 1_100),
        "101 components around a large middle": digest_of(shifted, 900, 1_100),
    }


def vectors_of(dataset: Dataset, n_rows: int = 2_500) -> NDArray[np.float64]:
    return dataset.rows(0, n_rows).embeddings / 10.0**dataset.grid.decimals


def highest_cosines(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    highest: NDArray[np.float64] = cosines.max(axis=1)
    return highest


def test_golden_digests_notice_one_changed_number(monkeypatch: pytest.MonkeyPatch) -> None:
    table = normal_table().copy()
    table[30_000:40_000] += 1 << 20  # a tenth of the draws, by a sixteenth
    monkeypatch.setattr("synthgen.generate.mixture.normal_table", lambda: table)
    assert golden_digests() != GOLDEN


@pytest.mark.parametrize(
    "array", ["anchors", "centroids", "middle", "stay", "stretch", "tightness", "spread"]
)
def test_each_number_of_the_model_is_in_its_digest(array: str) -> None:
    model = make_mixture()
    before = model.digest
    getattr(model, array).flat[7] += 1
    assert model.digest != before


@pytest.mark.parametrize("parameters", [{}, {"near_duplicate_rate": 0.4, "outlier_rate": 0.1}], ids=str)
def test_any_range_equals_the_whole(parameters: dict[str, float]) -> None:
    dataset = make(**parameters)
    whole = dataset.rows(0, 2_500)
    for start, stop in [(0, 1), (999, 1_001), (123, 1_777), (2_499, 2_500), (1_000, 2_000)]:
        part = dataset.rows(start, stop)
        for name in ("ids", "embeddings", "confidences", "contents", "clusters"):
            assert np.array_equal(getattr(part, name), getattr(whole, name)[start:stop]), name


def test_sums_are_exact_in_float32_and_rows_are_those_of_plain_integers() -> None:
    dataset = make(near_duplicate_rate=0.2, outlier_rate=0.05)
    law = dataset._law._law  # type: ignore[attr-defined]
    choices = dataset._law._chooser.choose(3, 0, 1_000)  # type: ignore[attr-defined]
    draw = law.weigh(choices)
    vectors = law._table.vectors[draw.vectors].astype(np.int64)
    words = Stream(42, (MIXTURE_NOISE, 3), law.words_per_row).next_rows(1_000)
    noise = words.view(np.int8).reshape(1_000, -1) | np.int8(1)
    weights = draw.weights.astype(np.int64)
    assert np.array_equal(weights, draw.weights)
    parts = np.concatenate([vectors, noise[:, None, : law.dimension].astype(np.int64)], axis=1)
    assert (np.abs(weights[:, :, None] * parts).sum(axis=1) < 2**24).all()
    sums = np.einsum("ns,nsd->nd", weights, parts)
    assert (np.square(sums).sum(axis=1) < 2**52).all()
    made = dataset.rows(3_000, 4_000).embeddings
    assert np.array_equal(made, np.rint(sums * (1e6 / np.sqrt(np.square(sums).sum(axis=1)))[:, None]))


def test_rows_follow_the_law_of_the_model() -> None:
    model = make_mixture()
    rows, reference = vectors_of(make(), 2_500), reference_rows(model, 2_500, 5).astype(np.float64)
    assert np.abs(np.linalg.norm(rows, axis=1) - 1).max() < 2e-5
    anchors = model.anchors / np.linalg.norm(model.anchors, axis=1, keepdims=True)
    for name, made, wanted in (
        ("neighbour", highest_cosines(rows), highest_cosines(reference)),
        ("anchor", (rows @ anchors.T).max(axis=1), (reference @ anchors.T).max(axis=1)),
        ("pairs", (rows[:1_000] @ rows[1_000:].T).ravel(), (reference[:1_000] @ reference[1_000:].T).ravel()),
    ):
        for quantile in (0.05, 0.25, 0.5, 0.75, 0.95):
            assert abs(np.quantile(made, quantile) - np.quantile(wanted, quantile)) < 0.02, (name, quantile)


def test_clusters_and_contents_belong_to_the_anchor() -> None:
    model = make_mixture()
    rows = make().rows(0, 2_500)
    centroids = model.centroids / np.linalg.norm(model.centroids, axis=1, keepdims=True)
    nearest = (rows.embeddings @ centroids[:6].T).argmax(axis=1)
    assert (nearest == rows.clusters % 6).mean() > 0.75  # a quarter is drawn in the second nearest
    texts = [json.loads(row.tobytes()) for row in rows.contents]
    assert len(set(texts)) == 2_500
    assert all('near "Größe" ' in text for text in texts)
    near, towards = zip(
        *(text.split(": near ")[1].partition(", towards ")[::2] for text in texts), strict=True
    )
    assert all(a != b for a, b in zip(near, towards, strict=True)) and set(near) <= set(model.titles)


def test_contents_without_titles_name_the_anchor() -> None:
    dataset = make_dataset(model=make_mixture(titles=False), outlier_rate=0.5)
    texts = [json.loads(row.tobytes()) for row in dataset.rows(0, 100).contents]
    endings = {text.split(": ")[1].split()[-1] for text in texts}
    assert endings == {"300", "topics"}


def test_no_row_is_another_one() -> None:
    for parameters in ({}, {"tightness": 100.0}, {"near_duplicate_rate": 1.0}):
        embeddings = make(**parameters).rows(0, 2_500).embeddings
        assert len(np.unique(embeddings, axis=0)) == 2_500


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5])
def test_near_duplicates_have_the_asked_rate(rate: float) -> None:
    highest = highest_cosines(vectors_of(make(near_duplicate_rate=rate), 2_000))
    taken = [(pair_rows(42, chunk, rate) >= 0).mean() for chunk in range(100)]
    assert abs((highest >= 0.95).mean() - np.mean(taken[:2])) < 0.004
    assert abs(np.mean(taken) - rate) < 0.01
    assert highest.max() < 1 - 1e-9


def test_near_duplicates_come_behind_their_originals() -> None:
    originals = pair_rows(42, 3, 0.5)
    copies = np.flatnonzero((originals >= 0) & (originals != np.arange(1_000)))
    assert 200 < len(copies) < 300 and (originals[copies] < copies).all()
    assert np.array_equal(np.sort(originals[copies]), np.flatnonzero(originals == np.arange(1_000)))


def test_outliers_lie_far_from_all() -> None:
    dataset = make(outlier_rate=0.1)
    outliers = dataset.rows(0, 2_500).clusters < 0
    highest = highest_cosines(vectors_of(dataset))
    assert 0.07 < outliers.mean() < 0.13
    assert highest[outliers].max() < highest[~outliers].min() + 0.1 < 0.5


def test_tighter_rows_lie_nearer_to_their_anchors() -> None:
    anchors = make_mixture().anchors
    units = anchors / np.linalg.norm(anchors, axis=1, keepdims=True)
    near = [(vectors_of(make(tightness=t), 1_000) @ units.T).max(axis=1).mean() for t in (0.5, 1.0, 4.0)]
    assert near[0] + 0.05 < near[1] < near[2] - 0.05


def test_zipf_weights_fall_with_the_rank() -> None:
    popularity = np.cumsum(np.repeat([1 << 28, 3 << 28], [4, 4]))
    popularity[-1] -= 1
    clusters = np.array([0, 1, 2, 3, 4, 4, 4, 4], np.int32)
    weights = np.diff(reweigh(popularity.astype(np.uint32), clusters, 1.0).astype(np.int64), prepend=0)
    expected = np.array([1 / 2, 1 / 3, 1 / 4, 1 / 5, 3, 3, 3, 3])
    assert np.allclose(weights / 2**32, expected / expected.sum(), atol=1e-6)
    plain = np.bincount(make().rows(0, 2_500).clusters % 6, minlength=6)
    steep = np.bincount(make(zipf=3.0).rows(0, 2_500).clusters % 6, minlength=6)
    assert steep.max() > 2 * plain.max()


@pytest.mark.parametrize(
    "change",
    [{"seed": 43}, {"tightness": 1.1}, {"zipf": 0.5}, {"near_duplicate_rate": 0.0}, {"outlier_rate": 0.01}],
    ids=lambda c: next(iter(c)),
)
def test_each_parameter_changes_the_fingerprint(change: dict[str, float]) -> None:
    assert make(**change).spec.fingerprint != make().spec.fingerprint


def test_a_spec_reads_back_and_has_its_law_s_parameters_alone() -> None:
    spec = make(near_duplicate_rate=0.02, zipf=1).spec
    assert DatasetSpec.from_document(spec.to_document()) == spec
    assert "std_dev" not in spec.identity()["parameters"]
    assert "zipf" not in make_dataset().spec.identity()["parameters"]
    with pytest.raises(UsageError, match="--std-dev is no parameter of the mixture law"):
        make(std_dev=0.2)
    with pytest.raises(UsageError, match="--zipf is no parameter of the isotropic law"):
        make_dataset(zipf=1.0)


def test_lengths_are_those_of_the_anchors() -> None:
    model = make_mixture(60, 101, titles=False, longest=0.75)
    lengths = np.linalg.norm(vectors_of(make_dataset(model=model), 500), axis=1)
    wanted = np.array([0.5, 0.75, 1.0]) * 0.75
    assert np.abs(lengths[:, None] - wanted).min(axis=1).max() < 1e-4


def test_datasets_are_found_again_by_their_spec(tmp_path: Path) -> None:
    save_mixture(tmp_path / "model.npz", make_mixture())
    dataset = make_dataset_of_file(tmp_path / "model.npz", tmp_path, count=50)
    assert dataset.spec.fingerprint == make(50).spec.fingerprint
    (tmp_path / "spec.json").write_text(json.dumps(dataset.spec.to_document()))
    assert digest_of(load_dataset(tmp_path / "spec.json"), 0, 50) == digest_of(make(), 0, 50)
