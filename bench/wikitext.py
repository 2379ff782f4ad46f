"""How many pages a second become plain text on one core, how much markup is left, and what do others do?"""

from __future__ import annotations

import importlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.settings import Settings
from bench.table import Cell, Result, Spread, Table
from synthgen.errors import UsageError
from synthgen.runtime.progress import Progress
from synthgen.wiki.articles import Article, Page, Site
from synthgen.wiki.dump import open_dump
from synthgen.wiki.pages import read_pages
from synthgen.wiki.plain import load_parser
from synthgen.wiki.remains import remains
from synthgen.wiki.text import check_parser, make_article

OURS = "synthgen (the lead)"
PARSER = "mwparserfromhell strip_code (whole pages)"
GENSIM = "gensim filter_wiki (whole pages)"

#: From one page to its text, or to None where it is left out.
Reading = Callable[[Page], str | None]


@dataclass(frozen=True)
class Pass:
    """All ``n_pages`` read once, by processor time, and the texts with at least one remain of a kind."""

    reader: str
    n_pages: int
    n_texts: int
    cpu_s: float
    found: dict[str, int]


def run(settings: Settings) -> Result:
    """Read the articles of ``--dump``, and all its pages; raise UsageError (flag), InputError (dump)."""
    if settings.dump is None:
        raise UsageError("wikitext needs --dump FILE, a MediaWiki XML dump")
    check_parser()
    site, pages = read_dump(settings.dump, settings.rows_of(quick=100, normal=1_000, full=10_000))
    articles = [page for page in pages if page.redirect is None and page.namespace == 0]
    progress = Progress("wikitext", settings.n_repetitions, "repetitions")
    passes: list[Pass] = []
    for repetition in range(settings.n_repetitions):
        passes.append(measure("all pages", _ours(site), pages))
        passes += [measure(name, reading, articles) for name, reading in readers(site).items()]
        progress.update(repetition + 1)
    progress.finish(f"{len(pages):,} pages, {len(articles):,} of them no redirects")
    measurements: list[dict[str, Any]] = [*map(asdict, passes)]
    configuration = {**settings.to_document(), "pages": len(pages), "articles": len(articles)}
    return Result("wikitext", configuration, [rates_table(passes), remains_table(passes)], measurements)


def read_dump(path: Path, limit: int) -> tuple[Site, list[Page]]:
    """Return what the dump says of itself, and its first ``limit`` pages."""
    dump, pages = open_dump(path), list[Page]()
    for unit in dump.units():
        pages += [page for page in read_pages(unit, dump.site) if isinstance(page, Page)]
        if len(pages) >= limit:
            break
    return dump.site, pages[:limit]


def readers(site: Site) -> dict[str, Reading]:
    """Return how texts are made, by name; gensim only where it is installed."""
    parser = load_parser()
    found: dict[str, Reading] = {
        OURS: _ours(site),
        PARSER: lambda page: str(parser.parse(page.wikitext).strip_code()),
    }
    try:
        gensim = importlib.import_module("gensim.corpora.wikicorpus")
    except ImportError:
        return found
    return {**found, GENSIM: lambda page: str(gensim.filter_wiki(page.wikitext))}


def _ours(site: Site) -> Reading:
    def read(page: Page) -> str | None:
        made = make_article(page, site)
        return made.text if isinstance(made, Article) else None

    return read


def measure(name: str, reading: Reading, pages: Sequence[Page]) -> Pass:
    """Read ``pages`` once; the counting of remains is not in the time."""
    began_s = time.process_time()
    texts = [text for page in pages if (text := reading(page))]
    cpu_s = time.process_time() - began_s
    found = Counter[str]()
    for text in texts:
        found.update(remains(text).keys())
    return Pass(name, len(pages), len(texts), cpu_s, dict(found))


def rates_table(passes: Sequence[Pass]) -> Table:
    """Return pages a second of processor time, by reader."""
    rows: list[tuple[Cell, ...]] = []
    for name in dict.fromkeys(one.reader for one in passes):
        own = [one for one in passes if one.reader == name]
        rows.append((name, own[0].n_pages, own[0].n_texts, Spread.of(one.n_pages / one.cpu_s for one in own)))
    note = "all but the first row: without redirects and other namespaces"
    return Table("Pages to plain text, one core", ("reader", "pages", "texts", "pages/s"), rows, (note,))


def remains_table(passes: Sequence[Pass]) -> Table:
    """Return of how many texts in a thousand each kind of remains is a part, by reader."""
    latest = {one.reader: one for one in passes if one.n_texts}
    kinds = sorted({kind for one in latest.values() for kind in one.found})
    rows: list[tuple[Cell, ...]] = [
        (kind, *(1_000 * one.found.get(kind, 0) / one.n_texts for one in latest.values())) for kind in kinds
    ]
    return Table("Texts with remains of markup, of 1,000", ("kind", *latest), rows)
