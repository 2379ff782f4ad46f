"""Text that was markup, mended: entities, characters, and the holes that dropped markup leaves behind."""

from __future__ import annotations

import html
import re
import unicodedata

from synthgen.wiki.templates import SPOKEN, UNSPOKEN

_QUOTES = re.compile(r"'{2,}")
_ENTITY = re.compile(r"&(?:#\d{1,8}|#[xX][0-9a-fA-F]{1,7}|[a-zA-Z][a-zA-Z0-9]{1,31});")


def _resolve(match: re.Match[str]) -> str:
    return html.unescape(match.group())


#: Characters that no text keeps: controls, what XML cannot hold, marks of direction, invisible ones. Of the
#: invisible ones the joiners (U+200C, U+200D) stay: Persian, Indic scripts and emoji are spelt with them.
_BLANKS = re.compile("[\t\x0b\x0c\x1c-\x1f\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_ENDS = re.compile("[\r\x85\u2028\u2029]")
_UNWANTED = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\ufeff\ufff0-\uffff"
    "\ud800-\udfff\ufdd0-\ufdef\ue000-\uf8ff\U000e0000-\U000e007f"
    + "".join(f"{chr(plane * 0x10000 + 0xFFFE)}{chr(plane * 0x10000 + 0xFFFF)}" for plane in range(1, 17))
    + "]+"
)


def clean_characters(text: str) -> str:
    """Return ``text`` without what JSON, XML or Parquet cannot hold or a reader cannot see, with blanks of
    all kinds as plain ones, in Unicode's form NFC.

    NFC because an entity may have put together what MediaWiki would have stored as one character, and one
    name should have one embedding; a text that NFC makes longer is left as it is.
    """
    text = _UNWANTED.sub("", _ENDS.sub("\n", _BLANKS.sub(" ", text)))
    composed = unicodedata.normalize("NFC", text)
    return composed if len(composed) <= len(text) else text


def clean_line(text: str | None) -> str:
    """Return ``text`` with clean characters on one line; empty where there is none."""
    return " ".join(clean_characters(text or "").split())


def tidy(text: str) -> str:
    """Return ``text`` with entities resolved, and without what markup leaves behind: quotes of bold and
    italic, empty parentheses, doubled punctuation and blanks, empty lines.
    """
    if "''" in text:
        text = "\n".join([_drop_quotes(line) if "''" in line else line for line in text.split("\n")])
    if SPOKEN in text:
        text = _UNSPOKEN.sub("", text)
    if "&" in text:
        text = _ENTITY.sub(_resolve, text)
    return mend(clean_characters(text))


def _drop_quotes(line: str) -> str:
    # MediaWiki's rule (Parser::doQuotes): of more than five all but five are apostrophes, of four one is;
    # where bold and italic both stay open on a line, a bold of three was an apostrophe and an italic.
    runs = [len(run) for run in _QUOTES.findall(line)]
    bold = sum(n in (3, 4) or n >= 5 for n in runs)
    italic = sum(n == 2 or n >= 5 for n in runs)
    spare = bold % 2 == 1 and italic % 2 == 1

    def drop(match: re.Match[str]) -> str:
        nonlocal spare
        n, start = len(match.group()), match.start()
        if n == 3 and spare and start > 0 and line[start - 1] != " ":
            spare = False
            return "'"
        return "'" if n == 4 else "'" * max(0, n - 5)

    return _QUOTES.sub(drop, line)


#: What a template of pronunciation or age stands for, in the marks that ``templates.py`` puts around it; with
#: a few words before it, it goes where it stands between commas: "(pronounced X; born 1950)".
_UNSPOKEN = re.compile(
    rf"(?<=[(,;（]) ?(?:[^\W\d_]{{1,20}}[.:]? ){{0,3}}"
    rf"(?:{SPOKEN}[^()（）{UNSPOKEN}]{{0,200}}{UNSPOKEN} ?){{1,9}}"
    r"(?:years? (?:ago|old))?(?=[),;）])"
)
_MARKS = ",;:،；：，、"
_MENDING: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (r" {2,}", " "),
        (r" (?=[)）])", ""),
        (rf"([(（]) ?(?:[{_MARKS}] ?){{1,99}}", r"\1"),
        (rf"(?: ?[{_MARKS}]){{1,99}} ?(?=[)）])", ""),
        (r"([,;])(?: ?[,;]){1,99}", r"\1"),
        (r" ?\( ?\)| ?\[ ?\]|（ ?）", ""),
        (r"([(（]) ", r"\1"),
        (r" (?=[,;:.!?)）](?:[ \n]|$))", ""),
        (r",(?=\.(?: |$|\n))", ""),
        (r" {2,}", " "),
    )
)
_LINE_START = re.compile(r"^(?:[,;:،|)\]}=_ ]|[.!](?: |$)){1,99}")
_FILE_LINE = re.compile(
    r"[^\s:|]{3,20}:[^|]{1,250}\.(?:jpe?g|png|gif|svg|tiff?|ogg|ogv|webm|pdf)(?:\||$)", re.IGNORECASE
)


def mend(text: str) -> str:
    """Return ``text`` without the gaps that dropped markup left, line by line, empty lines left out."""
    for pattern, by in _MENDING:
        text = pattern.sub(by, text)
    lines = (_LINE_START.sub("", line.strip()).strip() for line in text.split("\n"))
    return "\n".join([line for line in lines if line and not _FILE_LINE.match(line)])
