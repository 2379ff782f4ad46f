"""The beginning of a text, cut where a sentence or word ends, never inside what readers see as one sign."""

from __future__ import annotations

import re
from unicodedata import category, combining

#: A text with fewer characters than this says nothing of its own: it is left out as ``short``.
MIN_CHARACTERS = 50
#: Title and text together, unless one asks for another length; the model reads the first 384 tokens.
MAX_CHARACTERS = 4000

_CLOSING = r"""["'”’»›)\]」』】》〉)]*+"""
# A full stop ends a sentence where white space follows, unless it stands behind a single letter (an initial).
# Runs of marks are taken from their first one on, so that a text of full stops is read once. Chinese and
# Japanese marks need no space.
_SENTENCE_END = re.compile(
    rf"(?<![.!?…])(?:(?<!\b[^\W\d_])\.|[!?…؟۔।॥։።။។།])[.!?…؟۔।॥]*+{_CLOSING}(?=\s)"
    rf"|[。！？｡]++{_CLOSING}"
)
_ZERO_WIDTH_JOINER = "\u200d"
_ZERO_WIDTH_NON_JOINER = "\u200c"
_VIRAMA_CLASS = 9


def cut(text: str, max_characters: int) -> str:
    """Return the beginning of ``text``, at most ``max_characters`` (1 or more) code points of it.

    A text that is short enough comes back as it is. Else it ends at the last end of a sentence or paragraph
    within the last third of what fits, else at the last end of a word there, else (scripts without spaces)
    between two characters as a reader sees them: never between a letter and its accents, inside an emoji made
    of several, a flag, a syllable of Hangul or a pair of surrogates, unless that fills the whole third.
    """
    if max_characters < 1:
        raise ValueError("max_characters must be 1 or more")
    if len(text) <= max_characters:
        return text
    first = max_characters * 2 // 3 + 1
    end = _last_sentence_end(text, first, max_characters) or _last_word_end(text, first, max_characters)
    return text[: end or _last_boundary(text, first, max_characters)].rstrip()


def _last_sentence_end(text: str, first: int, last: int) -> int:
    found = 0
    # One character before and one behind belong to the view: an end shows only by what stands next to it.
    for match in _SENTENCE_END.finditer(text, first - 1, last + 1):
        if first <= match.end() <= last and _is_boundary(text, match.end()):
            found = match.end()
    return max(found, _last_line_end(text, first, last))


def _last_line_end(text: str, first: int, last: int) -> int:
    at = len(text[first - 1 : text.rfind("\n", first, last + 1) + 1].rstrip()) + first - 1
    return at if at >= first else 0


def _last_word_end(text: str, first: int, last: int) -> int:
    end = next((at for at in range(last, first - 1, -1) if text[at].isspace()), 0)
    return len(text[first:end].rstrip()) + first if end else 0


def _last_boundary(text: str, first: int, last: int) -> int:
    for end in range(last, first - 1, -1):
        if _is_boundary(text, end):
            return end
    return last


def _is_boundary(text: str, at: int) -> bool:
    """Whether a reader sees two signs around ``at`` (after Unicode Annex 29, rules GB3 to GB13)."""
    before, behind = text[at - 1], text[at]
    if before.isascii() and behind.isascii():
        return not (before == "\r" and behind == "\n")
    if _extends(behind) or before == _ZERO_WIDTH_JOINER or combining(before) == _VIRAMA_CLASS:
        return False
    if _is_flag_letter(before) and _is_flag_letter(behind):
        return _n_flag_letters_before(text, at) % 2 == 0
    high_and_low = "\ud800" <= before <= "\udbff" and "\udc00" <= behind <= "\udfff"
    return not (high_and_low or _joins_hangul(before, behind))


def _extends(character: str) -> bool:
    if category(character) in ("Mn", "Mc", "Me"):
        return True
    skin_tone, tag = "\U0001f3fb" <= character <= "\U0001f3ff", "\U000e0020" <= character <= "\U000e007f"
    return skin_tone or tag or character in (_ZERO_WIDTH_JOINER, _ZERO_WIDTH_NON_JOINER)


def _is_flag_letter(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _n_flag_letters_before(text: str, at: int) -> int:
    start = at
    while start > 0 and _is_flag_letter(text[start - 1]):
        start -= 1
    return at - start


def _joins_hangul(before: str, behind: str) -> bool:
    """Whether ``behind`` continues the syllable of ``before``: consonants, then vowels, then consonants."""
    leads = "\u1100" <= before <= "\u115f"
    whole = "\uac00" <= before <= "\ud7a3"
    vowel = "\u1160" <= before <= "\u11a7" or (whole and (ord(before) - 0xAC00) % 28 == 0)
    trails = "\u11a8" <= before <= "\u11ff" or (whole and not vowel)
    if leads and ("\u1100" <= behind <= "\u11a7" or "\uac00" <= behind <= "\ud7a3"):
        return True
    return (vowel and "\u1160" <= behind <= "\u11ff") or (trails and "\u11a8" <= behind <= "\u11ff")


def compose(title: str, text: str, max_characters: int) -> str:
    """Return what is embedded and stored of an article: title, newline, the beginning of its text; at most
    ``max_characters`` code points in all.
    """
    whole = f"{title}\n{text}" if title and text else title or text
    return cut(whole, max_characters)
