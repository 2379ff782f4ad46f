"""Requests made up from the server's OpenAPI document, right ones and wrong ones (schemathesis).

``SYNTHGEN_FUZZ_EXAMPLES=1000`` makes as many of each kind for each route, others each time.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from synthgen.server.openapi import document
from tests.server.client import Client, numbers, vectors
from tests.server.conformance import Conformance
from tests.serverproc import ServerProcess

N_EXAMPLES = int(os.environ.get("SYNTHGEN_FUZZ_EXAMPLES", "0"))
FEW_EXAMPLES = 20
#: Far above what a server needs for some thousand small memories, far below what a leak would reach.
LIMIT_BYTES = 700_000_000


def _some_vectors() -> list[list[float]]:
    good = [[round(value, 3) for value in numbers(vector)] for vector in vectors(3, seed=31)]
    return [*good, [0.0] * 768, [1e39] * 768, good[0][:767], [1e-30] * 768]


def _schema() -> Any:
    """Return the document with a few vectors to choose from: 768 numbers are too many to make up."""
    generating = document()
    some = _some_vectors()
    partial = [[*some[0][:300], *[None] * 468], [None] * 768, [0.0] * 768]
    generating["components"]["schemas"]["Embedding"] = {"enum": some}
    generating["components"]["schemas"]["PartialEmbedding"] = {"enum": some + partial}
    return schemathesis.openapi.from_dict(generating)


OPERATIONS = {
    operation.label: operation for operation in (found.ok() for found in _schema().get_all_operations())
}


def _takes_any(operation: Any) -> bool:
    return bool(operation.body or operation.query or operation.headers or operation.path_parameters)


@pytest.fixture(scope="module")
def answered(server: ServerProcess) -> Iterator[Counter[tuple[str, int]]]:
    """How often each operation answered each status, over the module; the server is sound in the end."""
    counts: Counter[tuple[str, int]] = Counter()
    with Client(server.port) as client:
        for row, vector in enumerate(vectors(3, seed=31)):
            client.remember(id=str(row), content=f"walrus {row}", embedding=numbers(vector), tags=["a"])
    yield counts
    with Client(server.port) as client:
        assert client.get("/health").json["status"] == "healthy"
    assert psutil.Process(server.pid).memory_info().rss < LIMIT_BYTES


def _settings() -> settings:
    return settings(
        max_examples=N_EXAMPLES or FEW_EXAMPLES,
        derandomize=not N_EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink] if N_EXAMPLES else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def _leads_elsewhere(path: str, reply: Any) -> bool:
    """Return whether an id was "." or "..", which clients take for a step in the path."""
    return "{id}" in path and (reply.status_code, reply.content) == (404, b"")


def _fuzz(label: str, mode: GenerationMode, endpoint: str, counts: Counter[tuple[str, int]]) -> None:
    operation, described = OPERATIONS[label], Conformance(document())
    method, path = label.split()
    with requests.Session() as session:

        @_settings()
        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: Any) -> None:
            reply = case.call(base_url=endpoint, session=session, timeout=60)
            counts[label, reply.status_code] += 1
            kind = reply.headers.get("content-type", [""])[0]
            findings = described.findings(path, method, reply.status_code, kind, reply.content)
            if reply.status_code >= 500 or (findings and not _leads_elsewhere(path, reply)):
                pytest.fail(
                    f"{findings}\n{case.as_curl_command()}\n{reply.status_code} {reply.content[:500]!r}"
                )

        send()


@pytest.mark.parametrize("label", OPERATIONS)
def test_right_requests(server: ServerProcess, answered: Counter[tuple[str, int]], label: str) -> None:
    _fuzz(label, GenerationMode.POSITIVE, server.endpoint, answered)


@pytest.mark.parametrize("label", [label for label, operation in OPERATIONS.items() if _takes_any(operation)])
def test_wrong_requests(server: ServerProcess, answered: Counter[tuple[str, int]], label: str) -> None:
    _fuzz(label, GenerationMode.NEGATIVE, server.endpoint, answered)


@pytest.mark.skipif(N_EXAMPLES > 0, reason="others each time")
def test_both_kinds_were_made(answered: Counter[tuple[str, int]]) -> None:
    statuses = {label: {status for found, status in answered if found == label} for label in OPERATIONS}
    for label, operation in OPERATIONS.items():
        if not statuses[label]:
            pytest.skip("not all were run")
        good = {"POST /api/v1/complete": {422}, "GET /api/v1/memories/{id}": {404}}.get(label, {200, 201})
        assert statuses[label] & good, label
        assert not _takes_any(operation) or statuses[label] & {400, 404, 415, 422}, label


def test_an_answer_that_is_not_described_is_seen(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = document()
    del changed["paths"]["/api/v1/spaces"]["post"]["responses"]["422"]
    monkeypatch.setitem(globals(), "document", lambda: changed)
    with pytest.raises(pytest.fail.Exception, match="status 422 is none of"):
        _fuzz("POST /api/v1/spaces", GenerationMode.NEGATIVE, server.endpoint, Counter())
