"""Checks of single values, by the flag that gives them."""

from __future__ import annotations

import math

from synthgen.errors import UsageError


def check_integer(flag: str, value: object, low: int, high: int) -> None:
    """Raise UsageError unless ``value`` is an integer in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{flag} must be a whole number from {low:,} to {high:,}, not {value!r}")


def check_number(flag: str, value: object, low: float, high: float) -> None:
    """Raise UsageError unless ``value`` is a finite number in [low, high]."""
    good = isinstance(value, (int, float)) and math.isfinite(value) and low <= value <= high
    if not good or isinstance(value, bool):
        raise UsageError(f"{flag} must be a number from {low:g} to {high:g}, not {value!r}")
