"""Dumps of every kind are read whole and right; damage ends with what and where, after all before it."""

import bz2
import gzip
import io
import itertools
import pickle
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthgen.errors import InputError
from synthgen.wiki import compressed, units
from synthgen.wiki import dump as dump_module
from synthgen.wiki.articles import Page, Skipped
from synthgen.wiki.compressed import Damage, borders_before, bz2_blocks, find_border, is_border
from synthgen.wiki.dump import open_dump
from synthgen.wiki.pages import read_pages, split_pages
from synthgen.wiki.units import Cutter, Unit
from tests.wiki.dumps import (
    TAIL,
    excerpt_path,
    head_of,
    make_page,
    make_pages,
    write_dump,
    write_parts,
    xml_of,
)

COMPRESSIONS = ["plain", "gz", "bz2", "multistream"]
HARD = [
    make_page(1, "a & b < c > d ]]> \"q\" 'q' é 漢字 🎹 &amp; &lt;"),
    make_page(2, ""),
    make_page(3, "#REDIRECT [[Ähm]]", redirect='Ähm "&" <x>'),
    make_page(4, title="AT&T <x> é", namespace=14),
    make_page(5, "line\n\n  kept \t\n", timestamp=""),
    make_page(6, "</page> <page> </mediawiki> <!-- note -->"),
]


def read(path: Path) -> list[Page | Skipped]:
    dump = open_dump(path)
    return [page for unit in dump.units() for page in read_pages(unit, dump.site)]


def read_until(path: Path) -> tuple[list[Page | Skipped], InputError]:
    """Return what is read before the error that reading ends with, and that."""
    pages: list[Page | Skipped] = []
    with pytest.raises(InputError) as caught:
        dump = open_dump(path)
        for unit in dump.units():
            for page in read_pages(unit, dump.site):
                pages.append(page)
    assert "\n" not in str(caught.value)
    return pages, caught.value


def read_xml(path: Path, *pages: str, head: str = "") -> list[Page | Skipped]:
    return read(write_parts(path, [head or head_of(), *pages, TAIL]))


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many units of few pages, also of a small dump."""
    monkeypatch.setattr(compressed, "_PLAIN_BYTES", 1_000)
    monkeypatch.setattr(compressed, "_READ_BYTES", 1_000)
    monkeypatch.setattr(units, "UNIT_BYTES", 2_000)
    monkeypatch.setattr(dump_module, "_STREAMS_BYTES", 1)


# -- whole dumps --


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("version", ["0.10", "0.11", "0.12"])
def test_every_kind_gives_the_pages_that_went_in(tmp_path: Path, compression: str, version: str) -> None:
    path = write_dump(tmp_path / "any.name", HARD, compression, version, pages_per_stream=2)

    assert read(path) == HARD
    assert open_dump(path).compression == compression
    assert open_dump(path).site.version == version


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_units_are_small_in_order_picklable_and_tell_how_far_it_is(
    tmp_path: Path, compression: str, small_units: None
) -> None:
    made = [make_page(i, f"{i} " * 900) for i in range(100)]
    path = write_dump(tmp_path / "d", made, compression, pages_per_stream=7, level=1)
    dump = open_dump(path)

    found = list(dump.units())
    pages = [list(read_pages(pickle.loads(pickle.dumps(unit)))) for unit in found]

    assert len([part for part in pages if part]) > 3
    assert [page for part in pages for page in part] == made
    ends = [unit.end for unit in found]
    assert ends == sorted(ends)
    assert ends[-1] == dump.n_bytes == path.stat().st_size


def test_the_parent_neither_reads_nor_decompresses_what_workers_can(tmp_path: Path) -> None:
    plain = list(open_dump(write_dump(tmp_path / "p", make_pages(50))).units())
    streams = list(open_dump(write_dump(tmp_path / "m", make_pages(50), "multistream")).units())

    assert plain[0].kind == "range"
    assert plain[0].data == b""
    assert {unit.kind for unit in streams} == {"streams"}


def test_the_head_of_another_language_is_told(tmp_path: Path) -> None:
    names = {0: "", 10: "Шаблон", 14: "Категория", -1: "R&D"}
    site = open_dump(write_dump(tmp_path / "d", make_pages(1), "bz2", "0.11", "ru", namespaces=names)).site

    assert site == ("ru", "ruwiki", "0.11", names)


def test_a_dump_without_siteinfo_works(tmp_path: Path) -> None:
    dump = open_dump(write_dump(tmp_path / "d", make_pages(2), siteinfo=False))

    assert dump.site == ("en", "", "0.11", {})
    assert read(dump.path) == make_pages(2)


@pytest.mark.parametrize(
    "start", ["", "\n  ", "\ufeff", '<?xml version="1.0" encoding="UTF-8"?>\n<!-- x -->']
)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_may_stand_before_the_root(tmp_path: Path, start: str, compression: str) -> None:
    parts = [start + head_of(), xml_of(HARD[0]), TAIL]

    assert read(write_parts(tmp_path / "d", parts, compression)) == [HARD[0]]


def test_names_may_have_a_prefix(tmp_path: Path) -> None:
    xml = head_of().replace("<mediawiki xmlns=", '<mw:mediawiki xmlns:mw="x" xmlns=')
    page = xml_of(HARD[0]).replace("<page>", "<mw:page>").replace("</page>", "</mw:page>")
    path = write_parts(tmp_path / "d", [xml, page, TAIL.replace("med", "mw:med")])

    assert read(path) == [HARD[0]]


def test_pages_of_old_exports_get_their_namespace_from_the_title(tmp_path: Path) -> None:
    old = [
        xml_of(make_page(i, title=t)).replace("<ns>0</ns>", "") for i, t in enumerate(["Talk:X", "Odd: X"])
    ]

    found = read_xml(tmp_path / "d", *old, head=head_of("0.3"))

    assert [(page.title, page.namespace) for page in found if isinstance(page, Page)] == [
        ("Talk:X", 1),
        ("Odd: X", 0),
    ]


def test_bz2_whose_streams_end_within_pages_is_read_in_one_piece(tmp_path: Path) -> None:
    xml = (head_of() + "".join(map(xml_of, make_pages(50))) + TAIL).encode()
    path = write_parts(tmp_path / "d", [xml[i : i + 700] for i in range(0, len(xml), 700)], "multistream")

    assert open_dump(path).compression == "bz2"
    assert read(path) == make_pages(50)


def test_a_stream_that_is_too_large_for_one_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump_module, "_STREAM_LIMIT_BYTES", 100)
    path = write_dump(tmp_path / "d", make_pages(300), "multistream", pages_per_stream=100)

    assert {unit.kind for unit in open_dump(path).units()} == {"bytes"}
    assert read(path) == make_pages(300)


@pytest.mark.parametrize("compression", ["gz", "bz2", "multistream"])
def test_zeros_behind_the_end_do_no_harm(tmp_path: Path, compression: str) -> None:
    path = write_dump(tmp_path / "d", make_pages(3), compression)
    path.write_bytes(path.read_bytes() + bytes(1_000))

    assert read(path) == make_pages(3)


def test_joined_dumps_give_the_pages_of_both(tmp_path: Path) -> None:
    one = head_of() + xml_of(make_page(1)) + TAIL

    assert read(write_parts(tmp_path / "d", [one, one.replace("<id>1</id>", "<id>2</id>")], "multistream"))


# -- what a page may look like --

REVISION = "<revision><id>{}</id><timestamp>{}</timestamp><text>{}</text></revision>"


def page_xml(body: str) -> str:
    return f"<page><title>T</title><ns>0</ns><id>7</id>{body}</page>"


@pytest.mark.parametrize(
    ("body", "revision_id", "text"),
    [
        (REVISION.format(1, "2020", "old") + REVISION.format(2, "2021", "new"), 2, "new"),
        (REVISION.format(3, "2022", "new") + REVISION.format(4, "2021", "imported"), 3, "new"),
        (REVISION.format(5, "2022", "a") + REVISION.format(6, "2022", "b"), 6, "b"),
        ("<revision><contributor><id>99</id></contributor><text>x</text></revision>", 0, "x"),
        ("<revision><id>8</id><text deleted='deleted' /></revision>", 8, ""),
        ("<revision><id>8</id><text bytes='0'/></revision>", 8, ""),
        ("<revision><id>8</id></revision>", 8, ""),
        ("", 0, ""),
        (
            "<revision><id>8</id><text><![CDATA[a </page> <b> & c]]>d</text></revision>",
            8,
            "a </page> <b> & cd",
        ),
        ("<revision><id>8</id><text>&#x41;&#233;&quot;<!-- </page> --></text></revision>", 8, 'Aé"'),
        (
            "<revision><id>8</id><text>main</text><content><role>x</role><text>slot</text></content></revision>",
            8,
            "main",
        ),
    ],
)
def test_revisions_and_texts(tmp_path: Path, body: str, revision_id: int, text: str) -> None:
    (page,) = read_xml(tmp_path / "d", page_xml(body))

    assert isinstance(page, Page)
    assert (page.page_id, page.revision_id, page.wikitext) == (7, revision_id, text)


def test_a_redirect_of_old_exports_has_no_title(tmp_path: Path) -> None:
    (page,) = read_xml(tmp_path / "d", page_xml("<redirect />"))

    assert isinstance(page, Page)
    assert page.redirect == ""


BAD_PAGES = {
    "control character": xml_of(make_page(2, "a\x0bb")).encode(),
    "invalid UTF-8": xml_of(make_page(2, "aXXb")).encode().replace(b"XX", b"\xff\xfe"),
    "surrogate": xml_of(make_page(2, "aXXb")).encode().replace(b"XX", b"\xed\xa0\x80"),
    "number of no character": xml_of(make_page(2, "aXXb")).encode().replace(b"XX", b"&#0;"),
    "undefined entity": xml_of(make_page(2, "aXXb")).encode().replace(b"XX", b"&nbsp;"),
    "no end": xml_of(make_page(2)).encode().replace(b"</page>", b""),
    "no beginning": xml_of(make_page(2)).encode().replace(b"<page>", b""),
    "wrong nesting": xml_of(make_page(2)).encode().replace(b"</revision>", b""),
    "too deep": xml_of(make_page(2)).encode().replace(b"done", b"<a>" * 9_000 + b"</a>" * 9_000),
    "stray": b"<title>Page 2</title> <id>2</id>",
    "document type": xml_of(make_page(2)).encode().replace(b"<page>", b"<page><!DOCTYPE a>"),
    "id of no number": page_xml("").replace("7", "9" * 5_000).replace("T<", "Page 2<").encode(),
    "text left out": page_xml("<revision><text bytes='5' id='3'/></revision>")
    .replace("T<", "Page 2<")
    .replace("7", "2")
    .encode(),
    "no id": page_xml("").replace("<id>7</id>", "").replace("T<", "Page 2<").encode(),
}


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("kind", BAD_PAGES)
def test_one_bad_page_is_left_out_alone(tmp_path: Path, kind: str, compression: str) -> None:
    parts = [head_of(), xml_of(make_page(1)), BAD_PAGES[kind], xml_of(make_page(3)), TAIL]

    found = read(write_parts(tmp_path / "d", parts, compression))

    assert found[0] == make_page(1)
    assert found[-1] == make_page(3)
    (bad,) = found[1:-1]
    assert isinstance(bad, Skipped)
    assert (bad.title, bad.reason) == ("Page 2", "unreadable")
    assert bad.key == ("" if kind.endswith(("number", "no id")) and "character" not in kind else "2")


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_page_above_the_limit_is_left_out_alone(
    tmp_path: Path, compression: str, small_units: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "PAGE_LIMIT_BYTES", 300_000)
    pages = [make_page(1), make_page(2, "x" * 250_000), make_page(3, "y" * 900_000), make_page(4)]

    found = read(write_dump(tmp_path / "d", pages, compression, pages_per_stream=1))

    assert found == [pages[0], pages[1], Skipped("3", "Page 3", "unreadable"), pages[3]]


# -- what is no dump --


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"   \n", "no XML"),
        (b"<!DOCTYPE html>\n<html><body>404 Not Found", "HTML"),
        (b"<html>", "HTML"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(50), "7z"),
        (b"PK\x03\x04" + bytes(50), "zip"),
        (b"\x28\xb5\x2f\xfd" + bytes(50), "zstd"),
        (b"\xfd7zXZ\x00" + bytes(50), "xz"),
        (b"PAR1" + bytes(50), "Parquet"),
        (b"-- MySQL dump 10.19\nCREATE TABLE `page`", "SQL"),
        (gzip.compress(b"-- MariaDB dump\n", mtime=0), "SQL"),
        (bz2.compress(b"616:10:AccessibleComputing\n616:12:Anarchism\n"), "index"),
        (bz2.compress(b""), "no XML"),
        (b'{"id": 1}', "JSON"),
        (b"BZh9 is no bz2", "damaged"),
        (b"\x1f\x8bxxxxxxxx", "gzip"),
        (bytes(100_000), "no XML"),
        (b"<rss><channel></channel></rss>", "<rss>"),
        ("<mediawiki>".encode("utf-16"), "UTF-16"),
        (b"<?xml version='1.0' encoding='latin-1'?><mediawiki><page>", "latin-1"),
        (b"<!DOCTYPE mediawiki [<!ENTITY a 'b'>]><mediawiki><page>", "DTD"),
        (b"<!-- c --><!DOCTYPE mediawiki><mediawiki><page>", "DTD"),
        ((head_of() + TAIL).encode(), "without pages"),
        (head_of().encode()[:300], "cut off"),
        (head_of().encode().replace(b"</namespaces>", b"") + b"<page>", "well-formed"),
        (b"<!--" + b"-->" * 50 + b"<!---->" * 5_000, "well-formed"),
        (b"<mediawiki>" + b"a" * (5 << 20), "no <page>"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_dump_is_refused_before_any_work(tmp_path: Path, content: bytes, word: str) -> None:
    (tmp_path / "f.xml.bz2").write_bytes(content)

    with pytest.raises(InputError) as caught:
        open_dump(tmp_path / "f.xml.bz2")

    assert word in str(caught.value)
    assert "f.xml.bz2" in caught.value.where
    assert caught.value.next_step
    assert "\n" not in str(caught.value)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    for path, word in ((tmp_path, "folder"), (tmp_path / "x", "no such file")):
        with pytest.raises(InputError, match=word):
            open_dump(path)


# -- damage --


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_cut_file_names_the_byte_and_the_last_whole_page(
    tmp_path: Path, compression: str, small_units: None
) -> None:
    pages = [make_page(i, "".join(f"{i * k % 97} " for k in range(300))) for i in range(1, 101)]
    path = write_dump(tmp_path / "d", pages, compression, pages_per_stream=9, level=1)
    n_bytes = path.stat().st_size * 9 // 10
    path.write_bytes(path.read_bytes()[:n_bytes])

    found, error = read_until(path)

    assert found == pages[: len(found)]
    assert len(found) > 30
    assert f"byte {n_bytes:,}" in error.what
    assert f"last whole page: {len(found)} ('Page {len(found)}')" in error.what
    assert "fetch" in error.next_step


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_dump_without_its_end_is_cut_off_though_all_pages_are_whole(
    tmp_path: Path, compression: str
) -> None:
    path = write_dump(tmp_path / "d", make_pages(30), compression, tail=False, pages_per_stream=9)

    found, error = read_until(path)

    assert found == make_pages(30)
    assert "</mediawiki>" in error.what
    assert f"byte {path.stat().st_size:,}" in error.what
    assert "30 ('Page 30')" in error.what


def test_a_damaged_stream_in_the_middle_names_its_byte(tmp_path: Path, small_units: None) -> None:
    path = write_dump(tmp_path / "d", make_pages(60), "multistream", pages_per_stream=10)
    units_of = list(open_dump(path).units())
    content = bytearray(path.read_bytes())
    middle = (units_of[3].start + units_of[3].end) // 2
    content[middle] ^= 0x10
    path.write_bytes(content)

    found, error = read_until(path)

    assert found == make_pages(30)
    assert f"begins at byte {units_of[3].start:,}" in error.what
    assert "30 ('Page 30')" in error.what
    assert [list(read_pages(unit)) for unit in units_of[4:6]] == [
        make_pages(10, 41),
        make_pages(10, 51),
    ]


def test_a_unit_of_several_streams_gives_those_before_the_damage(tmp_path: Path) -> None:
    path = write_dump(tmp_path / "d", make_pages(60), "multistream", pages_per_stream=10)
    borders = borders_before(io.BytesIO(path.read_bytes()), path.stat().st_size, path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[borders[-4] + 60] ^= 0x10  # of head, six times ten pages and tail: pages 31 to 40
    path.write_bytes(content)

    found, error = read_until(path)

    assert len(list(open_dump(path).units())) == 1
    assert found == make_pages(30)
    assert "30 ('Page 30')" in error.what


def test_a_damaged_bz2_gives_the_blocks_before_the_damage(tmp_path: Path) -> None:
    noise = random.Random(2)
    pages = [make_page(i, noise.randbytes(2_000).hex()) for i in range(1, 101)]
    path = write_dump(tmp_path / "d", pages, "bz2", level=1)
    content = bytearray(path.read_bytes())
    content[len(content) * 7 // 10] ^= 1
    path.write_bytes(content)

    found, error = read_until(path)

    assert found == pages[: len(found)]
    assert len(found) > 40
    assert f"{len(found)} ('Page {len(found)}')" in error.what


def test_no_page_of_a_bz2_block_with_a_wrong_checksum_is_given(tmp_path: Path) -> None:
    pages = [make_page(i, "".join(chr(97 + i * k % 23) for k in range(2_000))) for i in range(1, 200)]
    content = write_dump(tmp_path / "d", pages, "bz2", level=1).read_bytes()
    wrong = bytearray(content)
    wrong[10] ^= 1  # the first block's checksum: its content decompresses well

    with pytest.raises(Damage):
        list(bz2_blocks(io.BytesIO(bytes(wrong))))
    with pytest.raises(Damage):
        next(bz2_blocks(io.BytesIO(bytes(wrong))))


def test_a_wrong_gzip_checksum_is_told(tmp_path: Path) -> None:
    path = write_dump(tmp_path / "d", make_pages(30), "gz")
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))

    _, error = read_until(path)

    assert "checksum" in error.what


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("whole")
    yield {c: write_dump(folder / c, HARD * 3, c, pages_per_stream=4).read_bytes() for c in COMPRESSIONS}


RARELY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@RARELY
@given(st.sampled_from(COMPRESSIONS), st.floats(0, 0.999))
def test_cut_anywhere_what_is_before_is_whole_and_the_end_is_told(
    tmp_path: Path, whole: dict[str, bytes], compression: str, share: float
) -> None:
    path = tmp_path / "d"
    content = whole[compression]
    kept = content[: int(share * (len(content) - len("></mediawiki>")))]
    path.write_bytes(kept)

    found, error = read_until(path)

    assert found == (HARD * 3)[: len(found)]
    assert error.next_step


@RARELY
@given(st.sampled_from(COMPRESSIONS), st.floats(0, 0.999), st.binary(min_size=1, max_size=40))
def test_bytes_damaged_anywhere_never_hang_nor_end_otherwise(
    tmp_path: Path, whole: dict[str, bytes], compression: str, share: float, junk: bytes
) -> None:
    content = bytearray(whole[compression])
    at = int(share * len(content))
    content[at : at + len(junk)] = junk
    (tmp_path / "d").write_bytes(content)
    found: list[Page | Skipped] = []
    try:
        for unit in open_dump(tmp_path / "d").units():
            found.extend(read_pages(unit))
    except InputError as error:
        assert "\n" not in str(error)
    if compression in {"bz2", "multistream"}:  # each block has its checksum
        assert found == (HARD * 3)[: len(found)]


@RARELY
@given(st.lists(st.integers(1, 400), min_size=1, max_size=30), st.integers(100, 3_000))
def test_pages_do_not_depend_on_how_their_bytes_come(sizes: list[int], unit_bytes: int) -> None:
    data = "".join(map(xml_of, HARD)).encode()
    cutter, pieces, at = Cutter(b"page"), [], 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "UNIT_BYTES", unit_bytes)
        while at < len(data):
            size = sizes[at % len(sizes)]
            pieces += list(cutter.feed(data[at : at + size]))
            at += size
    pieces += list(cutter.rest())

    assert b"".join(piece.data for piece in pieces) == data.rstrip()
    found = [p for piece in pieces for p in read_pages(Unit(Path(), "bytes", 0, 0, piece.data))]
    assert found == HARD


@RARELY
@given(st.text(alphabet="<>/!-[]CDATApage \n&;"))
def test_any_bytes_are_split_without_loss(text: str) -> None:
    data = text.replace("P", "<page>").replace("E", "</page>").encode()
    spans = list(split_pages(data))

    assert [span.start for span in spans] == sorted(span.start for span in spans)
    assert all(a.end <= b.start for a, b in itertools.pairwise(spans))
    assert all(data[s.start :].startswith(b"<page") for s in spans if s.whole)
    list(read_pages(Unit(Path(), "bytes", 0, 0, data)))


def test_units_are_not_cut_within_cdata(tmp_path: Path, small_units: None) -> None:
    text = "<![CDATA[a </page>" + "b" * 3_000 + "]]>"
    pages = [page_xml(f"<revision><text>{text}</text></revision>")] * 5

    found = read_xml(tmp_path / "d", *pages)

    assert [isinstance(page, Page) and len(page.wikitext) for page in found] == [3_009] * 5


def test_a_page_is_handed_on_however_its_end_comes(small_units: None) -> None:
    data = "".join(xml_of(make_page(i, "x" * 3_000)) for i in range(5)).encode()
    cutter = Cutter(b"page")
    pieces = [piece for i in range(len(data)) for piece in cutter.feed(data[i : i + 1])]

    assert len(pieces) == 5


# -- borders of streams --


def test_borders_are_found_at_every_alignment(tmp_path: Path) -> None:
    parts = [bytes(range(i % 250)) * 3 + b"x" * i for i in range(1, 120)]
    streams = [bz2.compress(part) for part in parts]
    file = io.BytesIO(b"".join(streams))
    expected, at = [], 0
    for stream in streams[:-1]:
        at += len(stream)
        expected.append(at)

    found, position = [], 0
    while (border := find_border(file, position, len(file.getvalue()))) is not None:
        found.append(border)
        position = border + 1

    assert found == expected


def test_a_magic_number_without_a_footer_before_it_is_no_border(tmp_path: Path, small_units: None) -> None:
    magic = b"BZh91AY&SY"
    assert not is_border(bytes(11), magic)
    assert not is_border(b"\x17\x72\x45\x38\x50\x90" + bytes(5), b"BZh91AY&SX")
    assert is_border(b"x\x17\x72\x45\x38\x50\x90" + bytes(4), magic)
    # Another compression's bytes, with the magic in it: a stored gzip block shows what it holds as it is.
    hidden = [make_page(1, f"a {magic.decode()} b"), make_page(2)]
    assert read(write_dump(tmp_path / "d", hidden, "gz", level=0)) == hidden


# -- memory and speed --


@pytest.mark.parametrize("compression", ["plain", "bz2", "multistream"])
def test_a_bomb_takes_bounded_memory_and_ends_with_an_error(tmp_path: Path, compression: str) -> None:
    bomb = head_of() + "<page><title>B</title><id>1</id><revision><text>"
    fill = [b"a" * (1 << 20)] * 24
    parts: list[str | bytes] = [head_of(), xml_of(make_page(1)), bomb.removeprefix(head_of())]
    if compression == "multistream":
        parts = [*parts[:1], xml_of(make_page(1)), parts[2] + "a" * (24 << 20)]
    else:
        parts += fill
    path = write_parts(tmp_path / "d", parts, compression)
    tracemalloc.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(units, "PAGE_LIMIT_BYTES", 1 << 20)
            patch.setattr("synthgen.wiki.compressed.BLOCK_LIMIT_BYTES", 1 << 20)
            found, error = read_until(path)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert found[0] == make_page(1)
    assert "cut off" in error.what
    assert peak_bytes < 12 << 20


_MEASURE = """
import sys
from pathlib import Path
from synthgen.wiki.dump import open_dump
from synthgen.wiki.pages import read_pages
n = 0
dump = open_dump(Path(sys.argv[1]))
for unit in dump.units():
    for page in read_pages(unit, dump.site):
        n += 1
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(n, int(peak.split()[1]) // 1024, sorted({"mwparserfromhell", "torch", "pyarrow"} & sys.modules.keys()))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see the peak of memory")
def test_memory_is_flat_for_a_large_dump_and_a_page_of_50_mb(tmp_path: Path) -> None:
    def measured(path: Path) -> tuple[int, int]:
        output = subprocess.run(
            [sys.executable, "-c", _MEASURE, str(path)], check=True, capture_output=True, text=True
        ).stdout.split(maxsplit=2)
        assert output[2].strip() == "[]"
        return int(output[0]), int(output[1])

    text = "word " * 2_000
    few = measured(write_dump(tmp_path / "a", (make_page(i, text) for i in range(200))))
    many = measured(write_dump(tmp_path / "a", (make_page(i, text) for i in range(6_000)), "gz", level=1))
    huge = measured(write_dump(tmp_path / "a", [make_page(1), make_page(2, text * 5_000), make_page(3)]))

    assert (few[0], many[0], huge[0]) == (200, 6_000, 3)
    assert many[1] < few[1] + 20
    assert huge[1] < few[1] + 350


def test_the_real_excerpt_is_read_whole() -> None:
    found = read(excerpt_path())

    assert len(found) == 206
    assert all(isinstance(page, Page) and page.page_id for page in found)
    first = found[0]
    assert isinstance(first, Page)
    assert first[:6] == (
        10,
        "AccessibleComputing",
        0,
        631144794,
        "2014-10-26T04:50:23Z",
        "Computer accessibility",
    )


@pytest.mark.parametrize("compression", ["multistream", "gz"])
def test_zeros_where_a_stream_should_be_are_damage_and_behind_the_last_one_are_none(
    tmp_path: Path, compression: str
) -> None:
    """A disk that lost a block leaves a hole of zeros, which may be as large as what stood there."""
    parts = [head_of(), *("".join(map(xml_of, make_pages(3, first))) for first in (1, 4, 7)), TAIL]
    pack = gzip.compress if compression == "gz" else bz2.compress
    packed = [pack(part.encode()) for part in parts]
    path = tmp_path / "d.xml"
    path.write_bytes(b"".join(packed) + bytes(5_000))
    assert len(read(path)) == 9
    path.write_bytes(b"".join([*packed[:2], bytes(len(packed[2])), *packed[3:]]))
    pages, error = read_until(path)
    assert len(pages) == 3 and "zeros" in str(error)
