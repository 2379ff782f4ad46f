"""Ready embeddings: every kind of file, scaled, with titles; and what is told of rows that cannot be used."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import zstandard
from numpy.typing import NDArray
from pyarrow import parquet

from synthgen.errors import InputError, UsageError
from synthgen.wiki.articles import Article
from synthgen.wiki.ready import Ready, open_ready

Vectors = NDArray[np.float32]
N, DIMENSION = 1_030, 16
TEXT = "What the article says, in more than a few words."


def unit_vectors(n: int = N, dimension: int = DIMENSION) -> Vectors:
    vectors = np.random.default_rng(1).standard_normal((n, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1)[:, None]).astype(np.float32)


def rows_of(n: int = N) -> list[dict[str, Any]]:
    return [{"id": row, "title": f"Title {row}", "text": TEXT} for row in range(n)]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_zst(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    halves = lines[: len(lines) // 2], lines[len(lines) // 2 :]
    path.write_bytes(
        b"".join(map(zstandard.ZstdCompressor().compress, halves))
    )  # two frames, as shards joined


def write_txt(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{row['title']}\n" for row in rows) + "\n")


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=700)


def read_all(ready: Ready) -> tuple[list[Article], Vectors]:
    blocks = list(ready.blocks())
    assert max(len(articles) for articles, _ in blocks) <= 1_000
    return [article for articles, _ in blocks for article in articles], np.concatenate([v for _, v in blocks])


@pytest.mark.parametrize(
    ("suffix", "write", "has_more"),
    [
        (".jsonl", write_jsonl, True),
        (".jsonl.zst", write_zst, True),
        (".txt", write_txt, False),
        (".parquet", write_table, True),
    ],
)
def test_titles_beside_a_matrix_are_found_and_read(
    suffix: str, write: Callable[[Path, list[dict[str, Any]]], None], has_more: bool, tmp_path: Path
) -> None:
    vectors = unit_vectors()
    np.save(tmp_path / "vital.npy", vectors)
    write(tmp_path / f"vital{suffix}", rows_of())
    ready = open_ready(tmp_path / "vital.npy")
    articles, read = read_all(ready)
    assert (ready.n_rows, ready.dimension) == (N, DIMENSION)
    assert articles[1_017] == (
        Article("1017", "", "Title 1017", "", f"Title 1017\n{TEXT}")
        if has_more
        else Article("vital-1017", "", "Title 1017", "", "Title 1017")
    )
    assert read.dtype == np.float32 and np.array_equal(read, vectors)  # of unit length: bit for bit
    assert abs(ready.shortest - 1) < 1e-6 > abs(ready.longest - 1)
    (tmp_path / f"vital{suffix}").rename(tmp_path / f"names{suffix}")
    assert read_all(open_ready(tmp_path / "vital.npy", tmp_path / f"names{suffix}"))[0] == articles
    rest = next(open_ready(tmp_path / "vital.npy", tmp_path / f"names{suffix}").blocks(start=1_028))
    assert rest[0] == articles[1_028:] and np.array_equal(rest[1], vectors[1_028:])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_vectors_of_any_length_and_precision_are_scaled(dtype: type, tmp_path: Path) -> None:
    vectors = (unit_vectors(5) * np.array([[1], [3], [0.5], [100], [1e-3]])).astype(dtype)
    np.save(tmp_path / "v.npy", vectors)
    write_txt(tmp_path / "v.txt", rows_of(5))
    ready = open_ready(tmp_path / "v.npy")
    read = read_all(ready)[1]
    assert np.allclose(np.linalg.norm(read.astype(np.float64), axis=1), 1, atol=1e-6)
    assert np.allclose(read, unit_vectors(5), atol=3e-3 if dtype == np.float16 else 1e-6)
    assert ready.shortest == pytest.approx(1e-3, rel=1e-2) and ready.longest == pytest.approx(100, rel=1e-2)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (pyarrow.list_(pyarrow.float32()), "embedding"),
        (pyarrow.large_list(pyarrow.float64()), "emb"),
        (pyarrow.list_(pyarrow.float16(), DIMENSION), "whatever"),
        (pyarrow.list_(pyarrow.float64(), DIMENSION), "vector"),
    ],
)
def test_a_table_with_a_column_of_vectors_is_read(kind: Any, name: str, tmp_path: Path) -> None:
    vectors = unit_vectors()
    halves = vectors.astype(np.float16) if "halffloat" in str(kind) else vectors
    flat = pyarrow.array(halves.astype(kind.value_type.to_pandas_dtype()).reshape(-1))
    column = pyarrow.FixedSizeListArray.from_arrays(flat, DIMENSION).cast(kind)
    columns = {"more": ["x"] * N, name: column, "title": [f"Title {row}" for row in range(N)]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "v.parquet", row_group_size=600)
    ready = open_ready(tmp_path / "v.parquet")
    articles, read = read_all(ready)
    assert (ready.n_rows, ready.dimension) == (N, DIMENSION)
    assert articles[-1] == Article(f"v-{N - 1}", "", f"Title {N - 1}", "", f"Title {N - 1}")
    assert np.allclose(read, vectors, atol=1e-3) and (
        kind.value_type == pyarrow.float16() or (read == vectors).all()
    )
    parquet.write_table(
        pyarrow.table(columns | {"id": list(range(N)), "text": [TEXT] * N}), tmp_path / "v.parquet"
    )
    assert read_all(open_ready(tmp_path / "v.parquet"))[0][7] == Article(
        "7", "", "Title 7", "", f"Title 7\n{TEXT}"
    )


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (np.nan, "has a component that is no finite number"),
        (np.inf, "has a component that is no finite number"),
        (1e39, "has a component that is no finite number"),
        (0.0, "is all zero"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_a_vector_that_is_none_is_named_and_those_before_it_are_kept(
    value: float, what: str, suffix: str, tmp_path: Path
) -> None:
    vectors = unit_vectors().astype(np.float64)
    vectors[1_010, slice(None) if value == 0 else 3] = value
    path = tmp_path / f"v{suffix}"
    if suffix == ".npy":
        np.save(path, vectors)
        write_txt(tmp_path / "v.txt", rows_of())
    else:
        parquet.write_table(pyarrow.table({"title": ["T"] * N, "vector": list(vectors)}), path)
    n_kept = 0
    with pytest.raises(InputError, match=rf"v\{suffix}: the vector of row 1,010 {what}") as refused:
        for articles, block in open_ready(path).blocks():
            assert len(articles) == len(block)
            n_kept += len(articles)
    assert n_kept == 1_010 and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        ([1.0] * 15, r"row 700 has 15 components, not 16"),
        (None, r"row 700 has no vector, or one with nulls"),
        ([None] * 16, r"row 700 has no vector, or one with nulls"),
    ],
)
def test_a_vector_of_another_length_is_named(bad: Any, what: str, tmp_path: Path) -> None:
    vectors: list[Any] = unit_vectors(800).tolist()
    vectors[700] = bad
    parquet.write_table(pyarrow.table({"title": ["T"] * 800, "emb": vectors}), tmp_path / "v.parquet")
    n_kept = 0
    with pytest.raises(InputError, match=what):
        for articles, _ in open_ready(tmp_path / "v.parquet").blocks():
            n_kept += len(articles)
    assert n_kept == 500  # whole batches


def save(path: Path, **columns: Any) -> None:
    parquet.write_table(pyarrow.table(columns), path)


def test_columns_that_cannot_be_told_apart_are_named(tmp_path: Path) -> None:
    path, vectors = tmp_path / "v.parquet", unit_vectors(3).tolist()
    save(path, title=["a", "b", "c"], first=vectors, second=vectors)
    with pytest.raises(
        InputError, match=r"several columns could be the vectors: first, second; call the one"
    ):
        open_ready(path)
    save(path, title=["a", "b", "c"], first=vectors, emb=vectors)
    assert open_ready(path).dimension == DIMENSION
    save(path, title=["a", "b", "c"], first=[1, 2, 3])
    with pytest.raises(InputError, match=r"no column of float lists among title, first"):
        open_ready(path)
    save(path, name=["a", "b", "c"], emb=vectors)
    with pytest.raises(InputError, match=r"no column title \(it has name, emb\)"):
        open_ready(path)
    save(path, title=["a", None, "c"], emb=vectors)
    with pytest.raises(InputError, match=r"row 1 has no title"):
        read_all(open_ready(path))


def test_titles_that_do_not_fit_are_told_before_any_work(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    np.save(path, unit_vectors(9))
    with pytest.raises(UsageError, match=r"v\{\.jsonl,.*\} is missing; name them by --titles FILE"):
        open_ready(path)
    write_txt(tmp_path / "v.txt", rows_of(8))
    with pytest.raises(InputError, match=r"v\.txt: 8 titles for the 9 rows of .*v\.npy"):
        open_ready(path)
    write_jsonl(tmp_path / "v.jsonl", rows_of(9))
    with pytest.raises(UsageError, match=r"several files could be the titles"):
        open_ready(path)
    for line in ("no JSON", '{"text": "x"}', '{"title": 5}', "[]"):
        (tmp_path / "v.jsonl").write_text('{"title": "a"}\n' * 4 + f"{line}\n" * 5)
        with pytest.raises(InputError, match=r"v\.jsonl: row 4 has no title"):
            read_all(open_ready(path, tmp_path / "v.jsonl"))
    write_zst(tmp_path / "v.jsonl.zst", rows_of(9))
    (tmp_path / "v.jsonl.zst").write_bytes((tmp_path / "v.jsonl.zst").read_bytes() + b"junk")
    with pytest.raises(InputError, match=r"v\.jsonl\.zst: "):
        open_ready(path, tmp_path / "v.jsonl.zst")
    with pytest.raises(InputError, match=r"v\.csv: no file of titles"):
        open_ready(path, tmp_path / "v.csv")
    with pytest.raises(InputError, match=r"none\.txt: No such file"):
        open_ready(path, tmp_path / "none.txt")


def test_files_that_are_no_embeddings_are_told(tmp_path: Path) -> None:
    whole = tmp_path / "whole.npy"
    np.save(whole, unit_vectors(9))
    for name, data in {"cut.npy": whole.read_bytes()[:-9], "html.npy": b"<html>"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=rf"{name}: not a \.npy file"):
            open_ready(tmp_path / name, whole)
    np.save(tmp_path / "ints.npy", np.ones((3, 3), int))
    with pytest.raises(InputError, match=r"ints\.npy: holds int64 \(3, 3\), not rows of floats"):
        open_ready(tmp_path / "ints.npy", whole)
    np.save(tmp_path / "empty.npy", unit_vectors(0))
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(InputError, match=r"empty\.npy: holds no vectors"):
        open_ready(tmp_path / "empty.npy")
    with pytest.raises(InputError, match=r"x\.bin: no such file"):
        open_ready(tmp_path / "x.bin")
    (tmp_path / "x.bin").write_bytes(b"x")
    with pytest.raises(InputError, match=r"x\.bin: no ready embeddings; give a \.npy or \.parquet file"):
        open_ready(tmp_path / "x.bin")
    save(tmp_path / "x.parquet", title=["a"], emb=[[1.0]])
    with pytest.raises(UsageError, match="leave --titles out"):
        open_ready(tmp_path / "x.parquet", whole)


@pytest.mark.parametrize(("package", "name"), [("pyarrow", "x.parquet"), ("zstandard", "v.npy")])
def test_a_package_that_is_missing_is_named(
    package: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "v.npy", unit_vectors(3))
    write_zst(tmp_path / "v.jsonl.zst", rows_of(3))
    save(tmp_path / "x.parquet", title=["a"], emb=[[1.0]])
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"needs the package {package} .*pip install"):
        open_ready(tmp_path / name)
