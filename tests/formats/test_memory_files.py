"""Files of real memories: the same bits in JSON lines and in Parquet, under their name only when whole."""

import hashlib
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow
import pytest
import xxhash
from numpy.typing import NDArray
from pyarrow import parquet

from synthgen.errors import InputError, ResourceError, UsageError
from synthgen.formats.memory_files import about_path, open_writer
from synthgen.formats.real_memories import MemoryBlock, encode_memories
from synthgen.formats.source import scan_lines
from synthgen.formats.table_source import scan_table
from synthgen.formats.vectors import open_vectors

Vectors = NDArray[np.float32]
DIMENSION = 24
FORMATS = pytest.mark.parametrize("name", ["real.jsonl", "real.parquet"])


def make_block(n: int, first: int = 0, **changes: Any) -> MemoryBlock:
    vectors = np.random.default_rng(first).standard_normal((n, DIMENSION)).astype(np.float32) / 5
    rows = range(first, first + n)
    columns: dict[str, Any] = {
        "ids": [f"wiki-{row}" for row in rows],
        "titles": [f"Title {row}" for row in rows],
        "contents": [f'Title {row}\nA "text" of 語 and \U0001f600' for row in rows],
        "timestamps": ["2023-11-01T00:00:00Z" if row % 2 else "" for row in rows],
        "embeddings": vectors,
        "confidence": 0.8,
        "tags": ("wikipedia", "en"),
    }
    return MemoryBlock(**columns | changes)


def test_a_memory_is_one_line_with_every_bit_of_its_embedding() -> None:
    hard = np.array(
        [[1e-45, -1e-38, 0.1, 1 / 3, 3.4028235e38, -0.0, 1e-7, 16777216, 0.049999997]], np.float32
    )
    block = make_block(1, 1, embeddings=hard)
    (body,) = encode_memories(block)
    assert body.startswith(b'{"id":"wiki-1",') and b"\n" not in body
    memory = json.loads(body)
    assert np.array_equal(np.array(memory.pop("embedding"), np.float64).astype(np.float32), hard[0])
    assert memory == {
        "id": "wiki-1",
        "content": 'Title 1\nA "text" of 語 and \U0001f600',
        "confidence": 0.8,
        "timestamp": "2023-11-01T00:00:00Z",
        "tags": ["wikipedia", "en"],
    }
    bare = json.loads(encode_memories(make_block(1, tags=()))[0])
    assert list(bare) == ["id", "content", "embedding", "confidence"]


def test_every_float32_comes_back_from_its_text() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 200_000, np.uint32)
    floats = bits.view(np.float32)
    floats = floats[np.isfinite(floats)].reshape(1, -1)
    (body,) = encode_memories(make_block(1, embeddings=floats))
    read = np.array(orjson.loads(body)["embedding"], np.float64).astype(np.float32)
    assert np.array_equal(read.view(np.uint32), floats[0].view(np.uint32))


@FORMATS
def test_what_is_no_text_is_mended(name: str, tmp_path: Path) -> None:
    block = make_block(1, contents=["broken \ud83d pair"])
    assert orjson.loads(encode_memories(block)[0])["content"] == "broken ? pair"
    with open_writer(tmp_path / name, DIMENSION) as writer:
        writer.write(block)
        writer.finish({})
    assert read_bodies(tmp_path / name)[0]["content"] == "broken ? pair"


def source_of(path: Path) -> Any:
    return scan_lines(path) if path.suffix == ".jsonl" else scan_table(path)


def read_bodies(path: Path) -> list[dict[str, Any]]:
    source = source_of(path)
    reader = source.open()
    try:
        return [orjson.loads(body) for body in reader.read(0, source.n_rows)]
    finally:
        reader.close()


@FORMATS
def test_blocks_of_any_size_become_one_file_that_is_read_as_it_was_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    blocks = [make_block(n, first) for n, first in ((1, 0), (2_300, 1), (64, 2_301), (0, 9), (700, 2_365))]
    with open_writer(path, DIMENSION, 3_065) as writer:
        for block in blocks:
            writer.write(block)
            assert not path.exists()
        document = writer.finish({"source": "a dump"})
    wanted = [orjson.loads(body) for block in blocks for body in encode_memories(block)]
    assert read_bodies(path) == wanted
    vectors = open_vectors(path)
    embeddings = np.concatenate([block.embeddings for block in blocks])
    assert np.array_equal(vectors.gather(np.arange(len(vectors))), embeddings)
    assert {each.name for each in tmp_path.iterdir()} == {name, about_path(path).name}
    assert json.loads(about_path(path).read_text()) == document
    assert (document["n_memories"], document["dimension"], document["source"]) == (3_065, DIMENSION, "a dump")
    assert document["n_bytes"] == path.stat().st_size
    assert document["xxh3_128"] == xxhash.xxh3_128_hexdigest(path.read_bytes()) == source_of(path).digest


def test_files_of_both_kinds_lie_side_by_side() -> None:
    assert about_path(Path("a/real.jsonl")) == Path("a/real.json")
    assert about_path(Path("a/real.parquet")) == Path("a/real.parquet.json")


def test_a_table_has_the_columns_that_other_tools_want(tmp_path: Path) -> None:
    with open_writer(tmp_path / "x.parquet", DIMENSION) as writer:
        writer.write(make_block(1_500))
        writer.finish({})
    file = parquet.ParquetFile(tmp_path / "x.parquet")
    assert file.schema_arrow.field("embedding").type == pyarrow.list_(pyarrow.float32(), DIMENSION)
    assert file.schema_arrow.field("confidence").type == pyarrow.float64()
    assert [file.metadata.row_group(i).num_rows for i in range(2)] == [1_000, 500]
    assert file.read(["title", "timestamp", "tags"]).slice(0, 2).to_pylist() == [
        {"title": "Title 0", "timestamp": None, "tags": ["wikipedia", "en"]},
        {"title": "Title 1", "timestamp": "2023-11-01T00:00:00Z", "tags": ["wikipedia", "en"]},
    ]


@FORMATS
def test_what_was_not_finished_leaves_the_file_before(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with open_writer(path, DIMENSION) as writer:
        writer.write(make_block(10))
        writer.finish({})
    before = {each: hashlib.sha256(each.read_bytes()).digest() for each in tmp_path.iterdir()}
    with pytest.raises(KeyboardInterrupt), open_writer(path, DIMENSION) as writer:
        writer.write(make_block(1_200))
        raise KeyboardInterrupt
    assert {each: hashlib.sha256(each.read_bytes()).digest() for each in tmp_path.iterdir()} == before
    with open_writer(path, DIMENSION) as writer:
        writer.write(make_block(20))
        writer.finish({})
    assert len(read_bodies(path)) == json.loads(about_path(path).read_text())["n_memories"] == 20


@FORMATS
def test_a_disk_that_takes_no_more_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    """A limit on the size of files stands for it: the same error from the system, in a process of its own."""
    code = """
import resource, sys
from pathlib import Path
from synthgen.errors import ResourceError
from synthgen.formats.memory_files import open_writer
from tests.formats.test_memory_files import DIMENSION, make_block
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
try:
    with open_writer(Path(sys.argv[1]), DIMENSION) as writer:
        for first in range(0, 9_000, 1_000):
            writer.write(make_block(1_000, first))
except ResourceError as error:
    print(error)
"""
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / name)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"{tmp_path / name}: File too large; raise the limit")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_told_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"x\.csv: memories go to a file whose name ends in \.jsonl or"):
        open_writer(tmp_path / "x.csv", DIMENSION)
    with pytest.raises(InputError, match="no such folder"):
        open_writer(tmp_path / "no" / "x.jsonl", DIMENSION)
    with pytest.raises(ResourceError, match="GB free"):
        open_writer(tmp_path / "x.jsonl", DIMENSION, 10**13)
    assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(InputError, match=r"x\.jsonl: vectors of 25 components, not 24"),
        open_writer(tmp_path / "x.jsonl", DIMENSION) as writer,
    ):
        writer.write(make_block(3, embeddings=np.ones((3, 25), np.float32)))


def test_without_pyarrow_a_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"needs the package pyarrow .*pip install"):
        open_writer(tmp_path / "x.parquet", DIMENSION)
    assert list(tmp_path.iterdir()) == []
    open_writer(tmp_path / "x.jsonl", DIMENSION).__exit__(None, None, None)


def save(path: Path, group_rows: int = 700, **columns: Any) -> None:
    parquet.write_table(pyarrow.table(columns), path, row_group_size=group_rows)


def test_rows_of_a_table_are_bodies_in_any_order(tmp_path: Path) -> None:
    path, n = tmp_path / "x.parquet", 1_600
    vectors = make_block(n).embeddings
    instants = pyarrow.array([1_700_000_000 + row for row in range(n)], pyarrow.timestamp("s"))
    contents = [f"c {row}" for row in range(n)]
    save(path, content=contents, vector=list(vectors), timestamp=instants, confidence=[0.5, None] * (n // 2))
    source = scan_table(path)
    assert (source.n_rows, source.name) == (n, str(path))
    reader = source.open()
    everything = list(reader.read(0, n))
    first = orjson.loads(everything[0])
    assert first["id"] == f"row-{source.digest[:8]}-0000000000000" and first["confidence"] == 0.5
    assert first["timestamp"] == "2023-11-14T22:13:20+00:00"
    assert "confidence" not in orjson.loads(everything[1])
    assert len({orjson.loads(body)["id"] for body in everything}) == n
    for start, stop in ((1_599, 1_600), (690, 710), (0, 3), (2, 3), (5, 1_500), (700, 701), (7, 7)):
        assert reader.read(start, stop) == everything[start:stop]
    reader.close()


def test_a_table_of_something_else_is_refused_by_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    save(path, title=["a"], embedding=[[1.0, 2.0]])
    with pytest.raises(InputError, match=r"no column content \(it has title, embedding\); give memories"):
        scan_table(path)
    save(path, content=["a"])
    with pytest.raises(InputError, match="no column of float lists among content"):
        scan_table(path)
    save(
        path,
        content=pyarrow.array([], pyarrow.string()),
        emb=pyarrow.array([], pyarrow.list_(pyarrow.float32())),
    )
    with pytest.raises(InputError, match="holds no memories"):
        scan_table(path)
    save(path, content=["a", "b"], emb=[[1.0, 2.0], None])
    with pytest.raises(InputError, match=r"x\.parquet: row 1 has no vector"):
        read_bodies(path)


@FORMATS
def test_a_file_never_has_its_name_before_its_document(name: str, tmp_path: Path) -> None:
    """What is killed in between is taken up again: a folder of that name stands for the kill."""
    path = tmp_path / name
    with open_writer(path, DIMENSION) as writer:
        writer.write(make_block(10))
        path.mkdir()
        with pytest.raises(ResourceError):
            writer.finish({})
    assert json.loads(about_path(path).read_text())["n_memories"] == 10
    path.rmdir()
    with open_writer(path, DIMENSION) as writer:
        writer.write(make_block(10))
        writer.finish({})
    assert len(read_bodies(path)) == 10


@pytest.mark.parametrize("text", ['{"k": 100}', "[1]", "no JSON", '{"file": "other.jsonl", "n_memories": 3}'])
def test_a_document_of_something_else_is_left_alone(text: str, tmp_path: Path) -> None:
    """`synthgen centroids` writes a real.json beside a real.npy."""
    beside = about_path(tmp_path / "real.jsonl")
    beside.write_text(text)
    with pytest.raises(InputError, match=r"no document of real\.jsonl"):
        open_writer(tmp_path / "real.jsonl", DIMENSION)
    assert beside.read_text() == text and list(tmp_path.iterdir()) == [beside]


VALUES: list[tuple[str, Any, str]] = [
    ("confidence", pyarrow.array([Decimal("0.8")] * 2), '"confidence":0.8'),
    (
        "timestamp",
        pyarrow.array([1_700_000_000_123_456_789] * 2, pyarrow.timestamp("ns")),
        '"timestamp":"2023-11-14T22:13:20.123456+00:00"',
    ),
    ("timestamp", pyarrow.array([2**62] * 2, pyarrow.timestamp("us")), "column timestamp"),
    ("tags", pyarrow.array([[b"a"]] * 2), "row 0 .* bytes"),
]


@pytest.mark.parametrize(("column", "values", "said"), VALUES)
def test_values_of_any_kind_are_read_or_told_of(column: str, values: Any, said: str, tmp_path: Path) -> None:
    vectors = pyarrow.array([[1.0, 2.0]] * 2, pyarrow.list_(pyarrow.float32()))
    table = pyarrow.table({"content": ["a", "b"], "embedding": vectors, column: values})
    parquet.write_table(table, tmp_path / "x.parquet")
    reader = scan_table(tmp_path / "x.parquet").open()
    if said.startswith('"'):
        assert said in reader.read(0, 2)[1].decode()
        return
    with pytest.raises(InputError, match=said):
        reader.read(0, 2)
