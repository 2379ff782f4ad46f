"""Bodies read past their numbers: the same as parsed whole, to the bit, or not read so at all."""

import json
import struct
from collections.abc import Callable
from decimal import Decimal

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.server import bodies
from synthgen.server._numbers import read_array_of
from synthgen.server.answers import Refusal
from synthgen.server.bodies import parse_json
from synthgen.server.requests import pack_embedding, parse_memory

KEY = b'"embedding"'
VECTOR = [((i * 37) % 101 - 50) / 64 for i in range(768)]
ARRAY = orjson.dumps(VECTOR)
PACKED = struct.pack("<768f", *VECTOR)


def read(text: bytes, n: int = 1) -> list[float] | None:
    out = np.full(n, np.nan, np.float32)
    return out.tolist() if read_array_of(text, KEY, out) else None


def in_body(number: str) -> bytes:
    return b'{"embedding":[' + number.encode() + b"]}"


def test_an_embedding_is_read_where_it_stands_whatever_surrounds_it() -> None:
    for around in (
        b'{"id":"a","content":"x","embedding":%b}',
        b'{"embedding" \n:\t %b ,"tags":["embedding","[1]"],"content":"\\u00e4 \\"embedding\\": [1]"}',
        b'{"content":"ends with \\\\","embedding":%b}',
    ):
        document = parse_json(around % ARRAY)
        assert document["embedding"] == PACKED
        whole = orjson.loads(around % ARRAY)
        assert {**document, "embedding": 0} == {**whole, "embedding": 0}


def test_an_array_of_another_place_is_not_taken_for_the_embedding() -> None:
    other = orjson.dumps([0.5] * 768)
    for body, expected in (
        (b'{"tags":{"embedding":%b},"embedding":%b}' % (other, ARRAY), VECTOR),
        (b'{"embedding":%b,"embedding":%b}' % (other, ARRAY), VECTOR),  # of two, the last one counts
        (b'{"embedding":%b,"\\u0065mbedding":%b}' % (other, ARRAY), VECTOR),
        (b'{"\\u0065mbedding":%b,"more":{"embedding":%b}}' % (ARRAY, other), VECTOR),
        (b'{"more":{"embedding":%b}}' % other, None),
        (b'{"a\\"embedding":%b}' % other, None),
    ):
        found = parse_json(body).get("embedding")
        assert (
            found if found is None or isinstance(found, list) else list(struct.unpack("<768f", found))
        ) == (expected)
    assert isinstance(parse_json(b"[%b]" % (b'{"embedding":%b}' % ARRAY)), list)


def test_a_number_that_nobody_can_know_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    # Were it known, a body could pass off an array of another place as its embedding.
    monkeypatch.setattr(bodies, "_STAND_IN", 7)
    monkeypatch.setattr(bodies, "_STAND_IN_TEXT", b"7")
    forged = b'{"more":{"embedding":%b},"\\u0065mbedding":7}' % ARRAY
    assert parse_json(forged)["embedding"] == PACKED
    monkeypatch.undo()
    assert parse_json(forged)["embedding"] == 7


EXACT = "0.1 -0 0 1e-3 1E+2 123456789012345678 9007199254740993 0.30000001192092896 1e-22 1e22 1.0e0 16777217"
ROUNDED = "3.4028234663852886e38 0.000000000000000000001 5e-324 1e-45"


@pytest.mark.parametrize("number", f"{EXACT} {ROUNDED}".split())
def test_each_number_is_the_nearest_float_or_left_to_the_parser(number: str) -> None:
    found = read(in_body(f"1,{number}"), 2)
    assert found is None or struct.pack("<f", found[1]) == struct.pack("<f", orjson.loads(number))


NO_NUMBERS = '- +1 .5 1. 01 -01 1e 1e+ 0x1 NaN Infinity -Infinity true null "1" [1] 1, 1_0 1e0001 \u0661'
USELESS = "1e39 1e999 0 -0.0"


@pytest.mark.parametrize("number", ["", "1 2", *NO_NUMBERS.split(), *USELESS.split()])
def test_what_is_no_number_is_not_read(number: str) -> None:
    assert read(in_body(number)) is None


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(1, 17))
@settings(max_examples=300, deadline=None)
def test_numbers_as_programs_write_them(number: float, digits: int) -> None:
    for text in (json.dumps(number), f"{number:.{digits}f}", f"{number:.{digits}e}", f"{number:.{digits}g}"):
        found = read(in_body(f"1, {text}"), 2)
        if found is not None:
            assert struct.pack("<f", found[1]) == struct.pack("<f", orjson.loads(text))


@given(st.floats(-1, 1, width=32), st.integers(12, 30))
@settings(max_examples=300, deadline=None)
def test_numbers_close_to_the_middle_of_two_floats(number: float, digits: int) -> None:
    middle = (Decimal(number) + Decimal(float(np.nextafter(np.float32(number), np.float32(2))))) / 2
    for text in (format(middle, "f")[:digits], f"{middle:.{digits}f}"):
        found = read(in_body(f"1, {text}"), 2) if text[-1].isdigit() else None
        if found is not None:
            assert struct.pack("<f", found[1]) == struct.pack("<f", orjson.loads(text))


@pytest.mark.parametrize(
    "write", [repr, "{:.6f}".format, "{:.8e}".format, lambda x: repr(np.float32(x).item())]
)
def test_numbers_as_clients_write_them_take_the_short_way(write: Callable[[float], str]) -> None:
    texts = [write(x) for x in np.random.default_rng(7).normal(0, 0.04, 20_000).tolist()]
    found = read(in_body(", ".join(texts)), len(texts))
    assert found is not None
    assert (
        np.array(found, np.float32).tobytes()
        == np.array([float(text) for text in texts]).astype(np.float32).tobytes()
    )


@given(st.integers(0, len(ARRAY) + 40), st.binary(max_size=3))
@settings(max_examples=200, deadline=None)
def test_a_damaged_body_is_what_it_is_when_parsed_whole(at: int, piece: bytes) -> None:
    body = b'{"id":"a","content":"b","embedding":' + ARRAY + b"}"
    damaged = body[:at] + piece + body[at + len(piece) :]
    assert outcome(damaged) == whole_outcome(damaged)


def outcome(body: bytes) -> object:
    try:
        return parse_memory(body, "a-space").embedding
    except Refusal as refused:
        return refused.answer.status


def whole_outcome(body: bytes) -> object:
    """Return what comes of ``body`` without the short way."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return 400
    try:
        if isinstance(document, dict) and isinstance(document.get("embedding"), list):
            document["embedding"] = pack_embedding(document["embedding"])
            vector = document.pop("embedding")
            rest = parse_memory(orjson.dumps(document), "a-space")
            return rest._replace(embedding=vector).embedding
        return parse_memory(body, "a-space").embedding
    except Refusal as refused:
        return refused.answer.status


def test_the_kernel_refuses_what_is_not_its_kind() -> None:
    out = np.empty(2, np.float32)
    with pytest.raises(TypeError):
        read_array_of(b"{}", KEY)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="out"):
        read_array_of(b"{}", KEY, np.empty(2, np.float64))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="key"):
        read_array_of(b"{}", b"", out)
    assert read_array_of(b"", KEY, out) is None
    assert read_array_of(KEY, KEY, out) is None
    assert read_array_of(KEY + b":", KEY, out) is None
