"""Parquet files as pyarrow and DuckDB read them: types, metadata, row groups that are skipped."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow
import pyarrow.dataset
import pyarrow.parquet
import pytest

from synthgen.formats.outputs import make_encoding
from synthgen.generate.dataset import Dataset
from synthgen.phases.datasets import encoding_of
from tests.datasets import make_dataset, make_mixture, make_model
from tests.outputs import Columns, encode, read_back, same_bits


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return make_dataset(2_500)


@pytest.fixture(scope="module")
def path(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parquet") / "x.parquet"
    path.write_bytes(encode(dataset, "parquet").data)
    return path


@pytest.fixture(scope="module")
def lines(dataset: Dataset) -> Columns:
    return read_back(encode(dataset, "jsonl").data, "jsonl")


def test_the_schema_is_that_of_a_list_of_floats(path: Path) -> None:
    schema = pyarrow.parquet.read_schema(path)
    kinds = {name: schema.field(name).type for name in schema.names}
    assert kinds == {
        "id": pyarrow.string(),
        "content": pyarrow.string(),
        "embedding": pyarrow.list_(pyarrow.field("element", pyarrow.float32(), nullable=False)),
        "confidence": pyarrow.float64(),
    }
    assert not any(schema.field(name).nullable for name in schema.names)


def test_the_metadata_tell_row_groups_and_the_spec(path: Path, dataset: Dataset) -> None:
    metadata = pyarrow.parquet.ParquetFile(path).metadata
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [1_000, 1_000, 500]
    assert metadata.num_rows == 2_500 and metadata.num_columns == 4
    spec = json.loads(metadata.metadata[b"synthgen"])
    assert spec["seed"] == 42 and spec["count"] == 2_500 and spec["model"]["digest"] == dataset.model.digest
    at = 4
    for group in groups:  # pages lie one behind the other, from the magic bytes on
        for column in (group.column(i) for i in range(4)):
            assert column.data_page_offset == at and column.compression == "UNCOMPRESSED"
            at += column.total_compressed_size
        assert group.column(2).num_values == 768 * group.num_rows
    assert at == path.stat().st_size - metadata.serialized_size - 8


def test_duckdb_reads_the_same_rows(path: Path, lines: Columns) -> None:
    table = duckdb.sql(f"select * from '{path}'").to_arrow_table()
    assert table["id"].to_pylist() == lines.ids
    assert table["content"].to_pylist() == lines.contents
    assert table["confidence"].to_pylist() == lines.confidences
    flat = table["embedding"].combine_chunks().flatten().to_numpy()
    assert same_bits(flat.reshape(2_500, 768), lines.embeddings)
    assert lines.ids is not None
    one = duckdb.sql(
        f"select len(embedding), content from '{path}' where id = '{lines.ids[1_700]}'"
    ).fetchall()
    assert lines.contents is not None and one == [(768, lines.contents[1_700])]


def test_ids_in_the_statistics_let_readers_skip_row_groups(path: Path, lines: Columns) -> None:
    assert lines.ids is not None
    wanted = lines.ids[1_234]
    fragments = list(
        pyarrow.dataset.dataset(path).get_fragments(filter=pyarrow.dataset.field("id") == wanted)
    )
    kept = [
        group.id
        for fragment in fragments
        for group in fragment.split_by_row_group(pyarrow.dataset.field("id") == wanted)[0].row_groups
    ]
    assert kept == [1]
    found = pyarrow.dataset.dataset(path).to_table(filter=pyarrow.dataset.field("id") == wanted)
    assert found["id"].to_pylist() == [wanted]
    assert same_bits(np.array(found["embedding"].to_pylist(), np.float32), lines.embeddings[1_234:1_235])


def test_wrong_statistics_would_hide_rows(path: Path, tmp_path: Path, lines: Columns) -> None:
    assert lines.ids is not None
    data = bytearray(path.read_bytes())
    footer_at = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    at = data.index(lines.ids[1_999].encode(), footer_at)  # the largest id of group 1, as 0
    data[at : at + len(lines.ids[0])] = lines.ids[0].encode()
    wrong = tmp_path / "wrong.parquet"
    wrong.write_bytes(data)
    found = pyarrow.dataset.dataset(wrong).to_table(filter=pyarrow.dataset.field("id") == lines.ids[1_234])
    assert found.num_rows == 0


def test_a_row_group_can_be_read_alone(path: Path, lines: Columns) -> None:
    group = pyarrow.parquet.ParquetFile(path).read_row_group(2, columns=["content", "confidence"])
    assert lines.contents is not None and lines.confidences is not None
    assert group["content"].to_pylist() == lines.contents[2_000:]
    assert group["confidence"].to_pylist() == lines.confidences[2_000:]


def test_rows_of_a_range_make_a_file_of_their_own() -> None:
    dataset = make_dataset(2_500, model=make_mixture())
    whole = read_back(encode(dataset, "parquet").data, "parquet")
    encoding = make_encoding(
        "parquet", encoding_of(dataset, "parquet").layout, dataset.spec, range(700, 1_900)
    )
    encoder, data, starts = encoding.open(), bytearray(encoding.head()), [4]
    for start, stop in ((700, 1_700), (1_700, 1_900)):
        data += b"".join(bytes(piece) for piece in encoder.encode(dataset, start, stop))
        starts.append(len(data))
    data += b"".join(encoding.tail(starts))
    part = read_back(bytes(data), "parquet")
    assert whole.ids is not None and part.ids == whole.ids[700:1_900]
    assert same_bits(part.embeddings, whole.embeddings[700:1_900])
    metadata = pyarrow.parquet.ParquetFile(io.BytesIO(bytes(data))).metadata
    assert metadata.row_group(1).column(0).statistics.min == dataset.spec.memory_id(1_700)


def test_bytes_do_not_depend_on_where_the_model_lies() -> None:
    dataset = make_dataset(10, model=make_model(dimension=100))
    spec = replace(dataset.spec, model=replace(dataset.spec.model, source="elsewhere/centroids.npy"))
    assert encode(replace(dataset, spec=spec), "parquet") == encode(dataset, "parquet")
