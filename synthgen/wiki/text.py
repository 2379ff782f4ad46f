"""A page of a dump as an article in plain text: its title, and its lead within a number of characters.

The same page gives the same text on every machine. Whatever changes a text raises :data:`TEXT_VERSION`.
"""

from __future__ import annotations

from synthgen.wiki.articles import Article, Page, Site, Skipped
from synthgen.wiki.cutting import MAX_CHARACTERS, MIN_CHARACTERS, compose, cut
from synthgen.wiki.markup import hidden_names, strip_hidden
from synthgen.wiki.plain import load_parser, read_plain
from synthgen.wiki.rules import why_left_out
from synthgen.wiki.templates import keeps_template
from synthgen.wiki.tidy import clean_line

#: Of the rules that make a text of a page; kept with what was made by them.
TEXT_VERSION = 1


def check_parser() -> None:
    """Raise InputError where the parser of wikitext is not installed: better before any work than in it."""
    load_parser()


def make_article(page: Page, site: Site, max_characters: int = MAX_CHARACTERS) -> Article | Skipped:
    """Return ``page`` as an article, or why it is none.

    The text is title, newline, and the lead (all before the first heading) in at most ``max_characters``
    characters in all (code points), cut at the end of a sentence, else of a word, never inside of a combined
    character. A lead of fewer than 50 characters goes on with what follows, without headings; a page with
    fewer in all is ``short``. Never raises for any wikitext, and reads at most the first 200,000
    characters of it; raises InputError where the parser is not installed.
    """
    key = str(page.page_id)
    title = clean_line(page.title)
    if reason := why_left_out(page):
        return Skipped(key, title, reason)
    try:
        body = _read_beginning(page.wikitext, title, site, max_characters)
    except (RecursionError, MemoryError):
        return Skipped(key, title, "unreadable")
    if len(body) < MIN_CHARACTERS:
        return Skipped(key, title, "short")
    text = compose(title, body, max_characters)
    return Article(key, str(page.revision_id), title, page.timestamp, text)


def _read_beginning(wikitext: str, title: str, site: Site, max_characters: int) -> str:
    body = ""
    for whole in (False, True):
        enough = 2 * max_characters + 2_000
        residue = strip_hidden(wikitext, hidden_names(site), keeps_template, whole=whole, enough=enough)
        body = read_plain(residue, title)
        if len(residue) > enough and len(body) > 1:
            body = cut(body, len(body) - 1)  # reading ended anywhere: back to the last whole sentence
        if len(body) >= MIN_CHARACTERS:
            break
    return body
