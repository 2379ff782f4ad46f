"""MediaWiki dumps of any size, compression and export version, made of pages; and the real excerpt."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import importlib.util
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import cycle, islice
from pathlib import Path
from typing import IO
from xml.sax.saxutils import escape, quoteattr

import pytest

from synthgen.wiki.articles import Page

#: Local names of namespaces that a head gets unless told otherwise.
NAMESPACES = {
    -2: "Media",
    -1: "Special",
    0: "",
    1: "Talk",
    2: "User",
    6: "File",
    10: "Template",
    14: "Category",
    100: "Portal",
}
EXCERPT = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
TAIL = "</mediawiki>\n"


def make_page(page_id: int, wikitext: str | None = None, **fields: object) -> Page:
    """Return a page with plausible fields; ``fields`` replaces any of them."""
    text = f"'''Page {page_id}''' is a [[page]] & more, " + "word " * 20 if wikitext is None else wikitext
    page = Page(page_id, f"Page {page_id}", 0, page_id * 10 + 7, "2026-01-01T12:00:00Z", None, text)
    return page._replace(**fields)  # type: ignore[arg-type]


def make_pages(count: int, first_id: int = 1) -> list[Page]:
    """Return ``count`` small pages with ascending ids."""
    return [make_page(first_id + i) for i in range(count)]


def repeat_pages(pages: Iterable[Page], count: int) -> Iterator[Page]:
    """Yield ``count`` pages, ``pages`` again and again, with ids and titles of their own."""
    for number, page in enumerate(islice(cycle(pages), count), start=1):
        yield page._replace(page_id=number, revision_id=number * 10 + 7, title=f"{page.title} ({number})")


def head_of(
    version: str = "0.11",
    language: str = "en",
    database: str = "",
    namespaces: Mapping[int, str] | None = None,
    *,
    siteinfo: bool = True,
) -> str:
    """Return what stands before the first page."""
    address = f"http://www.mediawiki.org/xml/export-{version}/"
    lines = [
        f'<mediawiki xmlns="{address}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:schemaLocation="{address} {address[:-1]}.xsd" version="{version}" xml:lang="{language}">'
    ]
    if siteinfo:
        lines += ["  <siteinfo>", "    <sitename>Wikipedia</sitename>"]
        lines += [f"    <dbname>{database or language + 'wiki'}</dbname>", "    <case>first-letter</case>"]
        lines += ["    <namespaces>"]
        for key, name in (NAMESPACES if namespaces is None else namespaces).items():
            start = f'      <namespace key="{key}" case="first-letter"'
            lines += [f"{start}>{escape(name)}</namespace>" if name else f"{start} />"]
        lines += ["    </namespaces>", "  </siteinfo>"]
    return "\n".join(lines) + "\n"


def xml_of(page: Page) -> str:
    """Return the ``<page>`` element of ``page``, as an export of schema 0.11 writes it."""
    redirect = f"    <redirect title={quoteattr(page.redirect)} />\n" if page.redirect is not None else ""
    time = f"      <timestamp>{page.timestamp}</timestamp>\n" if page.timestamp else ""
    n_bytes = len(page.wikitext.encode())
    text = f'<text bytes="{n_bytes}" sha1="0" xml:space="preserve">{escape(page.wikitext)}</text>'
    if not page.wikitext:
        text = '<text bytes="0" sha1="phoiac9h4m842xq45sp7s6u21eteeq1" xml:space="preserve" />'
    return (
        f"  <page>\n    <title>{escape(page.title)}</title>\n    <ns>{page.namespace}</ns>\n"
        f"    <id>{page.page_id}</id>\n{redirect}    <revision>\n      <id>{page.revision_id}</id>\n"
        f"      <parentid>1</parentid>\n{time}      <contributor>\n        <username>A &amp; B</username>\n"
        "        <id>999999999</id>\n      </contributor>\n      <comment>done &lt;so&gt;</comment>\n"
        f"      <origin>{page.revision_id}</origin>\n      <model>wikitext</model>\n"
        f"      <format>text/x-wiki</format>\n      {text}\n      <sha1>0</sha1>\n"
        "    </revision>\n  </page>\n"
    )


def write_dump(
    path: Path,
    pages: Iterable[Page],
    compression: str = "plain",
    version: str = "0.11",
    language: str = "en",
    *,
    database: str = "",
    namespaces: Mapping[int, str] | None = None,
    siteinfo: bool = True,
    tail: bool = True,
    pages_per_stream: int = 100,
    level: int = 9,
) -> Path:
    """Write a dump of ``pages``, which may be more than fit into memory; return ``path``.

    ``compression`` is plain, gz, bz2 (one stream) or multistream (head, every ``pages_per_stream`` pages
    and tail as streams of their own, as Wikimedia does); ``level`` is that of gz and bz2.
    """
    head = head_of(version, language, database, namespaces, siteinfo=siteinfo)
    write_parts(path, _parts(head, pages, tail, pages_per_stream), compression, level)
    return path


def write_parts(path: Path, parts: Iterable[str | bytes], compression: str = "plain", level: int = 9) -> Path:
    """Write ``parts`` of a file compressed; of a multistream file, each is a stream; return ``path``."""
    encoded = (part.encode() if isinstance(part, str) else part for part in parts)
    with contextlib.ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(path.open("wb"))
        if compression == "gz":
            file = stack.enter_context(gzip.GzipFile("", "wb", level, file, 0))  # type: ignore[arg-type]
        elif compression == "bz2":
            file = stack.enter_context(bz2.BZ2File(file, "wb", compresslevel=level))
        for part in encoded:
            file.write(bz2.compress(part, level) if compression == "multistream" else part)
    return path


def _parts(head: str, pages: Iterable[Page], tail: bool, pages_per_stream: int) -> Iterator[str]:
    yield head
    remaining = iter(pages)
    while part := "".join(map(xml_of, islice(remaining, pages_per_stream))):
        yield part
    if tail:
        yield TAIL


def excerpt_path() -> Path:
    """Return the path of 206 real pages (English Wikipedia, 2016), which the gensim wheel has among its test
    data; the test is skipped where gensim is not installed and ``SYNTHGEN_TEST_DUMP`` names no file.
    """
    named = os.environ.get("SYNTHGEN_TEST_DUMP")
    if named:
        return Path(named)
    found = importlib.util.find_spec("gensim")
    if found is not None and found.submodule_search_locations:
        path = Path(found.submodule_search_locations[0]) / "test" / "test_data" / EXCERPT
        if path.exists():
            return path
    pytest.skip("needs the real excerpt: gensim installed, or SYNTHGEN_TEST_DUMP=FILE")


def excerpt_pages() -> list[Page]:
    """Return the pages of the real excerpt; skips as :func:`excerpt_path` does."""
    from synthgen.wiki.dump import open_dump
    from synthgen.wiki.pages import read_pages

    dump = open_dump(excerpt_path())
    return [page for unit in dump.units() for page in read_pages(unit) if isinstance(page, Page)]
