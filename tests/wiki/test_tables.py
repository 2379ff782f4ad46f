"""Articles from Parquet: of every kind that tools write, in pieces, and what is told of a bad one."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from synthgen.errors import InputError, UsageError
from synthgen.wiki.articles import Article, Skipped
from synthgen.wiki.tables import UNIT_ROWS, close_tables, open_tables, read_articles

LEAD = "A sentence about the article, which is long enough to be kept."


@pytest.fixture(autouse=True)
def closed() -> Any:
    yield
    close_tables()


def table(n: int = 5, first: int = 0, **columns: Any) -> pyarrow.Table:
    rows = range(first, first + n)
    plain = {
        "id": [str(row) for row in rows],
        "url": [f"https://en.wikipedia.org/wiki/{row}" for row in rows],
        "title": [f"Title {row}" for row in rows],
        "text": [f"{LEAD} {row}" for row in rows],
    }
    return pyarrow.table(plain | columns)


def read_all(path: Path, max_characters: int = 4_000) -> list[Article | Skipped]:
    units = list(open_tables(path).units())
    assert pickle.loads(pickle.dumps(units)) == units
    return [article for unit in units for article in read_articles(unit, max_characters)]


@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param((pyarrow.string(), pyarrow.string()), id="string"),
        pytest.param((pyarrow.int64(), pyarrow.large_string()), id="int-large_string"),
        pytest.param((pyarrow.int32(), pyarrow.string_view()), id="string_view"),
        pytest.param(
            (pyarrow.string(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())), id="dictionary"
        ),
    ],
)
def test_columns_of_any_kind_of_text_are_read(kinds: tuple[Any, Any], tmp_path: Path) -> None:
    wanted = table()
    columns = {
        name: pyarrow.array(wanted[name].to_pylist()).cast(
            pyarrow.int64() if name == "id" else pyarrow.string()
        )
        for name in ("id", "title", "text")
    }
    columns = {name: column.cast(kinds[name != "id"]) for name, column in columns.items()}
    parquet.write_table(pyarrow.table({"more": [[1]] * 5, **columns}), tmp_path / "x.parquet")
    assert read_all(tmp_path / "x.parquet") == [
        Article(str(row), "", f"Title {row}", "", f"Title {row}\n{LEAD} {row}") for row in range(5)
    ]


def test_the_beginning_of_a_text_is_kept_and_what_says_nothing_is_skipped(tmp_path: Path) -> None:
    texts = [LEAD * 30, None, "", " " * 90, "x" * 49, "x" * 50]
    columns = {"text": texts, "id": ["a", "b", "c", "d", None, "f"], "title": ["T", None, "c", "d", "e", "f"]}
    parquet.write_table(table(6, **columns), tmp_path / "x.parquet")
    assert read_all(tmp_path / "x.parquet", max_characters=100) == [
        Article("a", "", "T", "", f"T\n{LEAD}{LEAD[:35]}"),
        Skipped("b", "", "short"),
        Skipped("c", "c", "short"),
        Skipped("d", "d", "short"),
        Skipped("", "e", "unreadable"),
        Article("f", "", "f", "", "f\n" + "x" * 50),
    ]


def test_shards_are_read_in_order_in_pieces_that_any_process_may_read(tmp_path: Path) -> None:
    folder = tmp_path / "wikipedia" / "20231101.en"
    folder.mkdir(parents=True)
    n_rows = (1_700, 10, 2_300)
    for shard, n in enumerate(n_rows):
        rows = table(n, first=10_000 * shard)
        parquet.write_table(rows, folder / f"train-{shard:05d}-of-00003.parquet", row_group_size=1_600)
    (folder / ".train-00000.parquet").write_bytes(b"hidden")
    (folder / "README.md").write_text("a card")
    tables = open_tables(folder.parent)
    units = list(tables.units())
    assert tables.n_rows == sum(n_rows) and [file.name[:11] for file in tables.files][1:] == [
        "train-00001",
        "train-00002",
    ]
    assert [unit.stop - unit.start for unit in units] == [1_000, 600, 100, 10, 1_000, 600, 700]
    assert max(unit.stop - unit.start for unit in units) <= UNIT_ROWS
    keys = [str(10_000 * shard + row) for shard, n in enumerate(n_rows) for row in range(n)]
    assert [article.key for unit in units for article in read_articles(unit)] == keys
    backwards = [article.key for unit in reversed(units) for article in reversed(read_articles(unit))]
    assert backwards == keys[::-1]


def test_a_row_group_is_not_read_whole(tmp_path: Path) -> None:
    """The decoder holds some batches of a row group of 41 MB: in a process of its own, for its peak."""
    code = """
import sys, pyarrow
from pathlib import Path
from synthgen.wiki.tables import open_tables, read_articles
n = sum(len(read_articles(unit)) for unit in open_tables(Path(sys.argv[1])).units())
print(n, pyarrow.default_memory_pool().max_memory())
"""
    text = LEAD * 130  # 8 kB, plain and uncompressed: what a file has, a whole group would take
    rows = table(5_000, text=[f"{row} {text}" for row in range(5_000)])
    parquet.write_table(rows, tmp_path / "x.parquet", compression="none", use_dictionary=False)
    assert parquet.ParquetFile(tmp_path / "x.parquet").metadata.row_group(0).total_byte_size > 40e6
    command = [sys.executable, "-c", code, str(tmp_path / "x.parquet")]
    printed = subprocess.run(command, capture_output=True, check=True, text=True)
    n_read, peak_bytes = map(int, printed.stdout.split())
    assert n_read == 5_000 and peak_bytes < 20e6


def test_text_that_is_no_utf8_is_mended(tmp_path: Path) -> None:
    raw = pyarrow.array([LEAD.encode() + b" \xff"] * 5, pyarrow.binary())
    for kind in (pyarrow.string(), pyarrow.large_string()):
        wide = raw.cast(pyarrow.large_binary()) if kind == pyarrow.large_string() else raw
        column = pyarrow.Array.from_buffers(kind, 5, wide.buffers())
        parquet.write_table(table(text=column), tmp_path / "x.parquet")
        close_tables()
        assert read_all(tmp_path / "x.parquet")[0].title == "Title 0"
        made = read_all(tmp_path / "x.parquet")[4]
        assert isinstance(made, Article) and made.text == f"Title 4\n{LEAD}"


def test_what_no_reader_sees_is_in_no_text_title_or_id(tmp_path: Path) -> None:
    column = pyarrow.array([f"a\x00\x1b[2J\u202e\u200b\ufeff {LEAD}"] * 5)
    dirty = table(text=column, title=pyarrow.array(["\x1b]0;T\x07\u202e x\n y"] * 5))
    parquet.write_table(
        dirty.set_column(0, "id", pyarrow.array([f"\x00{i}\n" for i in range(5)])), tmp_path / "x.parquet"
    )
    made = read_all(tmp_path / "x.parquet")[2]
    assert isinstance(made, Article)
    assert (made.key, made.title, made.text) == ("2", "]0;T x y", f"]0;T x y\na[2J {LEAD}")


def test_a_file_that_is_none_is_told_by_its_name(tmp_path: Path) -> None:
    whole = tmp_path / "a.parquet"
    parquet.write_table(table(), whole)
    bad = tmp_path / "b.parquet"
    for data in (b"", b"<html>", whole.read_bytes()[:-5], whole.read_bytes()[:200]):
        bad.write_bytes(data)
        with pytest.raises(InputError, match=r"b\.parquet: not a whole Parquet file") as refused:
            open_tables(tmp_path)
        assert "\n" not in str(refused.value)
    parquet.write_table(table().drop_columns(["text", "url"]), bad)
    with pytest.raises(InputError, match=r"b\.parquet: no column text \(it has id, title\); give Wikipedia"):
        open_tables(tmp_path)
    parquet.write_table(table(title=[1.5] * 5), bad)
    with pytest.raises(InputError, match=r"b\.parquet: column title is double, not string"):
        open_tables(tmp_path)
    with pytest.raises(InputError, match=r"none\.parquet: no such file"):
        open_tables(tmp_path / "none.parquet")


def test_a_folder_without_articles_or_with_two_sets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.parquet file in this folder"):
        open_tables(tmp_path)
    for name in ("20231101.en", "20231101.simple"):
        (tmp_path / name).mkdir()
        parquet.write_table(table(1).slice(1), tmp_path / name / "x.parquet")
    with pytest.raises(InputError, match=r"several folders: 20231101\.en, 20231101\.simple; name one"):
        open_tables(tmp_path)
    with pytest.raises(InputError, match="holds no articles"):
        open_tables(tmp_path / "20231101.en")


def test_damage_within_is_told_with_the_row_and_what_lies_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    parquet.write_table(table(4_000), path, row_group_size=2_000, compression="zstd")
    data = bytearray(path.read_bytes())
    at = parquet.ParquetFile(path).metadata.row_group(1).column(3).data_page_offset
    data[at : at + 60] = b"\xff" * 60
    path.write_bytes(data)
    units = list(open_tables(path).units())
    assert [len(read_articles(unit)) for unit in units[:2]] == [1_000, 1_000]
    for _ in range(2):
        with pytest.raises(InputError, match=r"x\.parquet: damaged at about row 2,000"):
            read_articles(units[2])


def test_without_pyarrow_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet.write_table(table(), tmp_path / "x.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"needs the package pyarrow .*pip install"):
        open_tables(tmp_path / "x.parquet")


def test_nothing_heavy_is_imported_with_it() -> None:
    modules = ", ".join(f"synthgen.wiki.{name}" for name in ("ready", "records", "tables", "cutting"))
    code = f"import sys, {modules}; print('pyarrow' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert printed.stdout == "False\n"
