"""Phase 4: bytes into a running database, and the proof that it holds exactly them.

Names are imported at their first use: a group needs neither requests nor the reading back, and starts in
half the time without them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synthgen.ingest.listing import Health, ListingPage, check_health, count_hint, iter_listing
    from synthgen.ingest.report import IngestReport, SpaceCount, VerifyReport
    from synthgen.ingest.retry import RetryPolicy
    from synthgen.ingest.run import ingest, verify

__all__ = [
    "Health",
    "IngestReport",
    "ListingPage",
    "RetryPolicy",
    "SpaceCount",
    "VerifyReport",
    "check_health",
    "count_hint",
    "ingest",
    "iter_listing",
    "verify",
]

_HOMES = {
    **dict.fromkeys(("Health", "ListingPage", "check_health", "count_hint", "iter_listing"), "listing"),
    **dict.fromkeys(("IngestReport", "SpaceCount", "VerifyReport"), "report"),
    "RetryPolicy": "retry",
    **dict.fromkeys(("ingest", "verify"), "run"),
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
