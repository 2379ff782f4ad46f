"""Pages of our own for tests of wikitext, and those of the real excerpt."""

import pytest

from synthgen.wiki.articles import Article, Page, Site
from synthgen.wiki.text import make_article
from tests.wiki.dumps import excerpt_pages

SITE = Site("en", "enwiki", "0.11", {0: "", 6: "File", 10: "Template", 14: "Category"})
GERMAN = Site("de", "dewiki", "0.11", {0: "", 6: "Datei", 14: "Kategorie"})
pytest.importorskip("mwparserfromhell", reason="needs the extra wikipedia: pip install '.[wikipedia]'")

#: Long enough that a lead which begins with it is an article.
OPENING = "A lantern is a portable light that hangs from a handle, or stands on a table. "


def page(wikitext: str, title: str = "Lantern", namespace: int = 0, redirect: str | None = None) -> Page:
    return Page(17, title, namespace, 99, "2024-01-02T03:04:05Z", redirect, wikitext)


def text_of(wikitext: str, site: Site = SITE, max_characters: int = 4_000) -> str:
    """Return the text behind title and newline; the page must be an article."""
    article = make_article(page(wikitext), site, max_characters)
    assert isinstance(article, Article), article
    assert article.text.startswith("Lantern\n")
    return article.text.removeprefix("Lantern\n")


def line_of(wikitext: str, site: Site = SITE) -> str:
    """Return what ``wikitext`` comes to behind a sentence that makes an article of it."""
    text = text_of(OPENING + "\n" + wikitext, site)
    assert text.startswith(OPENING.strip())
    return text.removeprefix(OPENING.strip()).strip()


def real_pages() -> tuple[Site, list[Page]]:
    """Return the pages of the real excerpt; skips as :func:`tests.wiki.dumps.excerpt_path` does."""
    return SITE, excerpt_pages()
