"""What a database says it holds: its health, a hint of its size, and its memories, page by page.

Engram's wire, measured on orchard9/engram of 2025-11-21: `GET /api/v1/memories` takes tier, offset, limit
(at most 1,000) and include_embeddings; the listing promises no order, and its ``tier_counts`` overstate, so
only what is listed counts.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
import xxhash
from numpy.typing import NDArray

from synthgen.errors import TargetError
from synthgen.ingest.client import Client, never
from synthgen.ingest.endpoint import parse_endpoint
from synthgen.ingest.engram import SPACE_HEADER, describe_answer
from synthgen.ingest.notice import say
from synthgen.ingest.retry import RETRY_STATUSES, RetryPolicy

#: How long a first contact may take: an endpoint that takes connections and is silent is no database.
FIRST_CONTACT = RetryPolicy(max_attempts=3, give_up_s=30.0)
FIRST_TIMEOUT_S = 10.0

LIST_ROUTE = "/api/v1/memories"
PAGE_ROWS = 1_000
#: So many pages in a row without one new id: the server ignores the offset.
_MAX_STALE_PAGES = 5


@dataclass(frozen=True)
class ListingPage:
    """New memories of one page: ids and contents, n each; ``confidences``: (n,) float32, NaN where none was
    given; ``embeddings``: (n, d) float32, or (n, 0) when they were not asked for.
    """

    ids: list[str]
    contents: list[str]
    confidences: NDArray[np.float32]
    embeddings: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Health:
    """What `GET /health` answered."""

    status: str
    service: str
    version: str
    document: dict[str, Any]


def check_health(endpoint: str, *, cancelled: Callable[[], bool] = never) -> Health:
    """Return the health of the database at ``endpoint``; raise TargetError when it is none of Engram's kind.

    An unhealthy server (503) is reported as such and told of once, not raised: it may still recover. One
    that is silent is given up after half a minute.
    """
    with _first_contact(endpoint, frozenset(), cancelled) as client:
        answer = client.get("/health")
    if answer.status == 421:  # the embedded server, by a name that it does not take for its own
        raise TargetError(
            f"answers {describe_answer(answer.status, answer.body)}",
            where=parse_endpoint(endpoint).url,
            next_step="check --endpoint",
        )
    document = _document(answer.body)
    if document.get("service") != "engram":
        raise TargetError(
            f"something answers there ({answer.status}), but it is no Engram server",
            where=parse_endpoint(endpoint).url,
            next_step="check --endpoint; `synthgen serve` starts a compatible server",
        )
    if document.get("status") == "unhealthy":
        _tell_unhealthy(parse_endpoint(endpoint).url)
    return Health(str(document.get("status")), "engram", str(document.get("version", "")), document)


@lru_cache(maxsize=64)
def _tell_unhealthy(url: str) -> None:
    say(f"{url}: the database says that it is unhealthy: it may be damaged, or unable to store; see its log")


def count_hint(endpoint: str, space: str | None = None) -> int:
    """Return how many memories the database claims to hold in ``space``: a hint, it may overstate."""
    with _first_contact(endpoint) as client:
        return count_of(client, space)


def _first_contact(
    endpoint: str,
    retry_statuses: frozenset[int] = RETRY_STATUSES,
    cancelled: Callable[[], bool] = never,
) -> Client:
    return Client(
        parse_endpoint(endpoint),
        FIRST_TIMEOUT_S,
        FIRST_CONTACT,
        cancelled,
        patient=False,
        retry_statuses=retry_statuses,
    )


def count_of(client: Client, space: str | None) -> int:
    """Return what :func:`count_hint` does, over a client that is open."""
    answer = client.get(LIST_ROUTE, {"tier": "all", "limit": "0"}, space_header(space))
    counts = _document(answer.body).get("tier_counts")
    total = counts.get("total", counts.get("hot")) if isinstance(counts, dict) else None
    return total if isinstance(total, int) and total >= 0 else 0


def iter_listing(
    endpoint: str, space: str | None = None, *, embeddings: bool, timeout_s: float = 60.0
) -> Iterator[ListingPage]:
    """Yield every memory of ``space`` (None: the default space) once, page by page, in the server's order.

    Raises TargetError when there is no server, or none of Engram's kind; when embeddings are asked for and
    a memory comes without one, or with another number of components than the first.
    """
    seen: set[int] = set()
    dimension: int | None = None  # not asked for, or nothing seen yet
    with Client(parse_endpoint(endpoint), timeout_s, patient=False) as client:
        for items in iter_items(client, space, embeddings=embeddings):
            client.patient = True  # it was there; if it goes away, wait for it
            new = [item for item in items if _is_new(item["id"], seen)]
            if embeddings and new and dimension is None:
                dimension = len(new[0].get("embedding") or ())
            yield _page(new, dimension, client.endpoint.url)


def _is_new(memory_id: str, seen: set[int]) -> bool:
    digest = xxhash.xxh3_64_intdigest(memory_id.encode())  # a set of numbers is half of a set of strings
    if digest in seen:
        return False
    seen.add(digest)
    return True


def _page(items: list[dict[str, Any]], dimension: int | None, url: str) -> ListingPage:
    contents = [str(item.get("content", "")) for item in items]
    confidences = np.array([confidence_of(item) for item in items], dtype=np.float32)
    array = np.empty((len(items), dimension or 0), dtype=np.float32)
    if dimension is not None:
        for index, item in enumerate(items):
            array[index] = _vector(item, dimension, url)
    return ListingPage([item["id"] for item in items], contents, confidences, array)


def _vector(item: dict[str, Any], dimension: int, url: str) -> NDArray[np.float32]:
    packed = pack_embedding(item.get("embedding"))
    if packed is None:
        raise TargetError(
            f"memory {item['id']!r} is listed without an embedding",
            where=url,
            next_step="the server must list embeddings (include_embeddings=true) for this",
        )
    vector: NDArray[np.float32] = np.frombuffer(packed, dtype=np.float32)
    if len(vector) != dimension:
        raise TargetError(
            f"memory {item['id']!r} has {len(vector)} components, the first has {dimension}",
            where=url,
            next_step="choose a --space whose memories have one dimension",
        )
    return vector


def space_header(space: str | None) -> dict[str, str]:
    """Return the header that names ``space``; nothing for the default space."""
    return {} if space is None else {SPACE_HEADER: space}


def iter_items(
    client: Client, space: str | None, *, embeddings: bool, page_rows: int = PAGE_ROWS
) -> Iterator[list[dict[str, Any]]]:
    """Yield the pages of a listing as the server gives them, repeats included, until an empty one."""
    offset = 0
    stale = 0
    known: set[int] = set()
    while items := fetch_items(client, space, offset, page_rows, embeddings=embeddings):
        yield items
        offset += len(items)
        ids = {xxhash.xxh3_64_intdigest(item["id"].encode()) for item in items}
        stale = stale + 1 if ids <= known else 0
        if stale >= _MAX_STALE_PAGES:
            raise TargetError(
                f"the listing repeats itself from offset {offset:,} on: the server ignores the offset",
                where=client.endpoint.url,
                next_step="this database cannot be read back",
            )
        known = ids if stale == 0 else known


def fetch_items(
    client: Client, space: str | None, offset: int, limit: int, *, embeddings: bool
) -> list[dict[str, Any]]:
    """Return the items of one page, each with a string ``id``; raise TargetError on any other answer."""
    params = {"tier": "all", "offset": str(offset), "limit": str(limit)}
    params["include_embeddings"] = "true" if embeddings else "false"
    answer = client.get(LIST_ROUTE, params, space_header(space))
    items: Any = _document(answer.body).get("memories")
    sound = isinstance(items, list) and all(
        isinstance(item, dict) and isinstance(item.get("id"), str) for item in items
    )
    if answer.status != 200 or not sound:
        raise TargetError(
            f"GET {LIST_ROUTE} answers {answer.status} and no listing as Engram gives it",
            where=client.endpoint.url,
            next_step="check --endpoint and --space",
        )
    memories: list[dict[str, Any]] = items
    return memories


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


@lru_cache(maxsize=64)
def _packer(n_numbers: int) -> struct.Struct:
    return struct.Struct(f"{n_numbers}f")


def pack_embedding(numbers: object) -> bytes | None:
    """Return a list of numbers as float32 bytes, each rounded to the nearest; None if it is no such list.

    ``struct`` takes 4 us for 768 numbers, ``numpy.array`` 12.
    """
    if not isinstance(numbers, list) or not numbers:
        return None
    try:
        return _packer(len(numbers)).pack(*numbers)
    except struct.error:
        return None
    except OverflowError:  # beyond float32: infinite there
        return np.array(numbers, dtype=np.float64).astype(np.float32).tobytes()


def confidence_of(item: dict[str, Any]) -> float:
    """Return the confidence of a listed or sent memory: a number, or an object with ``value``; else NaN."""
    value = item.get("confidence")
    if isinstance(value, dict):
        value = value.get("value")
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else float("nan")
