"""Wikitext as plain text: hard cases by hand, real pages, and hostile ones."""

import json
import re
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.wiki.articles import Article, Page, Site
from synthgen.wiki.remains import remains
from synthgen.wiki.text import make_article
from tests.wiki.wikipages import GERMAN, OPENING, SITE, line_of, page, real_pages, text_of


def test_the_parser_is_the_compiled_one() -> None:
    from mwparserfromhell.parser import use_c

    assert use_c


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        # links
        ("A [[lamp]] and [[oil lamp|another]]s.", "A lamp and anothers."),
        ("See [[:File:Lamp.jpg]] and [[:Category:Lamps]].", "See File:Lamp.jpg and Category:Lamps."),
        ("Of [[w:en:Paper (material)|]] make.", "Of Paper make."),
        ("A [http://example.org good site] and [http://example.org].", "A good site and."),
        ("A [https://example.org site of [[lamp]]s].", "A site of lamps."),
        ("Lit.\n[[File:a.jpg|thumb|a [[link]] in a caption]]\nStill.", "Lit.\nStill."),
        ("Lit.\n[[Image:a.jpg|frame|{{flag|X}} [[a|b [[c]]]]\n more]]Still.", "Lit.\nStill."),
        ("Lit. [[Category:Lamps|*]][[de:Laterne]] [[fr:Lanterne]]", "Lit."),
        ("Open [[lamp and no more.", "Open lamp and no more."),
        ("Stray ]] and }} and |} {| here.", "Stray and and here."),
        # templates
        ("It is {{convert|5|km|mi}} long, {{convert|2|to|3|ft|m}} high.", "It is 5 km long, 2 to 3 ft high."),
        ("An area of {{convert|12345|km2|sqmi}}.", "An area of 12,345 km²."),
        (
            "A {{lang|fr|lanterne}}, {{lang-de|Laterne}}, {{nowrap|10 lamps}}.",
            "A lanterne, Laterne, 10 lamps.",
        ),
        ("A{{snd}}b{{ndash}}c{{mdash}}d{{nbsp}}e.", "A – b–c—d e."),
        ("Made {{circa|1850}}, {{as of|2009|lc=y}} {{formatnum:12}}.", "Made c. 1850, as of 2009 12."),
        ("Of {{frac|1|2}} and {{frac|2|1|3}}.", "Of 1/2 and 2 1/3."),
        ("The {{abbr|UN|United Nations}}, {{small|small}}, {{USS|Maine|1889}}.", "The UN, small, USS Maine."),
        ("So {{nowrap|{{lang|la|[[lux|l''u''x]]}} is}} light.", "So lux is light."),
        ("Gone {{unknown|{{other|[[x]]|{|\n|}}}}} here.", "Gone here."),
        ("A {{{parameter}}} and {{{other|default}}}.", "A and default."),
        ("'''{{PAGENAME}}''' burns.", "Lantern burns."),
        ("Open {{template|with=no end\nStill here.", "Open template|with=no end\nStill here."),
        ("{{Infobox\n| a = b\n| c = [[d]]\n\nStill here.", "Still here."),
        # holes
        ("A lamp ({{IPAc-en|l|ae}}; {{lang-la|lux}}) burns.", "A lamp (lux) burns."),
        ("A lamp (pronounced {{IPAc-en|l}}) burns.", "A lamp burns."),
        ("A lamp ({{IPA|x}}, born 1950; {{audio|a.ogg}}) burns.", "A lamp (born 1950) burns."),
        ("A lamp ( ; ) and ({{x}}) [{{x}}] burn , so.", "A lamp and burn, so."),
        (
            "A lamp ({{ruS|лампа}}, {{Audio|a.ogg|listen}}; born {{bda|1950|1|2}}).",
            "A lamp (лампа, born 1950-01-02).",
        ),
        ("Au {{s|XIX|e}}, {{unité|105|km}}.", "Au XIXe siècle, 105 km."),
        ("The vowel {{IPA|/a/}} is open.", "The vowel /a/ is open."),
        # tables
        ("One.\n{| class=a\n|-\n| {| b\n| c\n|}\n| d\n|}\nTwo.", "One.\nTwo."),
        ("One.\n{|\n| {{flag|{{x}}\n| y\n}}\n|}\nTwo.", "One.\nTwo."),
        ("One.\n{|\n| a\n! b !! c\nTwo.", "One.\nTwo."),
        ("One.\n:{| class=a\n| a || b\n|}\nTwo.", "One.\nTwo."),
        ("One.\n<table><tr><td>x</td></tr></table>Two.", "One.\nTwo."),
        # tags
        ("Lit<ref>A [[book]]</ref>, <ref name=x />and<ref name='a/b'>c</ref> out.", "Lit, and out."),
        ("Lit <ref>a source\nStill.", "Lit\nStill."),
        ("<gallery>\nFile:a.jpg|b\n</gallery>Lit.", "Lit."),
        ("H<sub>2</sub>O, 10<sup>6</sup> m<sup>2</sup>, 19<sup>th</sup>.", "H2O, 10⁶ m², 19th."),
        ("<!-- hidden --> <b>bold</b> <span style='a'>x</span><br/>y", "bold x\ny"),
        ("A <math>E = mc^2</math>, <math>\\alpha</math>, <math>\\frac{a}{b}</math>.", "A E = mc^2, α."),
        ("<nowiki>[[no]] {{link}} '''x'''</nowiki> here", "[[no]] {{link}} '''x''' here"),
        ("1 < 2 and <x> and a <!-- b", "1 < 2 and <x> and a"),
        # quotes, lists, switches, variants, characters
        ("'''''bold italic''''' ''i'' '''b''' l'''''x'' y''' ''''q''''", "bold italic i b lx y 'q'"),
        ("L'''amour'' is.", "L'amour is."),
        ("* one\n** two\n# three\n; four : five", "one\ntwo\nthree\nfour: five"),
        (":''For a lamp, see [[Lamp]].''\nLit.", "Lit."),
        ("__NOTOC____KEIN_INHALTSVERZEICHNIS__Lit __init__.", "Lit __init__."),
        ("-{zh-hans:计算机; zh-hant:電腦;}- -{T|x}--{y}-", "计算机 y"),
        ("a&nbsp;b&ndash;c&amp;d&#8212;e&#x41;&bogus; AT&T", "a b–c&d—eA&bogus; AT&T"),
        ("a\u00adb\u200bc\u200ed\ufeffe\x00f\ud800g\ufffeh\u2003i", "abcdefgh i"),
        ("e\u0301 &#769;", "é \u0301"),
        ("----\nRule", "Rule"),
    ],
)
def test_markup_becomes_text(wikitext: str, text: str) -> None:
    assert line_of(wikitext) == text


def test_right_to_left_text_keeps_its_letters_and_joiners() -> None:
    persian = (
        "فانوس (به انگلیسی: Lantern) می\u200cسوزد \u200f"
        "و نور می\u200cدهد و از دور دیده می\u200cشود، حتی در شب."
    )
    assert text_of(persian) == persian.replace("\u200f", "")


def test_local_names_of_files_and_categories() -> None:
    wikitext = "[[Datei:a.jpg|mini|Text]][[Bild:b.jpg]][[Kategorie:Lampen]]Hell."
    assert line_of(wikitext, GERMAN) == "Hell."
    assert line_of("[[Imagine: John Lennon]] is a film.") == "Imagine: John Lennon is a film."
    other = Site("xx", "", "", {6: "Tiedo sto", 14: "Luokat"})
    assert line_of("[[Tiedo_sto:a.jpg|b]][[luokat:c]]Hell.", other) == "Hell."


@pytest.mark.parametrize("level", range(1, 7))
def test_the_lead_ends_at_a_heading(level: int) -> None:
    marks = "=" * level
    assert text_of(f"{OPENING}\n{marks} History {marks} <!-- x -->\nGone.") == OPENING.strip()


@pytest.mark.parametrize(
    "inner",
    [
        "<!--\n== No ==\n-->",
        "<nowiki>\n== No ==\n</nowiki>",
        "{{box|\n== No ==\n}}",
        "\n{|\n|\n== No ==\n|}",
        "<ref>\n== No ==\n</ref>",
        "\n= no heading",
        "\n==",
    ],
)
def test_what_only_looks_like_a_heading(inner: str) -> None:
    assert text_of(f"{OPENING}{inner}\nStill the lead.\n== History ==\nGone.").endswith("Still the lead.")


def test_a_short_lead_goes_on_with_what_follows() -> None:
    assert (
        text_of(f"Short.\n== History ==\n{OPENING}\n=== More ===\nEnd.") == f"Short.\n{OPENING.strip()}\nEnd."
    )
    assert text_of(f"== History ==\n{OPENING}") == OPENING.strip()


def test_titles_are_kept_as_they_are() -> None:
    for title in ("!Kung", ".NET", "*NSYNC", "#1", "C++ (x)", "''"):
        made = make_article(page(OPENING, title=title), SITE)
        assert isinstance(made, Article)
        assert made.text.partition("\n")[0] == made.title == title


def test_the_limit_counts_title_and_text() -> None:
    made = make_article(page("A lantern burns. " * 1_000), SITE, max_characters=200)
    assert isinstance(made, Article)
    assert 150 < len(made.text) <= 200
    assert made.text.endswith("burns.")


_PIECES = [
    *"{}[]|=<>'*#:;-_&() \n\t.,a\u0301é漢\ud800\x00\u200f",
    *(
        "{{",
        "}}",
        "[[",
        "]]",
        "{|",
        "|}",
        "{{{",
        "}}}",
        "\n==",
        "==\n",
        "<!--",
        "-->",
        "<ref>",
        "</ref>",
        "<br/>",
    ),
    *("<nowiki>", "</nowiki>", "[[File:a.jpg|thumb|", "{{convert|5|km}}", "{{lang|fr|", "{{IPA|", "&nbsp;"),
    *(
        "[http://a.b c]",
        "[http://",
        "-{",
        "}-",
        "<math>x",
        "</math>",
        "'''",
        "''",
        "\n|",
        "{{nowrap|",
        "&#769;",
    ),
    *("Lanterns burn. ", "#REDIRECT ", "[[Category:", "__NOTOC__", "<sup>2</sup>", "\ue000", "{{PAGENAME}}"),
]
_WIKITEXT = st.lists(st.sampled_from(_PIECES) | st.text(max_size=3), max_size=60).map("".join)


@settings(max_examples=300, deadline=None)
@given(_WIKITEXT, st.sampled_from([SITE, GERMAN, Site("", "", "", {})]), st.sampled_from([60, 4_000]))
def test_any_wikitext_gives_a_valid_text_that_is_no_longer(wikitext: str, site: Site, limit: int) -> None:
    source = page(OPENING + wikitext, title="Å")
    made = make_article(source, site, limit)
    assert made == make_article(source, site, limit)
    if not isinstance(made, Article):
        return
    assert len(made.text) <= min(limit, len("Å\n") + len(source.wikitext))
    assert json.loads(json.dumps(made.text).encode()) == made.text.encode().decode()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\ue000-\uf8ff]", made.text)


#: What made a naive reading take from seconds to hours.
_HOSTILE = [
    *(
        "{{",
        "[[a|",
        "{{lang|en|",
        "{{nowrap|[[a|",
        "}}{{",
        "[[{{",
        "{{nowrap|x}}",
        "[[a|[http://b ",
        "<b><i>",
    ),
    *(
        "<a b='",
        "<ref>",
        "<ref name=a",
        "<!--",
        "'''a ''",
        "\n* ",
        "\n{|\n|a",
        "\n== a",
        "-{zh:",
        "(a \ue000",
    ),
]


@pytest.mark.timeout(60)  # 4 s of CPU where no more than the beginning is read, and no part of it often
@pytest.mark.parametrize("start", ["", OPENING])
def test_hostile_pages_of_5_mb_end(start: str) -> None:
    for piece in _HOSTILE[bool(start) :: 2]:
        made = make_article(page(start + piece * (5_000_000 // len(piece))), SITE)
        assert not isinstance(made, Article) or len(made.text) <= 4_000


def test_what_the_parser_refuses_is_stripped(monkeypatch: pytest.MonkeyPatch) -> None:
    from mwparserfromhell import parser

    def refuse(*_: object, **__: object) -> None:
        raise parser.ParserError("no")

    monkeypatch.setattr(parser.Parser, "parse", refuse)
    text = line_of("A [[oil lamp|lamp]] and [[another]] {{nowrap|burn}}.")
    assert text == "A lamp and another nowrap|burn."


def test_the_parser_is_loaded_late_and_missed_in_one_line() -> None:
    code = (
        "import sys; from synthgen.wiki import text; assert 'mwparserfromhell' not in sys.modules\n"
        "sys.modules['mwparserfromhell'] = None; text.check_parser()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "synthgen.errors.InputError: reading wikitext needs the package mwparserfromhell; "
        "install it: pip install 'synthgen-memories[wikipedia]'"
    )


def test_remains_are_counted_by_kind() -> None:
    text = "a {{b}} [[c]] <ref>x</ref> thumb| ''d'' &nbsp; __NOTOC__ File:x.jpg ( )\n== h ==\n{| x\n|}"
    kinds = remains(text)
    wanted = "{{ }} [[ ]] <ref tag thumb| '' &nbsp; __X__ File: () == {| |}"
    assert kinds.keys() >= set(wanted.split())
    assert kinds["''"] == 2
    assert not remains("A lantern (a lamp) is light, 5 km away; AT&T [sic] sells it.")


def _sections(pages: list[Page]) -> list[Page]:
    found = []
    for source in pages:
        for text in re.split(r"\n==+[^=\n]+==+[ \t]*(?=\n)", source.wikitext):
            found.append(source._replace(wikitext=text, redirect=None, namespace=0))
    return found


def test_real_pages_keep_less_than_one_remain_in_a_thousand() -> None:
    site, pages = real_pages()
    for some in (pages, _sections([source for source in pages if source.redirect is None])):
        articles = [made for source in some if isinstance(made := make_article(source, site), Article)]
        found = Counter[str]()
        for article in articles:
            found.update(remains(article.text).keys())
        assert len(articles) > 90
        assert all(n * 1_000 < len(articles) for n in found.values()), found
