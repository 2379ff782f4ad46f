"""The bench of embedding: what it needs, and a small run where the extra is installed."""

import json

import orjson
import pytest

from bench.__main__ import main
from bench.embedding import read_texts
from synthgen.errors import EXIT_UNUSABLE, EXIT_USAGE, InputError
from synthgen.wiki.articles import EMBEDDED_CHARACTERS
from tests.wiki.test_sentence_model import folder, make_texts  # noqa: F401


@pytest.fixture
def articles(tmp_path):
    path = tmp_path / "articles.jsonl"
    rows = [{"title": f"title {i}", "text": text * 30} for i, text in enumerate(make_texts(20))]
    path.write_bytes(b"\n".join(map(orjson.dumps, rows)) + b"\n")
    return path


def test_texts_are_title_newline_and_the_beginning(articles):
    texts = read_texts(articles, 5)
    assert len(texts) == 5
    assert texts[3].startswith("title 3\n")
    assert max(map(len, texts)) <= len("title 0\n") + EMBEDDED_CHARACTERS


def test_files_that_are_none_are_one_line(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_texts(tmp_path / "none.jsonl", 5)
    (tmp_path / "other.jsonl").write_text('{"title": "a"}\n')
    with pytest.raises(InputError, match="title and text"):
        read_texts(tmp_path / "other.jsonl", 5)


def test_the_flags_are_needed(tmp_path, articles, capsys):
    assert main(["embedding", "--output", str(tmp_path)]) == EXIT_USAGE
    assert "--model FOLDER" in capsys.readouterr().err
    flags = ["--model", str(tmp_path / "none"), "--articles", str(articles), "--output", str(tmp_path)]
    assert main(["embedding", *flags]) == EXIT_UNUSABLE


def test_a_small_run(tmp_path, articles, folder, capsys):  # noqa: F811
    flags = ["--model", str(folder), "--articles", str(articles), "--output", str(tmp_path)]
    assert main(["embedding", *flags, "--rows", "20", "--repetitions", "2"]) == 0
    assert "plain encode, batch 32" in capsys.readouterr().out
    document = json.loads(next(tmp_path.glob("embedding-*.json")).read_text())
    assert [part["n"] for part in document["measurements"]] == [10, 10]
    assert len(document["configuration"]["model_digest"]) == 64
