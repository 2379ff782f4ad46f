"""The index of vectors alone: what it finds, what it says of its own error, what is left of it in a file."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from synthgen.server import vectors as server_vectors
from synthgen.server.vectors import SIZES, SharedLock, Size, VectorIndex, normalise, size_for
from tests.server.client import vectors

SIZE = Size(1_000, 16, 4)


def clustered(n_rows: int, seed: int = 1) -> NDArray[np.float32]:
    """Vectors of length 1 around forty directions."""
    middles = vectors(40, seed=99)
    which = np.random.default_rng(seed).integers(0, 40, n_rows)
    return normalise(middles[which] + vectors(n_rows, seed))


@pytest.fixture(scope="module")
def rows() -> NDArray[np.float32]:
    return clustered(3_000)


@pytest.fixture
def index(rows: NDArray[np.float32]) -> VectorIndex:
    made = VectorIndex.fit(rows[:1_024], SIZE)
    for start in range(0, len(rows), 700):
        made.add(np.arange(start, min(start + 700, len(rows))), rows[start : start + 700])
    return made


def test_a_space_has_the_index_of_its_size() -> None:
    assert size_for(SIZES[0].n_least - 1) is None
    for size in SIZES:
        assert size_for(size.n_least) == size_for(size.n_least + 1) == size
    assert size_for(10**9) == SIZES[-1]


def test_vectors_of_any_length_are_brought_to_length_1() -> None:
    found = normalise(vectors(4) * np.array([[1e-36], [1.0], [1e30], [3e37]], np.float32))
    assert np.linalg.norm(found.astype(np.float64), axis=1) == pytest.approx(1, abs=1e-6)
    assert found == pytest.approx(normalise(vectors(4)), abs=1e-5)


def test_most_of_the_nearest_are_found(index: VectorIndex, rows: NDArray[np.float32]) -> None:
    queries, n_found = clustered(50, seed=2), 0
    for query in queries:
        with index.lock.shared():
            _, numbers = index.search(query, 60)
        n_found += len(set(numbers) & set(np.argsort(-(rows @ query))[:10]))
    assert n_found >= 0.95 * 500


@pytest.mark.parametrize("law", ["normal", "uniform", "clustered"])
def test_it_looks_into_as_many_lists_as_the_vectors_take(law: str, tmp_path: Path) -> None:
    """Vectors without clusters lie between the lists: what suffices for others holds two thirds of them."""
    rng, size = np.random.default_rng(5), SIZES[0]
    drawn = {
        "normal": lambda n: normalise(rng.standard_normal((n, 768), np.float32)),
        "uniform": lambda n: normalise(rng.random((n, 768), np.float32)),
        "clustered": lambda n: clustered(n, seed=n),
    }[law]
    rows, queries = drawn(5_000), drawn(100)
    index = VectorIndex.fit(rows[::2], size)
    index.add(np.arange(len(rows)), rows)
    truth = np.argsort(-(queries @ rows.T), axis=1)[:, :10]

    def recall(index: VectorIndex) -> float:
        found = [index.search(query, 74)[1] for query in queries]
        return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, truth, strict=True)]))

    before = recall(index)
    assert index.n_probed == size.n_probed
    for _ in index.widen(rows[1::40]):
        pass
    assert recall(index) >= 0.95
    index.wear = index.wear.begun()
    for start in range(0, 5_000, 1_000):
        index.add(np.arange(5_000 + start, 6_000 + start), drawn(5_001)[start : start + 1_000])
        index.wear.look()
    assert not index.wear.is_worn, "they are of the same kind"
    if law == "normal":
        assert before < 0.75 and index.n_probed > size.n_probed
    if law == "clustered":
        assert before >= 0.99 and index.n_probed == size.n_probed
        index.add(np.arange(10_000, 16_000), np.roll(drawn(6_000), 5, axis=1))  # another kind
        index.wear.loose_new = 0  # which would tell, too
        index.wear.look()
        assert index.wear.is_worn
    index.save(tmp_path / "x")
    assert VectorIndex.load(tmp_path / "x", index.loose, index.wear).n_probed == index.n_probed


def test_an_index_that_holds_next_to_nothing_is_asked_in_vain(rows: NDArray[np.float32]) -> None:
    index = VectorIndex.fit(rows[:1_024], SIZE)
    index.add(np.arange(3), rows[:3])
    for asked in (rows[:0], rows[:3]):
        for _ in index.widen(asked):
            pass
        assert SIZE.n_probed <= index.n_probed <= SIZE.n_lists


def test_no_cosine_is_off_by_more_than_the_error(index: VectorIndex, rows: NDArray[np.float32]) -> None:
    """Also of vectors unlike any of the sample: those are loose, and named."""
    odd = normalise(np.eye(768, dtype=np.float32)[:20])
    index.add(np.arange(len(rows), len(rows) + 20), odd)
    stored = np.concatenate((rows, odd))
    assert set(range(3_000, 3_020)) <= index.loose and len(index.loose) < 100
    for query in (*clustered(20, seed=3), *odd[:3]):
        with index.lock.shared():
            cosines, numbers = index.search(query, len(stored), all_lists=True)
        assert sorted(numbers) == list(range(len(stored)))
        kept = ~np.isin(numbers, list(index.loose))
        errors = np.abs(stored[numbers] @ query - cosines)[kept]
        assert 1e-4 < errors.max() < index.error


def test_what_is_removed_is_not_found(index: VectorIndex, rows: NDArray[np.float32]) -> None:
    index.add(np.array([9_000]), normalise(np.eye(768, dtype=np.float32)[:1]))
    assert 9_000 in index.loose
    index.remove(np.array([5, 9_000]))
    with index.lock.shared():
        _, numbers = index.search(rows[5], 3_000, all_lists=True)
    assert 5 not in numbers and len(numbers) == len(rows) - 1 == len(index)
    assert 9_000 not in index.loose


def test_a_file_holds_it_whole(
    index: VectorIndex, rows: NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_vectors, "SIZES", (*SIZES, SIZE))
    index.save(tmp_path / "x")
    again = VectorIndex.load(tmp_path / "x", index.loose, index.wear)
    for query in rows[:20]:
        for both in zip(index.search(query, 30), again.search(query, 30), strict=True):
            assert np.array_equal(*both)
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match="16 lists"):
        VectorIndex.load(tmp_path / "x", [], index.wear)
    (tmp_path / "x").write_bytes(b"no index")
    with pytest.raises(RuntimeError):
        VectorIndex.load(tmp_path / "x", [], index.wear)


def test_it_can_be_searched_while_it_grows(rows: NDArray[np.float32]) -> None:
    index = VectorIndex.fit(rows[:1_024], SIZE)
    index.add(np.arange(1_000), rows[:1_000])
    missed: list[int] = []

    def search() -> None:
        for number in range(0, 1_000, 3):
            with index.lock.shared():
                cosines, numbers = index.search(rows[number], 5)
            if number not in numbers or not np.isfinite(cosines).all():
                missed.append(number)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for start in range(1_000, 3_000, 50):
        index.add(np.arange(start, start + 50), rows[start : start + 50])
    for thread in threads:
        thread.join()
    assert not missed and len(index) == 3_000


def test_who_wants_the_lock_alone_is_let_in_before_new_sharers() -> None:
    lock, order = SharedLock(), list[str]()
    first = lock.shared()
    first.__enter__()

    def alone() -> None:
        with lock.alone():
            order.append("alone")

    def share() -> None:
        with lock.shared():
            order.append("shared")

    wanting = threading.Thread(target=alone)
    wanting.start()
    while not lock._n_wanting:
        pass
    sharing = threading.Thread(target=share)
    sharing.start()
    sharing.join(0.2)
    assert order == []
    first.__exit__(None, None, None)
    wanting.join()
    sharing.join()
    assert order == ["alone", "shared"]
