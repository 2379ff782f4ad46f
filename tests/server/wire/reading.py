"""The listing, single memories, and how the server says it is."""

from __future__ import annotations

from tests.server.client import LIST
from tests.server.wire import Pair, check
from tests.server.wire.target import Target, kind, missing


@check("listing: all fields in the answer")
def _(at: Target) -> Pair:
    page = at.get(LIST, space=at.space)
    return (200, []), (page.status, missing("memories count pagination tier_counts", page.json))


@check("listing: pagination has offset, limit, returned; tier_counts hot, warm, cold, total")
def _(at: Target) -> Pair:
    page = at.get(LIST, space=at.space, limit=0).json
    lacking = missing("offset limit returned", page["pagination"])
    return ([], []), (lacking, missing("hot warm cold total", page["tier_counts"]))


@check("listing: a memory has id, content, confidence, timestamp, and no embedding unless asked for")
def _(at: Target) -> Pair:
    body = at.remember()
    (listed,) = at.listed(body["id"])
    return ([], None), (missing("id content confidence timestamp", listed), listed.get("embedding"))


@check("listing: count and returned are how many memories there are on the page")
def _(at: Target) -> Pair:
    page = at.get(LIST, space=at.space, limit=3).json
    return (3, 3, 3), (len(page["memories"]), page["count"], page["pagination"]["returned"])


@check("listing: 100 memories unless asked for others, 1,000 at most")
def _(at: Target) -> Pair:
    limits = [
        at.get(LIST, space=at.space, **asked).json["pagination"]["limit"] for asked in ({}, {"limit": 5000})
    ]
    return [100, 1000], limits


@check("listing: limit=0 gives no memories, and counts")
def _(at: Target) -> Pair:
    at.remember()
    page = at.get(LIST, space=at.space, limit=0).json
    return ([], True), (page["memories"], page["tier_counts"]["hot"] > 0)


@check("listing: beyond the end there is an empty page")
def _(at: Target) -> Pair:
    reply = at.get(LIST, space=at.space, offset=1_000_000)
    return (200, []), (reply.status, reply.json["memories"])


@check("listing: tiers hot, warm, cold, all")
def _(at: Target) -> Pair:
    return [200] * 4, [
        at.get(LIST, space=at.space, tier=tier).status for tier in ("hot", "warm", "cold", "all")
    ]


@check("listing: pages have all memories of the space, and none of another")
def _(at: Target) -> Pair:
    own = {at.remember()["id"] for _ in range(3)}
    others = at.remember(memory_space_id=at.other)["id"]
    found = {memory["id"] for memory in at.listing(limit=7)}
    return (set(), False), (own - found, others in found)


@check("one memory: all fields, and never the embedding")
def _(at: Target) -> Pair:
    found = at.one(at.remember()["id"])
    lacking = missing("id content confidence timestamp memory_type", found.json)
    return (200, [], None), (found.status, lacking, found.json.get("embedding"))


@check("one memory: what is not there: 404, MEMORY_NOT_FOUND")
def _(at: Target) -> Pair:
    found = at.one(at.fresh_id())
    return (404, "application/json", "MEMORY_NOT_FOUND"), (*kind(found), found.json["error"]["code"])


@check("one memory: of another space: 404")
def _(at: Target) -> Pair:
    return 404, at.one(at.remember()["id"], space=at.other).status


@check("one memory: count is read as an id: 404")
def _(at: Target) -> Pair:
    return 404, at.one("count").status


@check("health: all fields, service engram")
def _(at: Target) -> Pair:
    health = at.get("/health").json
    return ([], "engram"), (missing("status service version timestamp", health), health["service"])


@check("health: alive, system health and metrics answer 200")
def _(at: Target) -> Pair:
    paths = ("/health/alive", "/api/v1/system/health", "/metrics", "/metrics/prometheus")
    return dict.fromkeys(paths, 200), {path: at.get(path).status for path in paths}


@check("health: metrics are JSON, for Prometheus text")
def _(at: Target) -> Pair:
    found = [kind(at.get(path))[1] for path in ("/metrics", "/metrics/prometheus")]
    return ["application/json", "text/plain"], found
