"""A dataset as a sequence: any row, any slice, as in the file bit for bit, at one price."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import pytest

from synthgen.formats import memories as module
from synthgen.formats.memories import Memories, MemoryDataset
from synthgen.generate import dataset as dataset_module
from synthgen.generate import streams
from synthgen.generate.dataset import Dataset
from synthgen.generate.laws import Model
from synthgen.phases.datasets import source_of
from synthgen.specs import MAX_ROWS
from tests.datasets import make_dataset, make_mixture, make_model

KINDS: dict[str, tuple[Callable[[], Model], dict[str, Any]]] = {
    "isotropic": (make_model, {}),
    "no titles, 100 components": (lambda: make_model(3, 100, titles=False), {"decimals": 4}),
    "fitted": (make_mixture, {}),
    "fitted, near copies and outliers": (
        make_mixture,
        {"near_duplicate_rate": 0.3, "outlier_rate": 0.2, "decimals": 7},
    ),
    "fitted, long vectors": (lambda: make_mixture(longest=3_000.0), {}),
    "shifted queries": (make_mixture, {"role": "queries", "shift": 0.5}),
}


def opened(kind: str = "isotropic", count: int = 2_500) -> MemoryDataset:
    make, parameters = KINDS[kind]
    dataset = make_dataset(count, model=make(), **parameters)
    return MemoryDataset(dataset, dataset.spec, dataset.grid)


def lines_of(memories: MemoryDataset, start: int, stop: int) -> list[dict[str, Any]]:
    """The rows as a reader of the file finds them."""
    assert isinstance(memories._maker, Dataset)
    reader = source_of(memories._maker).open()
    return [json.loads(line) for line in reader.read(start, stop)]


def same(a: Memories, b: Memories) -> bool:
    return (
        (a.ids, a.contents) == (b.ids, b.contents)
        and np.array_equal(a.embeddings, b.embeddings)
        and np.array_equal(a.confidences, b.confidences)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_those_of_the_file_bit_for_bit(kind: str) -> None:
    memories = opened(kind)
    for start, stop in [(0, 3), (995, 1_005), (2_498, 2_500)]:
        part = memories[start:stop]
        for line, memory in zip(lines_of(memories, start, stop), part, strict=True):
            assert (memory.id, memory.content) == (line["id"], line["content"])
            assert memory.confidence == line["confidence"] and type(memory.confidence) is float
            expected = np.array(line["embedding"], np.float64).astype(np.float32)
            assert memory.embedding.dtype == np.float32
            assert memory.embedding.tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_every_way_to_a_row_gives_the_same(kind: str) -> None:
    memories = opened(kind, 1_203)
    whole = memories[:]
    assert isinstance(whole, Memories) and len(whole) == len(memories) == 1_203
    for row in (0, 7, 999, 1_000, 1_202):
        assert memories[row] == whole[row] == memories[row - 1_203] == memories[np.int64(row)]
    for ours, theirs in zip(memories, whole, strict=True):
        assert ours == theirs
    assert [m.id for m in reversed(memories)] == whole.ids[::-1]
    assert np.array_equal(memories.embeddings(990, 1_010), whole.embeddings[990:1_010])
    assert np.array_equal(memories.embeddings(), whole.embeddings)


@pytest.mark.parametrize(
    "key",
    [slice(3, 9), slice(-5, None), slice(None, None, -1), slice(990, 1_010, 3), slice(2_400, 100, -700)]
    + [slice(None, None, step) for step in (7, 59, 60, 999, 1_000, -61)]
    + [slice(5, 5), slice(9, 3), slice(2_490, 10**9), slice(-(10**9), 4), slice(1, 2, 100)],
    ids=str,
)
def test_slices_are_those_of_a_list(key: slice) -> None:
    memories = opened("fitted, near copies and outliers")
    whole = memories[:]
    assert same(memories[key], whole[key])
    rows = list(range(2_500))[key]
    assert memories[key].ids == [memories.spec.memory_id(row) for row in rows]


def test_a_change_of_one_number_is_seen() -> None:
    memories = opened()
    other = memories[0]
    other.embedding[3] = np.nextafter(other.embedding[3], np.float32(1))
    assert other != memories[0] and memories[0] == memories[0] and memories[0] != memories[1]
    assert memories[0] != "a text" and len({memories[0], memories[0], memories[1]}) == 2


@pytest.mark.parametrize("row", [2_500, -2_501, 10**15])
def test_beyond_the_rows_is_an_index_error(row: int) -> None:
    with pytest.raises(IndexError, match=r"row -?[\d,]+ of a dataset of 2,500"):
        opened()[row]


@pytest.mark.parametrize("key", ["5", 1.0, None, (1, 2)])
def test_what_is_no_row_is_a_type_error(key: Any) -> None:
    with pytest.raises(TypeError):
        opened()[key]


class _Work:
    """Counts what is drawn: random words, by stream, and rows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.words, self.rows, self.generators = 0, 0, 0
        next_rows, blocks = streams.Stream.next_rows, Dataset.blocks

        def count_words(stream: streams.Stream, n_rows: int) -> Any:
            words = next_rows(stream, n_rows)
            self.words += len(words)
            return words

        def count_rows(dataset: Dataset, start: int, stop: int) -> Iterator[Any]:
            for block in blocks(dataset, start, stop):
                self.rows += len(block)
                yield block

        generator = np.random.PCG64DXSM

        def count_generators(*arguments: Any) -> Any:
            self.generators += 1
            return generator(*arguments)

        monkeypatch.setattr(streams.Stream, "next_rows", count_words)
        monkeypatch.setattr(dataset_module.Dataset, "blocks", count_rows)
        monkeypatch.setattr(streams.np.random, "PCG64DXSM", count_generators)

    def of(self, ask: Callable[[], object]) -> tuple[int, int, int]:
        self.words = self.rows = self.generators = 0
        ask()
        return self.words, self.rows, self.generators


@pytest.mark.parametrize("kind", ["isotropic", "fitted", "fitted, near copies and outliers"])
def test_row_ten_to_the_twelfth_costs_what_row_0_does(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    memories = opened(kind, MAX_ROWS)
    work = _Work(monkeypatch)
    first = work.of(lambda: memories[0])
    assert first[1] == 1 and first[2] <= 7
    for row in (10**12, 10**12 + 999, MAX_ROWS - 1, -1):
        assert work.of(lambda row=row: memories[row]) == first  # type: ignore[misc]
    if kind != "fitted, near copies and outliers":  # whose copies are found among a chunk's rows
        assert first[0] < 300
        assert work.of(lambda: memories[5:1_005])[0] > 500 * first[0], "the count of words counts nothing"


def test_a_slice_makes_no_more_than_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    memories = opened("isotropic", MAX_ROWS)
    work = _Work(monkeypatch)
    assert work.of(lambda: memories[10**12 : 10**12 + 7])[1] == 7
    assert work.of(lambda: memories[:: 10**11])[1] == 22
    assert work.of(lambda: memories[0:100:9])[1] == 100
    assert work.of(lambda: memories[5:5])[:2] == (0, 0)
    assert work.of(lambda: list(islice(memories, 5)))[1] == 1_000


def test_iteration_holds_one_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    memories = opened("isotropic", 3_500)
    sizes = []
    make = MemoryDataset._make
    monkeypatch.setattr(MemoryDataset, "_make", lambda self, r: sizes.append(len(r)) or make(self, r))
    assert sum(1 for _ in memories) == 3_500
    assert sizes == [1_000, 1_000, 1_000, 500]
    assert all(m.embedding.base is None for m in islice(memories, 3)), "a kept row would keep its chunk"


def test_rows_asked_for_within_an_iteration_disturb_nothing() -> None:
    memories = opened("fitted")
    expected = memories[:300]
    for row, memory in enumerate(islice(memories, 300)):
        assert memories[2_400 - row] == memories[2_400 - row]
        assert memory == expected[row]


def test_several_threads_get_the_right_rows() -> None:
    memories = opened("fitted")
    expected = list(memories)
    wanted = [row * 37 % 2_500 for row in range(600)]

    def mistakes() -> int:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(memories.__getitem__, wanted))
        return sum(memory != expected[row] for row, memory in zip(wanted, found, strict=True))

    assert mistakes() == 0


def test_only_one_thread_at_a_time_makes_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    memories, inside, most = opened(), [0], [0]
    decode = module._decode_ids

    def slow(ids: Any) -> list[str]:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        threading.Event().wait(0.002)
        inside[0] -= 1
        return decode(ids)

    monkeypatch.setattr(module, "_decode_ids", slow)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(memories.__getitem__, range(40)))
    assert most == [1]


def test_pickled_it_is_the_same() -> None:
    for kind in KINDS:
        memories = opened(kind)
        assert memories[5].id  # what is made for it does not travel
        assert isinstance(memories._maker, Dataset)
        model_bytes = memories._maker.model_bytes
        there = pickle.loads(pickle.dumps(memories))
        assert len(pickle.dumps(memories)) < model_bytes + 50_000
        assert there[5] == memories[5] and there.spec == memories.spec and repr(there) == repr(memories)


def _ask(memories: MemoryDataset, answers: Any) -> None:
    answers.put([memories[1_234].id, memories[1_234].embedding.tobytes()])


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # to fork then is what is tested
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_get_the_same_rows_even_when_forked_in_the_middle(method: str) -> None:
    memories = opened("fitted")
    context = multiprocessing.get_context(method)
    answers = context.SimpleQueue()
    expected = memories[1_234]
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with memories._exclusive():
            held.set()
            release.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    process = context.Process(target=_ask, args=(memories, answers))  # type: ignore[attr-defined]
    process.start()
    process.join(60)
    release.set()
    thread.join()
    assert process.exitcode == 0, "it waits for a thread that it has not"
    assert answers.get() == [expected.id, expected.embedding.tobytes()]


def test_what_they_look_like() -> None:
    memories = opened("shifted queries")
    assert repr(memories) == (
        f"<synthgen dataset {memories.fingerprint[:8]}: 2,500 queries (shift 0.5) of 768 components, "
        "mixture law, seed 42, model centroids.npy>"
    )
    assert "2,500 memories of 768" in repr(opened())
    text = repr(opened()[7])
    assert text.startswith("Memory(id='syn-") and text.count(", ...] of 768") == 1 and len(text) < 250
    part = opened()[7:9]
    assert repr(part) == f"<2 memories of 768 components, {part.ids[0]} to {part.ids[1]}>"
    assert repr(part[2:]) == "<0 memories of 768 components>"
