"""Which pages of a dump are articles."""

from __future__ import annotations

import re

from synthgen.wiki.articles import Page, Reason
from synthgen.wiki.languages import (
    CATEGORY_NAMES,
    DISAMBIGUATION_CATEGORIES,
    DISAMBIGUATION_TEMPLATES,
    REDIRECT_WORDS,
)


def _alternatives(words: tuple[str, ...]) -> str:
    return "|".join(
        re.escape(word).replace("_", "[ _]") for word in sorted(set(words), key=len, reverse=True)
    )


_REDIRECT = re.compile(
    rf"\s{{0,99}}[#＃] ?(?:{_alternatives(REDIRECT_WORDS)})\s{{0,9}}:?\s{{0,9}}\[\[", re.IGNORECASE
)
_TEMPLATES = frozenset(name.replace("_", " ") for name in DISAMBIGUATION_TEMPLATES)
_TEMPLATE = re.compile(r"\{\{\s{0,9}([^|{}\[\]<\n]{1,60})(?=[|}\n<])|__DISAMBIG__")
_CATEGORIES = "|".join(DISAMBIGUATION_CATEGORIES).replace("_", "[ _]")
# The first two characters stand outside of the part without regard to case: they can be searched for quickly.
_CATEGORY = re.compile(
    rf"\[\[(?i:\s{{0,9}}(?:{_alternatives(CATEGORY_NAMES)})\s{{0,9}}:\s{{0,9}}(?:{_CATEGORIES}))\s{{0,9}}[|\]]"
)
#: Characters at both ends of a page between which nothing says that it is one of disambiguation: templates
#: stand first or last, categories and (in old dumps) up to 300 links to other languages behind them.
_FIRST, _LAST = 5_000, 15_000
_HIDDEN = re.compile(r"<!--.*?(?:-->|\Z)|<nowiki>.*?(?:</nowiki>|\Z)", re.DOTALL | re.IGNORECASE)


def why_left_out(page: Page) -> Reason | None:
    """Return why ``page`` is no article, or None where it may be one (its text decides that in the end).

    Outside of namespace 0; a redirect, by its element or by the word that its text begins with; a page of
    disambiguation, by a template, a category or ``__DISAMBIG__``, in the languages of ``languages.py`` (a
    title says nothing: an article may end with any words).
    """
    if page.namespace != 0:
        return "namespace"
    if page.redirect is not None or _REDIRECT.match(page.wikitext):
        return "redirect"
    return "disambiguation" if _is_disambiguation(page.wikitext) else None


def _is_disambiguation(wikitext: str) -> bool:
    if len(wikitext) > _FIRST + _LAST:
        wikitext = wikitext[:_FIRST] + wikitext[-_LAST:]
    # Comments seldom name such a template: only then they are taken out, and the rest is searched again.
    return _names_disambiguation(wikitext) and _names_disambiguation(_HIDDEN.sub("", wikitext))


def _names_disambiguation(wikitext: str) -> bool:
    for match in _TEMPLATE.finditer(wikitext):
        name = match.group(1)
        if name is None or name.strip().replace("_", " ").lower().removeprefix("template:") in _TEMPLATES:
            return True
    return _CATEGORY.search(wikitext) is not None
