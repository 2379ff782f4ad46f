"""Query parameters: text to values, with the plain-text 400 that Engram's framework answers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from synthgen.server.answers import Refusal, text_refusal

#: Larger numbers are as this one.
MAX_NATURAL = 2**63 - 1
_MAX_DIGITS = 20
_NUMBER = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity|nan)", re.ASCII | re.IGNORECASE
)


def _bad(name: str, expected: str) -> Refusal:
    return text_refusal(400, f"Failed to deserialize query string: {name}: expected {expected}")


def text(query: Mapping[str, str], name: str, default: str) -> str:
    """Return a parameter as it is."""
    return query.get(name, default)


def natural(query: Mapping[str, str], name: str, default: int) -> int:
    """Return a parameter that is a whole number of at least 0, or raise the 400."""
    value = query.get(name)
    if value is None:
        return default
    if not (value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS):
        raise _bad(name, "a whole number of at least 0")
    return min(int(value), MAX_NATURAL)


def number(query: Mapping[str, str], name: str) -> float | None:
    """Return a parameter that is a number, None where it is absent, or raise the 400."""
    value = query.get(name)
    if value is None:
        return None
    if not _NUMBER.fullmatch(value):  # float() would take "1_0", too, and digits of other scripts
        raise _bad(name, "a number")
    return float(value)


def flag(query: Mapping[str, str], name: str) -> bool:
    """Return a parameter that is true or false (absent: false), or raise the 400."""
    value = query.get(name, "false")
    if value not in ("true", "false"):
        raise _bad(name, "`true` or `false`")
    return value == "true"
