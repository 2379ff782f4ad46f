"""What travels through phase 1: pages of a dump, the articles that they become, and why one is left out."""

from __future__ import annotations

from typing import Literal, NamedTuple

#: Characters of a text, behind its title, that its embedding is made of: the seed's rule, by which the
#: built-in articles were embedded, too. What follows is stored and not embedded.
EMBEDDED_CHARACTERS = 1_000

#: Why a page is no memory; the words that reports count by.
Reason = Literal["namespace", "redirect", "disambiguation", "short", "unreadable", "duplicate"]


class Site(NamedTuple):
    """What a dump says of itself: language (``en``), database (``enwiki``), export version (``0.11``), and
    the local names of its namespaces by number, without aliases; all empty where it has no head.
    """

    language: str
    database: str
    version: str
    namespaces: dict[int, str]


class Page(NamedTuple):
    """One page of a dump, as it was exported; ``timestamp`` is the revision's, RFC 3339 (empty: unknown);
    ``redirect`` is the title that a ``<redirect>`` element names, or None.
    """

    page_id: int
    title: str
    namespace: int
    revision_id: int
    timestamp: str
    redirect: str | None
    wikitext: str


class Article(NamedTuple):
    """One article in plain text: ``text`` is what is stored: title, newline, its beginning.

    ``key`` names it for good (a page id, or an id that a table gave); ``revision`` tells one state of it from
    another (a revision id, or nothing); ``timestamp`` is RFC 3339, or empty.
    """

    key: str
    revision: str
    title: str
    timestamp: str
    text: str

    @property
    def embedded(self) -> str:
        """What is embedded: the title, a newline, and the first 1,000 characters behind them."""
        before = len(self.title) + 1 if self.text.startswith(f"{self.title}\n") else 0
        return self.text[: before + EMBEDDED_CHARACTERS]


class Skipped(NamedTuple):
    """A page that does not become a memory."""

    key: str
    title: str
    reason: Reason


#: What becomes of a page.
Outcome = Article | Skipped
