"""Queries: held out of the dataset that they are meant for, exact, and as far out of it as asked."""

import json
import math
import pickle
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from synthgen.errors import InputError, UsageError
from synthgen.generate.dataset import Dataset
from synthgen.generate.isotropic import normal_table
from synthgen.generate.laws import Model
from synthgen.generate.shift import Shift, add_unit, common_direction, scatter_of
from synthgen.specs import MAX_QUERIES, MAX_ROWS, QUERY_CHUNK, DatasetSpec, describe_difference
from tests.datasets import make_dataset, make_mixture, make_model
from tests.generate.test_dataset import digest_of

GOLDEN_PATH = Path(__file__).parent.parent / "golden" / "queries.json"
#: Number of the row that query 0 is made of.
FIRST = QUERY_CHUNK * 1_000

MODELS: dict[str, Model] = {
    "isotropic": make_model(),
    "mixture": make_mixture(),
    "lengths": make_mixture(60, 101, titles=False, longest=31.5),
}


def make_queries(law: str = "mixture", shift: float = 0.0, **parameters: float | None) -> Dataset:
    dataset = make_dataset(model=MODELS[law], **parameters)
    return Dataset(replace(dataset.spec, role="queries", shift=shift), dataset.model)


def golden_digests() -> dict[str, str]:
    return {
        "isotropic, shift 0, queries 0 to 1,499": digest_of(make_queries("isotropic"), 0, 1_500),
        "isotropic, shift 0.5, queries 0 to 1,499": digest_of(make_queries("isotropic", 0.5), 0, 1_500),
        "isotropic, shift 1, queries 10**11 to 10**11 + 9, 4 decimals": digest_of(
            make_queries("isotropic", 1.0, decimals=4), 10**11, 10**11 + 10
        ),
        "mixture, shift 0, queries 0 to 1,499": digest_of(make_queries("mixture"), 0, 1_500),
        "mixture, shift 0.5, queries 0 to 1,499": digest_of(make_queries("mixture", 0.5), 0, 1_500),
        "mixture, shift 0.25, seed 7, 7 decimals, outlier_rate 0.1": digest_of(
            make_queries("mixture", 0.25, seed=7, decimals=7, outlier_rate=0.1), 950, 1_050
        ),
        "lengths, shift 0.5, 101 components": digest_of(make_queries("lengths", 0.5), 0, 500),
    }


def golden() -> dict[str, str]:
    digests: dict[str, str] = json.loads(GOLDEN_PATH.read_text())
    return digests


def unit(rows: NDArray[np.int32]) -> NDArray[np.float64]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def cosines(a: NDArray[np.int32], b: NDArray[np.int32]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = (unit(a) * unit(b)).sum(axis=1)
    return result


def test_golden_digests_notice_one_changed_number(monkeypatch: pytest.MonkeyPatch) -> None:
    table = normal_table().copy()
    table[(common_direction_words() >> np.uint64(48))[5]] += 1 << 20  # a draw of the common direction
    monkeypatch.setattr("synthgen.generate.shift.normal_table", lambda: table)
    changed = {name for name, digest in golden_digests().items() if digest != golden()[name]}
    assert changed and not any("shift 0," in name or "seed 7" in name for name in changed)


def common_direction_words() -> NDArray[np.uint64]:
    sequence = np.random.SeedSequence(entropy=42, spawn_key=(7, 0))
    return np.random.PCG64DXSM(sequence).random_raw(768)


@pytest.mark.parametrize("law", MODELS)
def test_without_a_shift_a_query_is_a_far_row_of_the_dataset(law: str) -> None:
    queries = make_queries(law)
    rows = Dataset(replace(queries.spec, role="rows"), queries.model)
    asked, far = queries.rows(0, 1_200), rows.rows(FIRST, FIRST + 1_200)
    for name in ("embeddings", "confidences", "clusters"):
        assert np.array_equal(getattr(asked, name), getattr(far, name)), name
    assert asked.start == 0
    assert bytes(asked.ids[7]).decode() == f"qry-{queries.spec.fingerprint[:8]}-0000000000007"
    text, said = json.loads(bytes(asked.contents[7])), json.loads(bytes(far.contents[7]))
    assert text.partition(":")[0] == "Synthetic query 0000000000007"
    assert text.partition(":")[2] == said.partition(":")[2]


@pytest.mark.parametrize("law", ["isotropic", "mixture"])
@pytest.mark.parametrize("shift", [0.0, 0.01])
def test_no_query_is_a_row(law: str, shift: float) -> None:
    queries = make_queries(law, shift)
    rows = Dataset(replace(queries.spec, role="rows", shift=0.0), queries.model)
    both = np.concatenate([queries.rows(0, 1_500).embeddings, rows.rows(0, 2_500).embeddings])
    assert len(np.unique(both, axis=0)) == 4_000
    ids = np.concatenate([queries.rows(0, 1_500).ids, rows.rows(0, 1_500).ids])
    assert len(np.unique(ids, axis=0)) == 3_000


def test_no_count_reaches_the_queries() -> None:
    rows, queries = make_dataset().spec, make_queries().spec
    assert replace(rows, count=MAX_ROWS).count == FIRST
    assert replace(queries, count=MAX_QUERIES).count < MAX_ROWS
    for spec, most in ((rows, MAX_ROWS), (queries, MAX_QUERIES)):
        with pytest.raises(UsageError, match=f"--count must be a whole number from 1 to {most:,}"):
            replace(spec, count=most + 1)
    last = make_queries("mixture", 0.5).rows(MAX_QUERIES - 2, MAX_QUERIES)
    assert len(np.unique(last.embeddings, axis=0)) == 2


@pytest.mark.parametrize("law", MODELS)
def test_any_range_equals_the_whole(law: str) -> None:
    queries = make_queries(law, 0.5)
    whole = queries.rows(0, 2_100)
    for start, stop in [(0, 1), (999, 1_001), (123, 1_777), (2_099, 2_100)]:
        part = queries.rows(start, stop)
        for name in ("ids", "embeddings", "confidences", "contents", "clusters"):
            assert np.array_equal(getattr(part, name), getattr(whole, name)[start:stop]), name


@pytest.mark.parametrize("law", MODELS)
@pytest.mark.parametrize("shift", [0.1, 0.6, 1.0])
def test_a_query_keeps_its_length_and_the_asked_part_of_its_direction(law: str, shift: float) -> None:
    before, after = (make_queries(law, size).rows(0, 1_000).embeddings for size in (0.0, shift))
    lengths = np.linalg.norm(before, axis=1), np.linalg.norm(after, axis=1)
    assert np.abs(lengths[1] / lengths[0] - 1).max() < 1e-5
    assert np.abs(after).max() <= make_queries(law, shift).grid.largest
    assert abs(cosines(before, after).mean() - math.sqrt(1 - shift**2)) < 0.02
    assert cosines(before, after).std() < 0.2


def test_queries_have_one_direction_in_common_and_each_its_own() -> None:
    shift, common = 0.6, common_direction(42, 768)
    shifted, plain = (unit(make_queries("mixture", s).rows(0, 1_000).embeddings) for s in (shift, 0.0))
    along = shifted @ common
    assert abs(along.mean() - shift / math.sqrt(2)) < 0.02 and along.std() < 0.05
    assert np.abs(plain @ common).mean() < 0.05
    rest = shifted - plain * math.sqrt(1 - shift**2) - common * shift / math.sqrt(2)
    rest /= np.linalg.norm(rest, axis=1, keepdims=True)
    assert np.abs(rest[:500] @ rest[500:].T).mean() < 0.5, "the rest is each query's own"
    assert not np.array_equal(common_direction(43, 768), common)
    assert abs(np.linalg.norm(common) - 1) < 1e-12


def test_the_shift_of_a_query_lies_where_rows_do() -> None:
    """So that its neighbours are others, not the same at a larger distance."""
    rows = unit(make_dataset(2_000, model=MODELS["mixture"]).rows(0, 2_000).embeddings)
    plain, shifted = (unit(make_queries("mixture", s).rows(0, 300).embeddings) for s in (0.0, 0.8))
    rest = shifted - plain * 0.6 - common_direction(42, 768) * 0.8 / math.sqrt(2)
    rest /= np.linalg.norm(rest, axis=1, keepdims=True)
    random = np.random.default_rng(0).standard_normal(rest.shape)
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    assert (rest @ rows.T).std() > 2 * (random @ rows.T).std()


def test_a_larger_shift_lies_farther_from_all_rows_and_its_neighbours_from_each_other() -> None:
    rows = unit(make_dataset(2_500, model=MODELS["mixture"]).rows(0, 2_500).embeddings)
    nearest, among = [], []
    for shift in (0.0, 0.4, 0.8, 1.0):
        found = unit(make_queries("mixture", shift).rows(0, 300).embeddings) @ rows.T
        nearest.append(found.max(axis=1).mean())
        ten = rows[np.argsort(-found, axis=1)[:, :10]]
        among.append((np.square(ten.sum(axis=1)).sum(axis=1).mean() - 10) / 90)
    assert all(a > b + 0.02 for a, b in pairwise(nearest)), nearest
    assert among[0] > among[2] + 0.01 > among[3] + 0.02, among


def test_the_shift_is_exact() -> None:
    """Beside float64: the same sums in integers, and every intermediate number below 2**53."""
    random = np.random.default_rng(3)
    rows = np.rint(unit(random.integers(-99, 99, (5, 20, 96)).reshape(100, 96)) * 1e7).astype(np.int32)
    parts = rows.reshape(5, 20, 96)
    total = np.zeros((20, 96))
    for sign, part in zip((1, -1, 1, -1), parts[1:], strict=True):
        add_unit(total, part, sign)
    units = [unit(part) for part in parts]
    assert np.abs(total - (units[1] - units[2] + units[3] - units[4])).max() < 1e-15
    integers = np.rint(total * 2.0**24).astype(np.int64)
    assert (np.square(integers).sum(axis=1) < 2**53).all()
    scatter = scatter_of(total)
    assert np.abs(np.linalg.norm(scatter, axis=1) - 1).max() < 1e-14
    made = Shift(0.7, 5, 96, 10**7).apply(parts[0], scatter)
    wanted = math.sqrt(1 - 0.49) * units[0] + 0.7 * (common_direction(5, 96) + scatter) / math.sqrt(2)
    assert (np.square(np.rint(wanted * 2.0**25)).sum(axis=1) < 2**53).all()
    lengths = np.linalg.norm(parts[0], axis=1, keepdims=True)
    wanted *= lengths / np.linalg.norm(wanted, axis=1, keepdims=True)
    assert np.abs(made - wanted).max() < 1.5


def test_vectors_without_a_direction_stay_without_one() -> None:
    equal = np.full((2, 8), 300, np.int32)
    total = np.zeros((2, 8))
    for sign in (1, -1, 1, -1):
        add_unit(total, equal, sign)
    scatter = scatter_of(total)
    assert not scatter.any()
    shifted = Shift(0.5, 1, 8, 900).apply(equal, scatter)
    assert np.abs(np.linalg.norm(shifted, axis=1) / np.linalg.norm(equal, axis=1) - 1).max() < 0.01
    assert not Shift(0.5, 1, 8, 900).apply(np.zeros((2, 8), np.int32), scatter).any()


def test_no_component_leaves_the_grid() -> None:
    """However long rounding makes a row, and however well it lies along an axis."""
    row = np.array([[707, 708]], np.int32)  # longer than the 1,000 steps of a unit vector
    along_an_axis = np.array([[1.0, 0.0]]) - common_direction(1, 2)
    assert Shift(1.0, 1, 2, 1_000).apply(row, along_an_axis).tolist() == [[1_000, 0]]


def test_role_and_shift_are_part_of_queries_alone() -> None:
    rows, queries = make_dataset().spec, make_queries("isotropic", 0.25).spec
    assert rows.identity().keys() == {"format_version", "generator_version", "seed", "model", "parameters"}
    assert "shift" not in rows.identity()["parameters"]
    assert queries.identity()["role"] == "queries" and queries.identity()["parameters"]["shift"] == 0.25
    assert queries.dataset_fingerprint == rows.fingerprint == rows.dataset_fingerprint
    assert queries.to_document()["dataset_fingerprint"] == rows.fingerprint
    assert "dataset_fingerprint" not in rows.to_document()
    fingerprints = [
        rows,
        queries,
        replace(queries, shift=0.5),
        replace(queries, shift=0),
        make_queries().spec,
    ]
    assert len({spec.fingerprint for spec in fingerprints}) == 5
    assert replace(queries, shift=-0.0).fingerprint == replace(queries, shift=0).fingerprint
    assert describe_difference(rows, queries).startswith("role rows -> queries")


def test_a_fingerprint_of_rows_is_what_it_was() -> None:
    fingerprint = make_dataset().spec.fingerprint
    assert fingerprint == "2c39ed725d6a017dc5e73aad15a54facc7eb7a9ea5dc2d435bd6a0d195ea43b8"


def test_a_spec_of_queries_reads_back() -> None:
    spec = make_queries("mixture", 0.3, zipf=0.5).spec
    assert DatasetSpec.from_document(json.loads(json.dumps(spec.to_document()))) == spec
    with pytest.raises(InputError, match="fingerprint does not match"):
        DatasetSpec.from_document({**spec.to_document(), "role": "rows", "parameters": {}})
    queries = make_queries("mixture", 0.3)
    copy = pickle.loads(pickle.dumps(queries))
    assert digest_of(copy, 0, 20) == digest_of(queries, 0, 20)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shift": 0.5}, "--shift is a parameter of queries"),
        ({"role": "queries", "shift": 1.5}, "--shift must be a number from 0 to 1, not 1.5"),
        ({"role": "queries", "shift": math.nan}, "--shift must be a number from 0 to 1, not nan"),
        ({"role": "queries", "shift": -0.1}, "--shift must be"),
        ({"role": "questions"}, "no role is called 'questions'; there are: rows, queries"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(make_dataset().spec, **changes)  # type: ignore[arg-type]
