"""What is left of wikitext once all that is hidden is cut out (``markup.py``), as plain text."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from synthgen.errors import InputError
from synthgen.wiki.markup import APART
from synthgen.wiki.templates import Values, read_template
from synthgen.wiki.tidy import tidy

_SUPERSCRIPTS = str.maketrans("0123456789+-−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻")
_POWER = re.compile(r"<sup>([-+−]?\d{1,9}[-+−]?)</sup>", re.IGNORECASE)
_UNSEEN = re.compile(
    r"<(span|div)\b[^<>]{0,300}display:\s?none[^<>]{0,300}>[^<>]{0,2000}</\1>", re.IGNORECASE
)
_BREAK = re.compile(
    r"</?(?:br|hr|p|div|li|[uo]l|d[ltd]|blockquote|center|poem|h[1-6]|tr|td)\b[^<>]{0,2000}>", re.IGNORECASE
)
#: Elements that MediaWiki lets through, and tags of its extensions; all else between < and > is text.
TAGS = (
    "a|abbr|b|bdi|bdo|big|blockquote|br|caption|ce|center|chem|cite|code|data|dd|del|dfn|div|dl|dt|em"
    "|font|gallery|h[1-6]|hr|i|imagemap|img|includeonly|indicator|ins|kbd|li|mark|math|noinclude|nowiki|ol"
    "|onlyinclude|p|poem|pre|q|rb|ref|references|rp|rt|rtc|ruby|s|samp|score|section|small|source|span"
    "|strike|strong|sub|sup|syntaxhighlight|table|tbody|td|templatestyles|th|thead|time|timeline|tr"
    "|translate|tt|tvar|u|ul|var|wbr"
)
_TAG = re.compile(rf"</?(?:{TAGS})(?:[\s/][^<>]{{0,2000}})?>", re.IGNORECASE)
#: Schemes as the parser and MediaWiki know them. Links in one pair of brackets are read here: the parser
#: takes exponential time over a few of them that stay open within each other.
_SCHEME = r"(?:[a-z]{2,12}:)?//|(?:mailto|news|tel|urn|sips?|magnet|geo|bitcoin|xmpp):"
_ADDRESS = re.compile(
    rf"\[(?:{_SCHEME})[^\s\[\]]{{0,2000}}"
    r"(?:[ \t]+((?:[^\[\]\n]|\[\[[^\[\]\n]{1,300}\]\]){0,500}))?\]",
    re.IGNORECASE,
)
_OPEN_ADDRESS = re.compile(rf"\[(?={_SCHEME})", re.IGNORECASE)
_ITEM = re.compile(r"^[*#:;]+[ \t]*", re.MULTILINE)
_EQUALS = re.compile("^=", re.MULTILINE)  # of no heading, but the parser would try each
_RULE = re.compile(r"^-{4,}", re.MULTILINE)
_SWITCH = re.compile(r"__(\w{3,40}?)__")
_VARIANT = re.compile(r"-\{([^{}]{0,1000})\}-")
#: A line that only points elsewhere: indented, and italic from end to end.
_HATNOTE = re.compile(r"^:+[ \t]*(?:''[^\n]*''|<i>[^\n]*</i>)[ \t.]*$", re.MULTILINE)
_ROW = re.compile(r"^[ \t]*(?:\||![^\n]*(?:\||!!)|\{\||\}+[ \t]*$)[^\n]*$", re.MULTILINE)


def read_plain(residue: str, title: str) -> str:
    """Return ``residue``, what :func:`synthgen.wiki.markup.strip_hidden` left, as lines of plain text.

    Links and inline templates are read by mwparserfromhell; where it fails, they lose their brackets and
    keep their words. ``title`` is what a page calls itself. Raises InputError where it is not installed.
    """
    text = _flatten(residue)
    if "[[" in text or "{{" in text:
        reader, parser = _Reader(title), load_parser().parser.Parser()
        try:
            text = reader.read(parser.parse(text, skip_style_tags=True))
        except Exception:  # the parser's own errors, and what its nodes raise on what it did not foresee
            text = _strip_brackets(text)
    if "{{" in text or "[[" in text:
        text = _strip_brackets(text)
    return tidy(_ROW.sub("", text.replace(APART, "")).replace("{|", "").replace("|}", ""))


def _flatten(text: str) -> str:
    text = _HATNOTE.sub("", text)
    text = _ITEM.sub("", text)
    if "<" in text:
        text = _POWER.sub(lambda match: match.group(1).translate(_SUPERSCRIPTS), text)
        text = _TAG.sub("", _BREAK.sub("\n", _UNSEEN.sub("", text)))
        text = text.replace("<", "&lt;")
    if "[" in text:
        text = _OPEN_ADDRESS.sub("", _ADDRESS.sub(lambda match: match.group(1) or "", text))
    if "-{" in text:
        text = _VARIANT.sub(lambda match: _choose_variant(match.group(1)), text)
    if "__" in text:
        text = _SWITCH.sub(
            lambda match: "" if match.group(1) == match.group(1).upper() else match.group(), text
        )
    return _RULE.sub("", _EQUALS.sub("&#61;", text))


def _choose_variant(content: str) -> str:
    # -{zh-hans:计算机; zh-hant:電腦}-, -{T|title}-, -{text}-
    flags, bar, rules = content.rpartition("|")
    if bar and set(flags.upper()) & set("THD-"):
        return ""
    first = rules.partition(";")[0]
    code, colon, text = first.partition(":")
    return text.strip() if colon and re.fullmatch(r"\s*[a-z-]{2,12}\s*", code) else first


@cache
def load_parser() -> Any:
    """Import and return mwparserfromhell; raise InputError where it is not installed."""
    try:
        import mwparserfromhell
    except ImportError as error:
        raise InputError(
            "reading wikitext needs the package mwparserfromhell",
            next_step="install it: pip install 'synthgen-memories[wikipedia]'",
        ) from error
    return mwparserfromhell


class _Reader:
    """Nodes of the parser as text."""

    def __init__(self, title: str) -> None:
        nodes = load_parser().nodes
        self._title = title
        self._readers: dict[type, Any] = {
            nodes.Wikilink: self._read_link,
            nodes.ExternalLink: lambda node: str(node.url),
            nodes.Template: self._read_template,
            nodes.Tag: lambda node: self.read(node.contents),
            nodes.Comment: lambda node: "",
            nodes.Argument: lambda node: self.read(node.default),
        }

    def read(self, code: Any) -> str:
        """Return the text of ``code``, a Wikicode or None."""
        if code is None:
            return ""
        readers = self._readers
        return "".join([readers.get(type(node), str)(node) for node in code.nodes])

    def _read_link(self, node: Any) -> str:
        target = self.read(node.title).strip()
        if node.text is None:
            return target.lstrip(":").replace("_", " ")
        return self.read(node.text) or _trim_target(target)

    def _read_template(self, node: Any) -> str:
        values = Values([], {})
        for parameter in node.params:
            text = self.read(parameter.value).strip()
            name = str(parameter.name).strip().lower()
            values.names[name] = text
            if not parameter.showkey or name == str(len(values.places) + 1):
                values.places.append(text)
        return read_template(self.read(node.name), values, self._title)


def _trim_target(target: str) -> str:
    # The pipe trick: [[w:Foo (bar)|]] shows Foo.
    name = target.lstrip(":").rpartition(":")[2]
    return re.split(r" ?[(（,]", name, maxsplit=1)[0] or name


def _strip_brackets(text: str) -> str:
    text = re.sub(r"\[\[[^\[\]|]{0,300}\|", "", text)
    text = re.sub(r"\[\w{3,9}://[^\s\[\]]{0,500}", "", text)
    return re.sub(r"\[\[|\]\]|\{\{|\}\}|\]", "", text)
