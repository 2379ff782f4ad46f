"""Quirks: what Engram was measured to do otherwise than this server, each to be switched on by its name.

They are for trying clients and checks on (`synthgen serve --quirks`), so what is stored under them is not
to be trusted: `/health` and standard error name those that are on. Source: Engram's wire, measured on
orchard9/engram of 2025-11-21. What they do is in ``misbehaving``; the places where the server asks for
them read ``if quirks.X``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from synthgen.errors import UsageError

#: The name that means all quirks.
ALL = "engram"


@dataclass(frozen=True, slots=True)
class Quirks:
    """Which quirks are on; all are off (False or 0) unless they are named.

    ``drop_embeddings``: POST /api/v1/memories drops id and embedding; 0.5 everywhere is stored instead.
    ``near_duplicates``: a memory at a cosine of 0.95 or more to another one of its space is skipped, or
    takes that one's place if its confidence is higher; the answer is 201 all the same.
    ``overstated_counts``: tier_counts counts an id twice when its embedding was replaced.
    ``close_after_413``: the connection is closed after a 413 without being announced so.
    ``early_ack_ms``: 201 comes so many milliseconds before the memory is on the disk; a kill loses it, unless
    memories of any space were read meanwhile.
    ``capacity``: memories that a space holds; then each new one evicts the one stored longest ago, and has
    its place in the listing.
    ``slow_store_us``: a store takes so many microseconds for each memory of its space, one after the other.
    ``unordered_listing``: the listing has another order than that of insertion, and another for each count.
    ``unrelated_recall``: recall by embedding returns memories chosen by chance.
    ``forgetful_recall``: recall by embedding returns nothing of spaces that were there at the start.
    """

    drop_embeddings: bool = False
    near_duplicates: bool = False
    overstated_counts: bool = False
    close_after_413: bool = False
    early_ack_ms: int = 0
    capacity: int = 0
    slow_store_us: int = 0
    unordered_listing: bool = False
    unrelated_recall: bool = False
    forgetful_recall: bool = False

    @property
    def alter_stores(self) -> bool:
        """Whether what is stored depends on what is there, or is stored at another time."""
        rules = self.near_duplicates or self.overstated_counts or self.capacity > 0
        return rules or self.early_ack_ms > 0 or self.slow_store_us > 0

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are on, as :func:`parse_quirks` takes them, numbers with them."""
        on = [(name, getattr(self, field)) for name, field in _FIELDS.items()]
        return tuple(name if value is True else f"{name}={value}" for name, value in on if value)


#: A well-behaved server.
NO_QUIRKS = Quirks()

_UNITS = ("_ms", "_us")
#: Fields by the names that users write: without units, which only the numbers have.
_FIELDS = {
    next((field.name.removesuffix(unit) for unit in _UNITS if field.name.endswith(unit)), field.name).replace(
        "_", "-"
    ): field.name
    for field in fields(Quirks)
}
#: Numbers as measured: batches of the log every 10 ms; 100,000 memories a space; 10,000 stores in 113 s.
_NUMBERS = {"early-ack": 10, "capacity": 100_000, "slow-store": 2}
_LARGEST = 10**9


def parse_quirks(text: str | None) -> Quirks:
    """Return the quirks that ``text`` names: NAME[=NUMBER], with commas between; ``engram`` means all.

    None means none. Raises UsageError, which lists the names, for any other name or number.
    """
    if text is None:
        return NO_QUIRKS
    wanted: dict[str, Any] = {}
    parts = [part.strip() for part in text.split(",")]
    if ALL in parts:
        wanted = {field: _NUMBERS.get(name, True) for name, field in _FIELDS.items()}
    for part in parts:
        if part != ALL:
            name, value = _parse(part)
            wanted[_FIELDS[name]] = value
    return Quirks(**wanted)


def _parse(part: str) -> tuple[str, bool | int]:
    name, equals, number = part.partition("=")
    if equals and name not in _NUMBERS and (name in _FIELDS or name == ALL):
        raise UsageError(f"--quirks {name} takes no number", next_step=_advice())
    if name not in _FIELDS:
        raise UsageError(f"--quirks does not know {part[:80]!r}", next_step=_advice())
    if not equals:
        return name, _NUMBERS.get(name, True)
    natural = number.isascii() and number.isdigit() and len(number) <= len(str(_LARGEST))
    if not (natural and 1 <= int(number) <= _LARGEST):
        raise UsageError(
            f"--quirks {name} must be a whole number from 1 to {_LARGEST:,}, not {number[:80]!r}",
            next_step=_advice(),
        )
    return name, int(number)


def _advice() -> str:
    names = [f"{name}[={_NUMBERS[name]}]" if name in _NUMBERS else name for name in _FIELDS]
    return f"use {ALL} for all, or names with commas between: {', '.join(names)}"
