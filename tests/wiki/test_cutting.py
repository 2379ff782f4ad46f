"""Where the beginning of an article ends."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.wiki.cutting import MIN_CHARACTERS, compose, cut

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


@pytest.mark.parametrize(
    ("text", "max_characters", "kept"),
    [
        pytest.param("short enough", 12, "short enough", id="whole"),
        pytest.param("One two. Three four five six", 11, "One two.", id="sentence"),
        pytest.param('He said "no." And left', 14, 'He said "no."', id="closing-quote-belongs"),
        pytest.param("The very long name of J. Smith is it", 26, "The very long name of J.", id="word"),
        pytest.param("Pi is about 3.14159 or so it goes", 16, "Pi is about", id="number-is-no-end"),
        pytest.param("A heading here\nand the text below", 20, "A heading here", id="paragraph"),
        pytest.param(
            "Line of a heading \n\nThe text goes on", 22, "Line of a heading", id="blank-before-line"
        ),
        pytest.param("一二三四五六七。八九十一二三四", 11, "一二三四五六七。", id="chinese"),
        pytest.param("彼は「そうだ。」と言ったのだった", 10, "彼は「そうだ。」", id="japanese-quote"),
        pytest.param("क ख ग घ ङ। च छ ज झ ञ ट", 13, "क ख ग घ ङ।", id="danda"),
        pytest.param("abcdefghijklmnop", 10, "abcdefghij", id="one-word"),
        pytest.param("a " + "b" * 50, 20, "a " + "b" * 18, id="long-word-is-not-lost"),
        pytest.param("Done at once. Then more", 13, "Done at once.", id="end-at-the-limit"),
        pytest.param(
            "Words that end just here then", 23, "Words that end just", id="before-the-word-that-goes-on"
        ),
        pytest.param("Words that end just here", 19, "Words that end just", id="word-at-the-limit"),
    ],
)
def test_ends_where_a_reader_would(text: str, max_characters: int, kept: str) -> None:
    assert cut(text, max_characters) == kept


@pytest.mark.parametrize(
    "cluster",
    [
        pytest.param("e\u0301\u0323", id="accents"),
        pytest.param(FAMILY, id="family"),
        pytest.param("\U0001f44d\U0001f3fd", id="skin-tone"),
        pytest.param("\U0001f1e8\U0001f1ed", id="flag"),
        pytest.param("\u1112\u1161\u11ab", id="hangul"),
        pytest.param("\u0915\u094d\u0937\u093f", id="conjunct"),
        pytest.param("\ud83d\ude00", id="surrogates"),
        pytest.param("\u2764\ufe0f", id="variation"),
        pytest.param("。\ufe01", id="variation-of-a-full-stop"),
        pytest.param("\r\n", id="line-end"),
    ],
)
def test_no_character_of_several_parts_is_broken(cluster: str) -> None:
    text = cluster * 30
    for max_characters in range(3 * len(cluster), len(text)):
        kept = cut(text, max_characters)
        assert len(kept) <= max_characters
        assert kept == cluster * (len(kept) // len(cluster))


@given(st.text(), st.integers(1, 40))
def test_is_a_beginning_and_never_longer(text: str, max_characters: int) -> None:
    kept = cut(text, max_characters)
    assert text.startswith(kept)
    assert len(kept) <= max_characters
    assert cut(kept, max_characters) == kept


@given(st.text(st.characters(categories=["Lu", "Ll", "Lo"]), min_size=1), st.integers(1, 40))
def test_a_text_without_spaces_fills_at_least_two_thirds(text: str, max_characters: int) -> None:
    kept = cut(text, max_characters)
    assert len(kept) >= min(len(text), max_characters * 2 // 3)


def test_a_text_of_marks_alone_is_cut_all_the_same() -> None:
    assert len(cut("a" + "\u0301" * 500, 100)) == 100
    assert all(unicodedata.combining(mark) for mark in cut("a" + "\u0301" * 500, 100)[1:])
    assert cut("." * 200_000, 100_000) == "." * 100_000


def test_no_length_is_refused() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        cut("text", 0)


def test_what_is_short_is_stated() -> None:
    assert MIN_CHARACTERS == 50


def test_title_and_text_fit_together() -> None:
    assert compose("Title", "One two. Three", 20) == "Title\nOne two. Three"
    assert compose("Title", "One two. Three", 16) == "Title\nOne two."
    assert compose("Title", "", 16) == "Title" and compose("", "text", 16) == "text"
    assert compose("A title that is very long", "text", 8) == "A title"
