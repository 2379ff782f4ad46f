"""Wikitext, read once from left to right: what no reader sees is cut out, and the lead ends at a heading.

Source of the rules: MediaWiki's preprocessor (comments and extension tags first, then braces and brackets,
then tables and headings at the start of a line). Each character is looked at a bounded number of times,
whatever it is: what stays open is remembered, and the text is read again as if that did not open anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from synthgen.wiki.articles import Site
from synthgen.wiki.formulas import read_formula
from synthgen.wiki.languages import CATEGORY_NAMES, FILE_NAMES, LANGUAGE_CODES

#: Characters of a page that are read at all: no lead begins or ends behind them.
SCAN_LIMIT = 200_000
#: Constructs within each other; what opens more is no markup.
_DEEPEST = 40
#: Characters of a link or of a kept template; longer ones are no links, and no templates worth keeping.
_LONGEST = 4_000

#: A character of Unicode's private use between brackets that do not belong together.
APART = "\ue002"

#: Extension and HTML tags that hide their content, or hold none that reads as text.
_OPAQUE = (
    "nowiki|pre|ref|references|gallery|math|chem|ce|timeline|imagemap|score|graph|mapframe|maplink|hiero|table"
    "|templatestyles|indicator|syntaxhighlight|source|inputbox|includeonly|categorytree|templatedata|style|script"
)
_TOKEN = re.compile(
    rf"<!--|<(?:{_OPAQUE})(?=[\s/>])|\{{\{{+|\}}\}}+|\[\[|\]\]"
    r"|\n(?:[ \t:;*#]*\{\||[ \t]*\|\}|=)",
    re.IGNORECASE,
)
_TAG_END = re.compile(r"[^<>]{0,2000}>")
_ROWS = re.compile(r"[^\n]*(?:\n[ \t]*[|!}][^\n]*)*")
#: What nowiki hides from the parser, written as entities, which are resolved last.
_LITERAL = {ord(c): f"&#{ord(c)};" for c in "&<>[]{}|'=*#:;_-"}


@lru_cache(maxsize=64)
def _names(language: str, file: str, category: str) -> frozenset[str]:
    local = FILE_NAMES.get(language, ())
    if not language:
        local = tuple(name for names in FILE_NAMES.values() for name in names)
    names = {"file", "image", "media", *local, *CATEGORY_NAMES, file.lower(), category.lower()}
    return LANGUAGE_CODES | frozenset(names - {""})


def hidden_names(site: Site) -> frozenset[str]:
    """Return the prefixes, in lower case, of links that show no text where they stand: to files, categories
    and other languages.
    """
    return _names(site.language.split("-")[0], site.namespaces.get(6, ""), site.namespaces.get(14, ""))


def _is_hidden(link: str, names: frozenset[str]) -> bool:
    colon = link.find(":", 0, 80)
    return colon > 0 and link[:colon].replace("_", " ").strip().lower() in names


def strip_hidden(
    wikitext: str, names: frozenset[str], keeps: Callable[[str], bool], *, whole: bool, enough: int
) -> str:
    """Return ``wikitext`` up to its first heading (``whole``: without headings), of which nothing is left but
    text, links, tags of HTML and the templates whose content ``keeps`` accepts, all of them closed.

    Reading ends when ``enough`` characters are there. Never raises; takes time in proportion to the text.
    """
    wanted = _Wanted("\n" + wikitext[:SCAN_LIMIT], names, keeps, whole, enough)
    scan = _Scan(wanted, frozenset())
    if unclosed := scan.run():
        scan = _Scan(wanted, unclosed)
        scan.run()
    return scan.result()


class _Wanted(NamedTuple):
    text: str
    names: frozenset[str]
    keeps: Callable[[str], bool]
    whole: bool
    enough: int


class _Frame:
    """Something open: what by, where, and the text in it so far."""

    __slots__ = ("at", "opener", "parts")

    def __init__(self, opener: str, at: int) -> None:
        self.opener = opener
        self.at = at
        self.parts: list[str] = []


class _Scan:
    """One reading; ``plain`` are places of openers that are known to stay open."""

    def __init__(self, wanted: _Wanted, plain: frozenset[int]) -> None:
        self._text, self._names, self._keeps, self._whole, self._enough = wanted
        self._plain = plain
        self._frames = [_Frame("", 0)]
        self._unending: set[str] = set()
        self._n_root = 0

    def run(self) -> frozenset[int]:
        """Read; return where templates and tables begin that the text does not close."""
        text, at = self._text, 0
        search = _TOKEN.search
        while (match := search(text, at)) is not None:
            start = match.start()
            self._put_text(at, start)
            if self._n_root > self._enough and len(self._frames) == 1:
                return frozenset()
            at = self._take(match.group(), start, match.end())
            if at < 0:
                return frozenset()
        self._put_text(at, len(text))
        return frozenset(frame.at for frame in self._frames if frame.opener not in ("", "[["))

    def result(self) -> str:
        """Return what was read; what is still open lost its openers."""
        while len(self._frames) > 1:
            self._unwind()
        return "".join(self._frames[0].parts)

    def _put_text(self, start: int, stop: int) -> None:
        if start < stop:
            text = self._text[start:stop]
            self._put(APART + text if text[0] in "]}" else text)

    def _put(self, text: str) -> None:
        if not text:
            return
        if len(self._frames) == 1:  # no more than is wanted, however long it goes on without markup
            if self._n_root > self._enough:
                return
            text = text if len(text) <= _LONGEST + 5 else text[: self._enough + 1 - self._n_root]
            self._n_root += len(text)
        self._frames[-1].parts.append(text)

    def _put_whole(self, construct: str) -> None:
        # A single bracket before it would make another construct of it.
        parts = self._frames[-1].parts
        self._put(APART + construct if parts and parts[-1][-1] in "[{" else construct)

    def _take(self, token: str, start: int, end: int) -> int:
        # Returns where to go on, or -1 at the end of the lead.
        if token == "[[":
            return self._open("[[", start, end)
        if token == "]]":
            return self._close_link(end)
        if token[0] in "{}":
            return (self._open_braces if token[0] == "{" else self._close_braces)(start, end)
        if token[0] == "<":
            return self._skip_comment(end) if token == "<!--" else self._skip_tag(token[1:].lower(), end)
        return self._take_line(token[-1], start, end)

    def _take_line(self, last: str, start: int, end: int) -> int:
        if last == "=":
            return self._take_heading(start)
        return self._open("{|", start, end) if last == "|" else self._close_table(start, end)

    def _open(self, opener: str, start: int, end: int) -> int:
        if start in self._plain:
            starts_line = opener == "{|" or self._text[start - 1] == "\n"
            rows = _ROWS.match(self._text, end) if starts_line else None
            return rows.end() if rows is not None else end
        if len(self._frames) <= _DEEPEST:
            if opener == "{|":
                self._put("\n")
            self._frames.append(_Frame(opener, start))
        return end

    def _open_braces(self, start: int, end: int) -> int:
        n, at = end - start, start
        while n >= 2:
            width = 3 if n == 3 else 2
            if at in self._plain:
                return self._open("{{", at, at + width)
            self._open("{" * width, at, at + width)
            at += width
            n -= width
        return end

    def _close_braces(self, start: int, end: int) -> int:
        left = end - start
        while left >= 2:
            depth = next(
                (i for i in range(len(self._frames) - 1, 0, -1) if self._frames[i].opener[:2] == "{{"), 0
            )
            if depth == 0:
                break
            while len(self._frames) - 1 > depth:
                self._unwind()
            left -= self._close_template(left)
        return end

    def _close_template(self, left: int) -> int:
        frame = self._frames.pop()
        content = "".join(frame.parts)
        if frame.opener == "{{{" and left >= 3:
            self._put(content.partition("|")[2][:_LONGEST])
            return 3
        if len(content) <= _LONGEST and self._keeps(content):
            self._put_whole("{{" + content + "}}")
        return 2

    def _close_link(self, end: int) -> int:
        if self._frames[-1].opener == "[[":
            content = "".join(self._frames.pop().parts)
            if not _is_hidden(content, self._names):
                is_link = "[[" not in content and "\n\n" not in content and len(content) <= _LONGEST
                if is_link:
                    self._put_whole("[[" + content + "]]")
                else:
                    self._put(_shown(content))
        return end

    def _close_table(self, start: int, end: int) -> int:
        depth = next((i for i in range(len(self._frames) - 1, 0, -1) if self._frames[i].opener != "[["), 0)
        if depth == 0 or self._frames[depth].opener != "{|":
            self._put("\n")
            return end - 1 if depth else end
        del self._frames[depth:]
        self._put("\n")
        return end

    def _unwind(self) -> None:
        # What was not closed was no markup: its text stays, without what opened it.
        frame = self._frames.pop()
        parts = frame.parts
        if frame.opener == "[[" and _is_hidden("".join(parts[:9]), self._names):
            parts = ["".join(parts).partition("\n")[2]]
        for part in parts:
            self._put(part)

    def _skip_comment(self, end: int) -> int:
        found = self._text.find("-->", end)
        return len(self._text) if found < 0 else found + 3

    def _skip_tag(self, name: str, end: int) -> int:
        opened = _TAG_END.match(self._text, end)
        if opened is None:
            return end
        if opened.group()[-2:] == "/>":
            return opened.end()
        closer = None if name in self._unending else _closer(name).search(self._text, opened.end())
        if closer is None:
            self._unending.add(name)
            line_end = self._text.find("\n", opened.end())
            return opened.end() if name != "ref" else len(self._text) if line_end < 0 else line_end
        content = self._text[opened.end() : closer.start()]
        if name in ("nowiki", "pre"):
            self._put(content[:_LONGEST].translate(_LITERAL))
        elif name in ("math", "chem", "ce"):
            self._put(read_formula(content[:_LONGEST]).translate(_LITERAL))
        return closer.end()

    def _take_heading(self, start: int) -> int:
        end = self._text.find("\n", start + 1)
        end = len(self._text) if end < 0 else end
        line = self._text[start + 1 : end]
        line = _without_comments(line).rstrip()
        if len(line) < 3 or line[-1] != "=" or any(frame.opener not in ("", "[[") for frame in self._frames):
            self._put("\n=")
            return start + 2
        while len(self._frames) > 1:
            self._unwind()
        if not self._whole:
            return -1
        self._put("\n\n")
        return end


@lru_cache(maxsize=64)
def _closer(name: str) -> re.Pattern[str]:
    return re.compile(rf"</{name}\s{{0,99}}>", re.IGNORECASE)


def _without_comments(line: str) -> str:
    parts, at = [], 0
    while (start := line.find("<!--", at)) >= 0 and (stop := line.find("-->", start)) >= 0:
        parts.append(line[at:start])
        at = stop + 3
    return "".join([*parts, line[at:]])


def _shown(content: str) -> str:
    # A link that holds links: what stands behind its first bar, if that comes before them.
    target, bar, label = content.partition("|")
    return label if bar and "[[" not in target else content
