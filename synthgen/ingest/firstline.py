"""What an input is whose first row is no memory, and what to do about it.

Looked at before anything is sent: a whole file of another kind would end as so many dead letters.
"""

from __future__ import annotations

import orjson

from synthgen.errors import InputError

#: First bytes of files that are no text.
_MAGIC = {
    b"\x1f\x8b": ("compressed (gzip)", "unpack it first: gunzip -k FILE"),
    b"\x28\xb5\x2f\xfd": ("compressed (zstd)", "unpack it first: zstd -d FILE"),
    b"BZh": ("compressed (bzip2)", "unpack it first: bunzip2 -k FILE"),
    b"\xfd7zXZ": ("compressed (xz)", "unpack it first: unxz -k FILE"),
    b"PK\x03\x04": ("a zip archive", "unpack it first"),
    b"PAR1": ("a Parquet file", "give it a name that ends in .parquet"),
    b"\x93NUMPY": ("a .npy file", "write its rows as JSON lines first"),
}
_TEXT_MARKS = {
    b"\xef\xbb\xbf": ("text with a byte order mark (EF BB BF)", "cut it off: tail -c +4 FILE > NEW.jsonl"),
    b"\xff\xfe": ("UTF-16 text", "make it UTF-8: iconv -f utf-16 -t utf-8 FILE > NEW.jsonl"),
    b"\xfe\xff": ("UTF-16 text", "make it UTF-8: iconv -f utf-16 -t utf-8 FILE > NEW.jsonl"),
}
_ARRAY = ("a JSON array", "write one object a line: jq -c '.[]' FILE > NEW.jsonl")
_SPREAD = ("a JSON object over several lines", "write one object a line: jq -c . FILE > NEW.jsonl")
_ONE_OBJECT = "write one JSON object a line, with id, content, embedding and confidence"
_SHOWN_CHARACTERS = 40


def check_first_row(body: bytes, name: str) -> None:
    """Raise InputError unless ``body``, the first row of the input ``name``, is an object with an id."""
    problem = _problem_of(body)
    if problem is not None:
        what, next_step = problem
        raise InputError(what, where=f"{name}, first row", next_step=next_step)


def _problem_of(body: bytes) -> tuple[str, str] | None:
    for mark, (kind, next_step) in {**_MAGIC, **_TEXT_MARKS}.items():
        if body.startswith(mark):
            return f"this is {kind}", next_step
    try:
        memory = orjson.loads(body)
    except ValueError as error:
        return _problem_of_text(body, error)
    if isinstance(memory, list):
        return f"this is {_ARRAY[0]}", _ARRAY[1]
    if not isinstance(memory, dict):
        return f"this is JSON, but no object: {_shown(body)}", _ONE_OBJECT
    return _problem_of_id(memory)


def _problem_of_id(memory: dict[str, object]) -> tuple[str, str] | None:
    if "id" not in memory:
        return "the memory has no id: sent twice, it would be stored twice", "give every memory an id"
    if not isinstance(memory["id"], str):
        shown = orjson.dumps(memory["id"]).decode()[:_SHOWN_CHARACTERS]
        return f"the memory's id is no string: {shown}", "make every id a string"
    return None


def _problem_of_text(body: bytes, error: ValueError) -> tuple[str, str]:
    if body.startswith(b"["):
        return f"this is {_ARRAY[0]}", _ARRAY[1]
    if body.startswith(b"{") and not body.endswith((b"}", b"},")):
        return f"this is the beginning of {_SPREAD[0]}", _SPREAD[1]
    if body.startswith(b"{"):
        return f"this is no valid JSON ({error})", "mend that row, and others like it"
    table = " (a table?)" if any(mark in body for mark in b",;\t") else ""
    return f"this is no JSON{table}: {_shown(body)}", _ONE_OBJECT


def _shown(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}...")
