"""Phase 4: bytes into a running database, and the proof that it holds exactly them."""

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
