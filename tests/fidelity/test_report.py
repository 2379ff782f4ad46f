import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from synthgen.errors import InputError, UsageError
from synthgen.fidelity import FidelityReport, write_page
from synthgen.fidelity.page import render_page
from synthgen.fidelity.report import show
from tests.fidelity.sets import failing, passing

VOID = {"meta", "br", "link", "img"}


class Page(HTMLParser):
    """Reads a page: its tags must close, and its ids and links are collected."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        values = dict(attrs)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.links += [str(values[key]) for key in ("src", "href", "xlink:href", "srcset") if key in values]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_document_makes_the_round_trip() -> None:
    for report in (passing(), failing()):
        text = json.dumps(report.to_document(), allow_nan=False)
        again = FidelityReport.from_document(json.loads(text))
        assert json.dumps(again.to_document()) == text
        assert again.lines() == report.lines()
        assert again.exit_code == report.exit_code


def test_document_says_what_matters() -> None:
    document = failing().to_document()
    assert document["verdict"] == "fail"
    assert document["exit_code"] == 1
    assert document["is_low_power"]
    assert document["about"]["libraries"].keys() == {"faiss", "numpy"}
    assert len(document["failures"]) == len([s for s in document["statistics"] if not s["is_ok"]])


@pytest.mark.parametrize("document", [{}, {"format_version": 9}, {"format_version": 1, "statistics": [{}]}])
def test_other_documents_are_refused(document: dict[str, object]) -> None:
    with pytest.raises(InputError, match="not a fidelity report"):
        FidelityReport.from_document(document)


def test_lines_name_what_failed_and_by_how_much() -> None:
    lines = failing().lines()
    assert lines[0].startswith("FAIL: synthetic geometry differs from real in ")
    assert re.search(
        r"cosine to 1st neighbour: 0\.\d+ where real has 0\.\d+; off by [+]0\.\d+, 0\.\d+ allowed",
        lines[1] + "".join(lines),
    )
    table = [line for line in lines if line.startswith("recall@10, HNSW, ef 10 ")]
    assert len(table) == 1
    assert table[0].split()[-1].rstrip("*") in ("ok", "FAIL")


def test_zero_has_no_minus() -> None:
    line = passing().judgements[0]
    assert show(line, -0.0001, sign=True) == "+0.000"


@pytest.fixture(scope="module")
def page() -> str:
    return render_page(failing())


def test_page_needs_nothing_else(page: str) -> None:
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\((?!#)", page)
    read = Page(page)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in read.links)
    assert not read.tags & {"script", "link", "iframe", "img", "object", "embed", "base"}


def test_page_is_sound(page: str) -> None:
    read = Page(page)
    assert read.open == []
    assert len(read.ids) == len(set(read.ids))
    assert all(link[1:] in read.ids for link in read.links if link.startswith("#"))
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(read.ids)
    assert page.count("<svg") >= 13
    assert "var(--ink)" in page


def test_page_leads_with_the_verdict(page: str) -> None:
    text = Page(page).text
    assert text.index("FAIL") < text.index("cosine to 1st neighbour:") < text.index("All statistics")
    for heading in (
        "HNSW: recall@10",
        "IVF: recall@10",
        "PQ: recall@10",
        "Local intrinsic",
        "Hubs",
        "Map: real",
    ):
        assert heading in text
    assert "Lengths of the vectors" not in text


def test_page_escapes_names() -> None:
    document = passing().to_document()
    document["about"]["real_name"] = "<script>alert('x')</script> & \"co\""
    text = render_page(FidelityReport.from_document(document))
    assert "<script" not in text
    assert "alert('x')" in Page(text).text


def test_page_is_written_whole_and_small(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_page(passing(), path)
    assert 100_000 < path.stat().st_size < 1_500_000
    first = path.read_bytes()
    write_page(passing(), path)
    assert path.read_bytes() == first
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]


def test_page_into_no_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        write_page(passing(), tmp_path / "none" / "page.html")


def test_page_without_matplotlib_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(UsageError, match="matplotlib"):
        render_page(passing())
