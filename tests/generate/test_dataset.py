"""A dataset is a function of (spec, row)."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from synthgen.formats.jsonl import LineEncoder
from synthgen.generate.dataset import Dataset
from synthgen.generate.isotropic import normal_table
from synthgen.generate.streams import NOISE, Stream
from synthgen.phases.datasets import source_of
from tests.datasets import make_dataset, make_model

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "isotropic.json").read_text())


def digest_of(dataset: Dataset, start: int, stop: int) -> str:
    encoder = LineEncoder(source_of(dataset).layout)
    hasher = hashlib.sha256()
    for rows in dataset.blocks(start, stop):
        hasher.update(encoder.encode(rows).data)
    return hasher.hexdigest()


def golden_digests() -> dict[str, str]:
    return {
        "default, rows 0 to 2,499": digest_of(make_dataset(), 0, 2_500),
        "default, rows 10**12 to 10**12 + 9": digest_of(make_dataset(), 10**12, 10**12 + 10),
        "seed 7, std_dev 0.03, 4 decimals, confidence 0.95": digest_of(
            make_dataset(seed=7, std_dev=0.03, decimals=4, confidence=0.95), 0, 1_500
        ),
        "std_dev 3, 7 decimals": digest_of(make_dataset(std_dev=3.0, decimals=7), 0, 300),
        "100 components, no titles, 5 decimals": digest_of(
            make_dataset(model=make_model(3, 101, titles=False), decimals=5), 900, 1_100
        ),
    }


def test_golden_digests_notice_one_changed_number(monkeypatch: pytest.MonkeyPatch) -> None:
    table = normal_table().copy()
    table[40_000] += 1 << 10
    monkeypatch.setattr("synthgen.generate.isotropic.normal_table", lambda: table)
    assert golden_digests() != GOLDEN


def test_any_range_equals_the_whole() -> None:
    dataset = make_dataset()
    whole = dataset.rows(0, 2_500)
    for start, stop in [(0, 1), (999, 1_001), (123, 1_777), (2_499, 2_500), (1_000, 2_000)]:
        part = dataset.rows(start, stop)
        for name in ("ids", "embeddings", "confidences", "contents", "clusters"):
            assert np.array_equal(getattr(part, name), getattr(whole, name)[start:stop]), name


def test_count_is_no_part_of_a_row() -> None:
    assert make_dataset(10).spec.fingerprint == make_dataset(2_000).spec.fingerprint
    assert digest_of(make_dataset(10), 0, 10) == digest_of(make_dataset(2_000), 0, 10)


@pytest.mark.parametrize(
    "change",
    [{"seed": 43}, {"std_dev": 0.11}, {"confidence": 0.71}, {"decimals": 5}],
    ids=lambda c: next(iter(c)),
)
def test_each_parameter_changes_the_fingerprint(change: dict[str, float]) -> None:
    assert make_dataset(**change).spec.fingerprint != make_dataset().spec.fingerprint


def test_rows_are_unit_vectors_on_the_grid_near_their_centroid() -> None:
    dataset = make_dataset(std_dev=0.003)
    rows = dataset.rows(0, 500)
    vectors = rows.embeddings / 1e6
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 2e-5
    centroids = dataset.model.centroids / np.linalg.norm(dataset.model.centroids, axis=1, keepdims=True)
    assert np.array_equal((vectors @ centroids.T).argmax(axis=1), rows.clusters)


def test_noise_is_normal() -> None:
    z = normal_table() / 2**24
    assert abs(z.mean()) < 1e-9 and abs(z.var() - 1) < 1e-5
    assert np.all(np.diff(z) > 0)
    words = Stream(1, (NOISE, 0), 1).next_rows(200_000)
    draws = z[words.view("<u2")]
    assert abs(draws.mean()) < 0.005 and abs(draws.var() - 1) < 0.01


def test_confidences_are_uniform_around_the_asked_one_and_clipped() -> None:
    low = make_dataset(confidence=0.7).rows(0, 2_000).confidences
    assert low.min() >= 600_000 and low.max() <= 800_000 and 690_000 < low.mean() < 710_000
    high = make_dataset(confidence=0.98).rows(0, 2_000).confidences
    assert high.max() == 1_000_000 and high.min() >= 880_000


def test_contents_are_unique_and_name_the_topic() -> None:
    dataset = make_dataset()
    rows = dataset.rows(0, 2_500)
    texts = [json.loads(row.tobytes()) for row in rows.contents]
    assert len(set(texts)) == 2_500
    for text, cluster in zip(texts, rows.clusters, strict=True):
        nearest, *others = dataset.model.titles[cluster]
        assert f": near {nearest}, towards " in text
        assert text.rpartition("towards ")[2] in others


def test_clusters_are_all_used_about_equally() -> None:
    sizes = np.bincount(make_dataset().rows(0, 2_500).clusters, minlength=7)
    assert sizes.min() > 250
