"""Which pages become articles."""

import pytest

from synthgen.wiki.articles import Article, Skipped
from synthgen.wiki.rules import why_left_out
from synthgen.wiki.text import make_article
from tests.wiki.wikipages import GERMAN, OPENING, SITE, page


def reason(wikitext: str, **fields: object) -> str:
    made = make_article(page(wikitext, **fields), SITE)  # type: ignore[arg-type]
    return made.reason if isinstance(made, Skipped) else "article"


def test_an_article_carries_its_page() -> None:
    article = make_article(page(OPENING), SITE)
    assert article == Article("17", "99", "Lantern", "2024-01-02T03:04:05Z", f"Lantern\n{OPENING.strip()}")


def test_other_namespaces_are_left_out() -> None:
    assert reason(OPENING, namespace=4) == "namespace"
    assert reason(OPENING, namespace=0) == "article"


def test_the_element_alone_makes_a_redirect() -> None:
    assert reason(OPENING, redirect="Lamp") == "redirect"


@pytest.mark.parametrize(
    "wikitext",
    [
        "#REDIRECT [[Lamp]]",
        "#redirect[[Lamp]]",
        " \n#Redirect: [[Lamp]]",
        "#WEITERLEITUNG [[Lampe]]",
        "#REDIRECTION [[Lampe]]",
        "#REDIRECCIÓN [[Lámpara]]",
        "#RINVIA [[Lampada]]",
        "#ПЕРЕНАПРАВЛЕНИЕ [[Лампа]]",
        "#перенаправление [[Лампа]]",
        "#転送 [[ランプ]]",
        "#重定向 [[灯]]",
        "#تحويل [[مصباح]]",
        "#הפניה [[מנורה]]",
        "#TAM [[Lampa]]",
        "#DOORVERWIJZING [[Lamp]]",
        "#OMDIRIGERING [[Lampa]]",
    ],
)
def test_redirects_in_many_languages(wikitext: str) -> None:
    assert reason(f"{wikitext}\n{OPENING}") == "redirect"


def test_a_numbered_list_is_no_redirect() -> None:
    assert (
        reason("#Lanterns of [[paper]] are light, and they burn easily when the wind turns.\n#Red")
        == "article"
    )


@pytest.mark.parametrize(
    "mark",
    [
        "{{disambiguation}}",
        "{{Disambig}}",
        "{{disambiguation|geo}}",
        "{{hndis|Lantern, John}}",
        "{{ Begriffsklärung }}",
        "{{Homonymie}}",
        "{{Desambiguación}}",
        "{{disambigua}}",
        "{{Desambiguação}}",
        "{{dp}}",
        "{{Ujednoznacznienie}}",
        "{{неоднозначность}}",
        "{{Aimai}}",
        "{{曖昧さ回避}}",
        "{{消歧义}}",
        "{{Förgrening}}",
        "{{توضيح}}",
        "{{פירושונים}}",
        "{{human_name disambiguation}}",
        "__DISAMBIG__",
        "[[Category:Disambiguation pages]]",
        "[[category: Human name disambiguation pages|Lantern]]",
        "[[Kategorie:Begriffsklärung]]",
    ],
)
def test_disambiguation_by_template_and_category(mark: str) -> None:
    assert reason(f"{OPENING}\n* [[Lantern (lamp)]]\n{mark}\n[[Category:Lanterns]]") == "disambiguation"


@pytest.mark.parametrize(
    "mark",
    [
        "{{disambiguation needed}}",
        "<!-- {{disambiguation}} -->",
        "<nowiki>{{disambiguation}}</nowiki>",
        "[[Category:Word-sense disambiguation]]",
        "[[:Category:Disambiguation pages]]",
        "{{other uses|Lantern (disambiguation)}}",
    ],
)
def test_what_only_speaks_of_disambiguation(mark: str) -> None:
    assert reason(f"{OPENING}\n{mark}", title="Lantern (disambiguation)") == "article"


def test_a_long_disambiguation_page_is_known_by_its_ends() -> None:
    assert reason(f"{'A lantern. ' * 30_000}\n{{{{disambig}}}}") == "disambiguation"


def test_short_pages_are_left_out() -> None:
    assert reason("x" * 49) == "short"
    assert reason("x" * 50) == "article"
    assert reason("") == "short"
    assert reason("{{Infobox|" + "x" * 500 + "}}\n'''Lantern'''") == "short"


def test_rules_need_no_site() -> None:
    assert why_left_out(page("#REDIRECT [[x]]")) == "redirect"
    assert why_left_out(page(OPENING)) is None
    assert isinstance(make_article(page(OPENING), GERMAN._replace(namespaces={})), Article)
