"""What is left of markup in texts that should have none, by kind: a measure of the rules, not one of them."""

from __future__ import annotations

import re
from collections import Counter

from synthgen.wiki.plain import TAGS

_KINDS = {
    "{{": r"\{\{",
    "}}": r"\}\}",
    "[[": r"\[\[",
    "]]": r"\]\]",
    "{|": r"\{\|",
    "|}": r"\|\}",
    "|-": r"^\|-",
    "<ref": r"<ref\b",
    "<!--": r"<!--|-->",
    "tag": rf"</?(?:{TAGS})(?:[\s/][^<>]{{0,300}})?>",
    "thumb|": r"\bthumb(?:nail)?\||\|thumb\b|\d+px\b",
    "File:": r"\b(?:File|Image|Category):(?=\S)",
    "''": r"''",
    "==": r"^=+[^=\n]+=+$|==",
    "__X__": r"__[A-Z]{3,}__",
    "&nbsp;": r"&(?:[a-z]{2,8}|#\d{1,6});",
    "-{": r"-\{|\}-",
    "[http": r"\[(?:https?:)?//",
    "style=": r"\b(?:style|class|align|colspan|rowspan|bgcolor) ?= ?[\"'\w]",
    "()": r"\( ?[,;:]* ?\)",
    ", ,": r"[,;] ?[,;]",
}
_PATTERNS = {kind: re.compile(pattern, re.MULTILINE) for kind, pattern in _KINDS.items()}


def remains(text: str) -> Counter[str]:
    """Return how often each kind of markup, and each kind of hole that markup left, is in ``text``."""
    found = {kind: sum(1 for _ in pattern.finditer(text)) for kind, pattern in _PATTERNS.items()}
    return Counter({kind: count for kind, count in found.items() if count})
