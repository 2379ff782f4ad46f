"""Templates that stand inside of a sentence, and what a reader sees in their place; all others show nothing.

What a template comes to is decided by its wiki, in templates of templates; here are the few dozen whose loss
leaves a hole ("is  long", "born in "), by what their documentation says. Infoboxes, navigation, notes and
pronunciations (which no reader of plain text misses) are not among them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

#: Marks, of Unicode's private use, around what is spoken or counted: nobody misses it where it stands alone.
SPOKEN, UNSPOKEN = "\ue000", "\ue001"


class Values(NamedTuple):
    """Parameters of one use, as plain text: ``places`` from the first on, ``names`` by name (lower case)."""

    places: list[str]
    names: dict[str, str]

    def at(self, place: int) -> str:
        """Return the parameter at ``place`` (from 1), or nothing."""
        return self.places[place - 1] if place <= len(self.places) else ""


Reader = Callable[[Values], str]


def _place(place: int) -> Reader:
    return lambda values: values.at(place)


def _last(values: Values) -> str:
    return values.places[-1] if values.places else ""


def _words(text: str) -> Reader:
    return lambda _: text


def _around(before: str, after: str = "") -> Reader:
    return lambda values: f"{before}{values.at(1)}{after}" if values.at(1) else ""


def _joined(separator: str) -> Reader:
    return lambda values: separator.join(filter(None, values.places))


_UNIT_JOINS = {
    "to": " to ",
    "-": "–",
    "–": "–",
    "and": " and ",
    "or": " or ",
    "x": " × ",
    "by": " by ",
    "+/-": " ± ",
}


def _spoken(values: Values) -> str:
    return f"{SPOKEN}{values.at(1)}{UNSPOKEN}"


def _grouped(number: str) -> str:
    return f"{int(number):,}" if number.isascii() and number.isdigit() and 3 < len(number) < 20 else number


def _convert(values: Values) -> str:
    # {{convert|5|km|mi}}, {{convert|5|to|10|km}}, {{convert|6|ft|2|in}}
    text, places = _grouped(values.at(1)), values.places
    if len(places) >= 4 and places[1].lower() in _UNIT_JOINS:
        return f"{text}{_UNIT_JOINS[places[1].lower()]}{_grouped(places[2])} {_unit(places[3])}"
    if len(places) >= 4 and places[1] in ("ft", "lb", "st", "mi", "yd") and places[2].isdigit():
        return f"{text} {places[1]} {places[2]} {_unit(places[3])}"
    return f"{text} {_unit(values.at(2))}".strip()


def _unit(unit: str) -> str:
    unit = {
        "sqmi": "sq mi",
        "sqkm": "km²",
        "sqft": "sq ft",
        "C": "°C",
        "F": "°F",
        "acre": "acres",
        "PD/sqmi": "per sq mi",
        "PD/km2": "per km²",
    }.get(unit, unit)
    return unit.replace("2", "²").replace("3", "³") if re.fullmatch(r"[a-zA-Z/]{1,4}[23]", unit) else unit


def _fraction(values: Values) -> str:
    if len(values.places) >= 3:
        return f"{values.at(1)} {values.at(2)}/{values.at(3)}"
    return "/".join(values.places) if len(values.places) == 2 else f"1/{values.at(1)}"


def _as_of(values: Values) -> str:
    words = "as of" if values.names.get("lc", "") not in ("", "n", "no") else "As of"
    return values.names.get("alt") or " ".join([words, _date(values)])


def _date(values: Values) -> str:
    numbers = [place for place in values.places[:3] if place]
    if all(number.isdigit() for number in numbers) and len(numbers) > 1:
        return "-".join(number.zfill(2) for number in numbers)
    return " ".join(numbers)


def _range_of(before: str) -> Reader:
    return lambda values: before + "–".join(filter(None, values.places[:2]))


def _japanese(values: Values) -> str:
    inner = ", ".join(filter(None, values.places[1:4]))
    return f"{values.at(1)} ({inner})" if values.at(1) and inner else values.at(1) or inner


def _named(*names: str) -> Reader:
    def read(values: Values) -> str:
        found = [values.names[name] for name in names if values.names.get(name)]
        return "; ".join(dict.fromkeys([*found, *filter(None, values.places)]))

    return read


def _ship(values: Values) -> str:
    return " ".join(filter(None, (values.at(1), values.at(2))))


def _of(prefix: str) -> Reader:
    return lambda values: f"{prefix} {values.at(1)}" if values.at(1) else prefix


def _value(values: Values) -> str:
    number = values.at(1) + (f"×10^{values.names['e']}" if values.names.get("e") else "")
    return " ".join(filter(None, (number, values.names.get("u") or values.names.get("ul", ""))))


def _century(values: Values) -> str:
    return f"{values.at(1)}{values.at(2) or 'e'} siècle"


_READERS: dict[str, Reader] = {}


def _add(reader: Reader, names: str) -> None:
    _READERS.update(dict.fromkeys((name.replace("_", " ") for name in names.split()), reader))


_add(
    _place(1),
    "nowrap nobr nobreak nwr nobold small smaller big large larger resize smallcaps sc em strong bold b "
    "italic i abbr  abbrv tooltip mvar math var code tt mono kbd samp key_press keypress sic not_a_typo "
    "typo proper_name as_written  visible_anchor vanchor unicode iast hebrew script/hebrew "
    "script/arabic ill interlanguage_link  link-interwiki interlanguage_link_multi illm lien link-en le "
    "ilh internal_link_helper 仮リンク flag flagcountry  flagu ruby 読み仮名 number nombre num "
    "noitalic no_italic noitalics nonitalic upright nts  quote blockquote cquote bquote quotation zitat "
    "lang-rus delink underline u strike highlight s-nobr ",
)
_add(
    _place(2),
    "lang wikt-lang langx langue script colored_text color background_color hover_title rtl-lang",
)
_add(_last, "transl transliteration translit font_color rtl_lang tsl")
_add(_convert, "convert cvt")
_add(_fraction, "frac fraction sfrac tfrac")
_add(_words("1/2"), "half 1/2")
_add(_as_of, "as_of asof as-of")
_add(
    _date,
    "start_date end_date birth_date death_date date dts film_date datum fecha дата start_date_and_age "
    "birth_date_and_age death_date_and_age bda",
)
_add(_range_of("c. "), "circa c. ca.")
_add(_range_of("fl. "), "floruit fl. fl")
_add(_range_of("r. "), "reign r.")
_add(_around("née "), "née nee")
_add(_around("lit. '", "'"), "literal_translation lit lit. literally")
_add(_around("'", "'"), "gloss single_quote single")
_add(_around("⟨", "⟩"), "angle_bracket angbr grapheme")
_add(_around('"', '"'), "double_quote dquote")
_add(_around("« ", " »"), "guil guillemets «")
_add(_around("10^"), "10^ e10")
_add(_around("×10^"), "e esp")
_add(_around("^"), "sup superscript")
_add(_around(""), "sub subscript")
_add(_around("US$"), "us$ usd")
_add(_around("A$"), "a$ aud")
_add(_around("C$"), "c$ can$ cad")
_add(_around("£"), "gbp £ pound_sterling")
_add(_around("€"), "euro eur €")
_add(_around("₹"), "inr indian_rupee ₹")
_add(_around("¥"), "jpy ¥ yen cny rmb")
_add(_around("", " BC"), "bc bce")
_add(_around("AD "), "ad ce")
_add(_around("O.S. "), "oldstyle")
_add(
    lambda values: " ".join(filter(None, (values.at(1), values.at(2)))),
    "oldstyledate oldstyledatedy old_style_date",
)
_add(_joined(""), "chem chem2 linktext hw che")
_add(_joined(", "), "hlist ubl unbulleted_list flatlist plainlist cslist csl enum comma_separated_entries")
_add(_japanese, "nihongo nihongo_krt")
_add(_place(1), "nihongo2 nihongo3")
_add(_named("c", "s", "t", "p", "l"), "zh lang-zh")
_add(_named("hangul", "hanja", "rr"), "korean ko-hhrm lang-ko")
_add(_ship, "ship sclass sclass-")
_NAVIES = "USS HMS HMAS HMCS SS RMS MS MV SMS USNS USCGC HMNZS INS JS ORP"
for _navy in _NAVIES.split():
    _add(_of(_navy), _navy.lower())
_add(_of("U.S. Patent"), "us_patent")
_add(_of("Vol."), "vol.")
_add(_joined(" "), "bibleref bibleverse unité unidad")
_add(lambda values: f"{SPOKEN}{values.at(2)}{UNSPOKEN}", "audio listen")
_add(_spoken, "ipa ipalink ipaslink ipablink")
_add(
    _words(SPOKEN + UNSPOKEN),
    "age time_ago years_ago pron pronunciation respell pron-en ipac-en ipa-all audio-ipa",
)
for _symbol, _name in (("C", "carbon"), ("H", "hydrogen"), ("O", "oxygen"), ("N", "nitrogen")):
    _add(_words(_symbol), _name)
_add(_value, "val")
_add(_joined(","), "gaps")
_add(_century, "s s-")
_add(lambda values: f"{values.at(1)} av. J.-C.", "av_jc")
_add(_words(" – "), "spaced_ndash spaced_en_dash snd spnd sndash snds · dot bull bullet middot •")
_add(_words("–"), "ndash en_dash nd – endash")
_add(_words("—"), "mdash em_dash md —")
_add(_words(" — "), "spaced_mdash spaced_em_dash smd")
_add(_words(" "), "nbsp space spaces 0 nnbsp thinsp thin_space hair_space hairsp nb nbsp2")
_add(_words("'"), "' apostrophe apos")
_add(_words("'s"), "'s apostrophe_s")
_add(_words("ʻ"), "okina ʻokina ʻ")
_add(_words("ʼ"), "hamza")
_add(_words("="), "= equals")
_add(_words("|"), "! pipe")
_add(_words("×"), "× times")
_add(_words("−"), "minus −")
_add(_words("/"), "slash /")
_add(_words("*"), "* asterisk")
_add(_words("\n"), "break br crlf -")
_add(_words("♯"), "sharp ♯")
_add(_words("♭"), "flat ♭")

#: Names of a family, one a language: {{lang-ru|…}}, {{ar-lang|…}}, {{IPA-es|…}}, and German {{ruS|…}}.
_FAMILY = re.compile(
    r"lang-[a-z]{2,3}(?:-[a-z]{2,8})*|[a-z]{2,3}-lang|ipac?-[a-z]{2,3}(?:-[a-z]{2,8})*|écriture|langue-[a-z]{2,3}"
    r"|(?:ar|cs|da|el|en|es|fi|fr|grc|he|hu|it|ja|ka|ko|la|nl|no|pl|pt|ro|ru|sa|sk|sv|tr|uk|zh)s"
)
_FUNCTION = re.compile(r"(formatnum|lc|uc|lcfirst|ucfirst):(.*)", re.DOTALL | re.IGNORECASE)
_PAGE_NAMES = frozenset({"pagename", "fullpagename", "basepagename", "subpagename"})


def _normal(name: str) -> str:
    return name.strip().replace("_", " ").lower()


def keeps_template(content: str) -> bool:
    """Return whether the template with ``content`` (what stands between its braces) shows text in a line."""
    name = content.partition("|")[0]
    if len(name) > 60:
        return False
    name = _normal(name)
    if name in _READERS or name in _PAGE_NAMES:
        return True
    return bool(_FAMILY.fullmatch(name) or (":" in name and _FUNCTION.match(name)))


def read_template(name: str, values: Values, title: str) -> str:
    """Return what the template ``name`` with ``values`` shows on the page ``title``; nothing if unknown."""
    normal = _normal(name)
    if normal in _PAGE_NAMES:
        return title
    if (reader := _READERS.get(normal)) is not None:
        return reader(values)
    if _FAMILY.fullmatch(normal):
        return SPOKEN + UNSPOKEN if normal.startswith("ipa") else values.at(1)
    function = _FUNCTION.match(name.strip())
    return _apply(function.group(1).lower(), function.group(2).strip()) if function else ""


def _apply(function: str, text: str) -> str:
    if function in ("uc", "lc"):
        return text.upper() if function == "uc" else text.lower()
    if function == "formatnum":
        return text
    first = text[:1].upper() if function == "ucfirst" else text[:1].lower()
    return first + text[1:]
