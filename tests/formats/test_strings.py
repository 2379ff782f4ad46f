"""JSON strings to what they mean, against another reader of JSON."""

from __future__ import annotations

import json

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.formats._strings import write_strings


def decode(strings: list[bytes], width: int) -> list[str]:
    """Return what ``strings``, padded to ``width``, are after :func:`write_strings`."""
    padded = np.frombuffer(b"".join(string.ljust(width) for string in strings), np.uint8)
    out = np.full(len(strings) * (width + 4) + 8, 0xEE, np.uint8)
    n_bytes = write_strings(padded.reshape(-1, width), width, out)
    assert (out[n_bytes:] == 0xEE).all(), "nothing is written behind the last one"
    data, found, at = out[:n_bytes].tobytes(), [], 0
    while at < n_bytes:
        length = int.from_bytes(data[at : at + 4], "little")
        found.append(data[at + 4 : at + 4 + length].decode())
        at += 4 + length
    return found


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5), st.booleans(), st.integers(0, 9))
def test_any_text_comes_back(texts: list[str], is_ascii: bool, n_blanks: int) -> None:
    strings = [json.dumps(text).encode() if is_ascii else orjson.dumps(text) for text in texts]
    assert decode(strings, max(map(len, strings)) + n_blanks) == texts


def test_all_escapes_and_their_order() -> None:
    text = '"\\/\b\f\n\r\té€😀\x00 "'
    for string in (
        json.dumps(text),
        json.dumps(text, ensure_ascii=False),
        json.dumps(text).replace("/", "\\/"),
    ):
        assert decode([string.encode(), b'""', string.encode()], 90) == [text, "", text]
    assert decode([rb'"\u00E9\uD83D\ude00"'], 30) == ["é😀"]


@pytest.mark.parametrize(
    "string",
    [
        b'"a',
        b'a"',
        b'"',
        b"",
        b'"\\"',
        rb'"\x"',
        rb'"\u12"',
        rb'"\u12g4"',
        rb'"\ud800"',
        rb'"\ud800\u0041"',
        rb'"\udc00"',
    ],
)
def test_what_is_no_json_is_refused(string: bytes) -> None:
    with pytest.raises(ValueError, match="not strings of JSON"):
        decode([b'"fine"', string], 16)


def test_a_buffer_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="out: 25 items of 1 bytes, at least 26"):
        write_strings(np.zeros((2, 9), np.uint8), 9, np.empty(25, np.uint8))
    with pytest.raises(ValueError, match="a width of at least 1"):
        write_strings(np.zeros((2, 9), np.uint8), 0, np.empty(26, np.uint8))
