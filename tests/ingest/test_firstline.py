"""Files of another kind: what they are is said before anything is sent, and what to do about it."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from synthgen.cli import main
from tests.ingest.faulty import faulty_server
from tests.ingest.rows import TestRows

ROW = TestRows(1, dimension=8).body(0)
OTHER = ROW.replace(b'"id":"syn', b'"id":"other')


KINDS = [
    (b"\xef\xbb\xbf" + ROW + b"\n", "a byte order mark", "tail -c +4"),
    (ROW.decode().encode("utf-16"), "UTF-16", "iconv"),
    (b"[" + ROW + b"," + OTHER + b"]\n", "a JSON array", "jq -c '.[]'"),
    (b"[\n" + ROW + b",\n" + OTHER + b"\n]\n", "a JSON array", "jq -c '.[]'"),
    (b"\n\n[\n" + ROW + b"\n]\n", "a JSON array", "jq -c '.[]'"),
    (b'{\n  "id": "a",\n  "content": "x"\n}\n', "a JSON object over several lines", "jq -c ."),
    (
        b"id,content,embedding\na,b,1\n",
        "no JSON (a table?): 'id,content,embedding'",
        "one JSON object a line",
    ),
    (b"hello\n", "no JSON: 'hello'", "one JSON object a line"),
    (b'"hello"\n', "JSON, but no object", "one JSON object a line"),
    (ROW.replace(b"[", b"[NaN,") + b"\n", "no valid JSON", "mend that row"),
    (ROW + b",\n" + OTHER + b",\n", "no valid JSON", "mend that row"),
    (b'{"id":7,"content":"x"}\n', "the memory's id is no string: 7", "make every id a string"),
    (gzip.compress(ROW), "compressed (gzip)", "gunzip"),
    (b"PAR1" + b"\0" * 100, "a Parquet file", "ends in .parquet"),
]


@pytest.mark.parametrize("command", ["ingest", "verify"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind[1])
def test_a_file_of_another_kind_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], command: str, kind: tuple[bytes, str, str]
) -> None:
    data, what, next_step = kind
    path = tmp_path / "x.jsonl"
    path.write_bytes(data)
    with faulty_server() as server:
        assert main([command, "--input", str(path), "--endpoint", server.endpoint, "-q"]) == 3
        assert server.n_posts == 0
    error = capfd.readouterr().err
    assert error.startswith(f"synthgen: {path}, first row: ") and error.count("\n") == 1
    assert what in error and next_step in error
    assert list(tmp_path.iterdir()) == [path]


def test_the_mended_file_is_taken(tmp_path: Path) -> None:
    """What was refused leaves no ledger in its way; blank lines are no rows."""
    path = tmp_path / "x.jsonl"
    with faulty_server() as server:
        for data, exit_code in ((b"\xef\xbb\xbf" + ROW + b"\n", 3), (b"\n \n" + ROW + b"\n", 0)):
            path.write_bytes(data)
            assert main(["ingest", "--input", str(path), "--endpoint", server.endpoint, "-q"]) == exit_code
