"""Lines of one length that any JSON reader reads back exactly."""

import json

import numpy as np
import orjson
import pytest

from synthgen.formats.jsonl import LineEncoder, LineLayout
from synthgen.phases.datasets import source_of
from synthgen.specs import Rows
from tests.datasets import make_dataset


@pytest.mark.parametrize("decimals", [4, 5, 6, 7])
def test_lines_read_back_as_the_rows(decimals: int) -> None:
    dataset = make_dataset(decimals=decimals)
    source = source_of(dataset)
    rows = dataset.rows(0, 150)
    for i, body in enumerate(source.open().read(0, 150)):
        memory = json.loads(body)
        assert list(memory) == ["id", "content", "embedding", "confidence"]
        assert memory["id"] == dataset.spec.memory_id(i)
        assert np.array_equal(np.rint(np.array(memory["embedding"]) * 10**decimals), rows.embeddings[i])
        assert round(memory["confidence"] * 1e6) == rows.confidences[i]
        assert memory["content"] == json.loads(rows.contents[i].tobytes())
        assert len(body) == source.layout.line_bytes - 1


@pytest.mark.parametrize("decimals", [4, 5, 6, 7])
def test_every_kind_of_number_is_written_right(decimals: int) -> None:
    one = 10**decimals
    numbers = [0, 1, -1, 9, 10, -10, 99, -100, one // 2, -one // 2, one - 1, 1 - one, one, -one, 12_345 % one]
    grid = np.array([numbers], np.int32)
    rows = Rows(
        0,
        np.frombuffer(b"ab", np.uint8).reshape(1, 2),
        grid,
        np.array([1_000_000], np.int32),
        np.frombuffer(b'"x" ', np.uint8).reshape(1, 4),
        np.empty(0, np.int64),
    )
    line = LineEncoder(LineLayout(2, 4, len(numbers), decimals)).encode(rows).tobytes()
    memory = orjson.loads(line)
    assert [round(x * one) for x in memory["embedding"]] == numbers
    assert memory["confidence"] == 1.0 and memory["content"] == "x" and memory["id"] == "ab"
    texts = line.split(b"[")[1].split(b"]")[0].split(b",")
    assert {len(text) for text in texts} == {decimals + 3}
