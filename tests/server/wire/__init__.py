"""Engram's wire, line by line, as checks that can be run against any server.

``python -m tests.server.wire http://localhost:7432`` prints what differs. A check asks one thing and
returns what was expected and what was found; nothing that a server held before is assumed or touched,
and no more than two spaces are made, since Engram takes 3 GB of memory for each.

Source of what is expected: Engram's wire, measured on orchard9/engram of 2025-11-21.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.server.wire.target import Target

#: What any Engram answers; and what the embedded server does better, where Engram is known to differ.
WIRE = "wire"
OURS = "ours"
ENDPOINT_VARIABLE = "SYNTHGEN_CONTRACT_ENDPOINT"

Pair = tuple[Any, Any]
_SHOWN_CHARACTERS = 200
#: What is read or sought was stored by checks before.
_MODULES = ("storing", "refusing", "reading", "seeking", "better", "access")


@dataclass(frozen=True)
class Check:
    """One line of the wire; ``ask`` returns what it expects and what it found."""

    name: str
    group: str
    ask: Callable[[Target], Pair]


@dataclass(frozen=True)
class Outcome:
    """A check that was run."""

    check: Check
    expected: str
    found: str

    @property
    def differs(self) -> bool:
        return self.expected != self.found


CHECKS: dict[str, Check] = {}
#: Those that are for a server which requires the key that the environment holds.
KEY_CHECKS: dict[str, Check] = {}


def check(
    name: str, group: str = WIRE, *, needs_key: bool = False
) -> Callable[[Callable[[Target], Pair]], None]:
    """Register what follows under ``name``."""
    checks = KEY_CHECKS if needs_key else CHECKS

    def register(ask: Callable[[Target], Pair]) -> None:
        assert name not in checks, f"two checks are called {name!r}"
        checks[name] = Check(name, group, ask)

    return register


def load_checks() -> dict[str, Check]:
    """Return all checks by name that need no key, in the order in which they are to be run."""
    for module in _MODULES:
        importlib.import_module(f"{__name__}.{module}")
    return CHECKS


def run_checks(endpoint: str) -> list[Outcome]:
    """Run all checks against the server at ``endpoint``; what fails or raises is an outcome like others.

    Those of keys are run where the environment holds one.
    """
    checks = list(load_checks().values())
    with Target(endpoint) as target:
        checks += KEY_CHECKS.values() if target.secret_headers else ()
        return [_run(found, target) for found in checks]


def _run(found: Check, target: Target) -> Outcome:
    try:
        expected, actual = found.ask(target)
    except Exception as error:
        return Outcome(found, "an answer", f"{type(error).__name__}: {error}"[:_SHOWN_CHARACTERS])
    return Outcome(found, repr(expected)[:_SHOWN_CHARACTERS], repr(actual)[:_SHOWN_CHARACTERS])


def is_ours(endpoint: str) -> bool:
    """Return whether the embedded server, well-behaved, is at ``endpoint``: it owes more than the wire."""
    with Target(endpoint) as target:
        health = target.get("/health").json
        return str(health.get("server")).startswith("synthgen/") and not health.get("quirks")


def given_endpoint() -> str | None:
    """Return the server that the environment names, if it names one."""
    return os.environ.get(ENDPOINT_VARIABLE) or None


def table(outcomes: Iterable[Outcome]) -> str:
    """Return all of ``outcomes`` as a table: check, expected, found."""
    rows = [("check", "expected", "found")]
    rows += [(f"{one.check.group}  {one.check.name}", one.expected, one.found) for one in outcomes]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
