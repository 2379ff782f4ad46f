"""Engram's wire, line by line: against our server, or against the one that
``SYNTHGEN_CONTRACT_ENDPOINT`` names (``http://host:port``).
"""

from __future__ import annotations

import dataclasses
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.client import LIST, REMEMBER, Reply
from tests.server.tampering import tampered
from tests.server.wire import OURS, WIRE, Outcome, given_endpoint, is_ours, load_checks, run_checks, table
from tests.serverproc import ServerProcess, running_server


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    given = given_endpoint()
    if given is not None:
        yield given
        return
    with running_server(tmp_path_factory.mktemp("wire") / "data") as running:
        yield running.endpoint
        assert running.stop() == 0
        assert running.errors.read_text() == ""


@pytest.fixture(scope="module")
def outcomes(endpoint: str) -> dict[str, Outcome]:
    return {outcome.check.name: outcome for outcome in run_checks(endpoint)}


@pytest.fixture(scope="module")
def required(endpoint: str) -> set[str]:
    """Groups of checks that must hold: Engram need not be better than Engram."""
    return {WIRE, OURS} if is_ours(endpoint) else {WIRE}


@pytest.mark.parametrize("name", load_checks())
def test_line(outcomes: dict[str, Outcome], required: set[str], name: str) -> None:
    outcome = outcomes[name]
    if outcome.differs and outcome.check.group not in required:
        pytest.skip(f"{name}: expected {outcome.expected}, found {outcome.found}")
    assert outcome.found == outcome.expected


def test_all_differences_in_one_table(outcomes: dict[str, Outcome], required: set[str]) -> None:
    different = [found for found in outcomes.values() if found.differs and found.check.group in required]
    assert not different, f"\n{table(different)}"


def _without(field: str, reply: Reply) -> Reply:
    document = reply.json
    del document[field]
    return dataclasses.replace(reply, body=json.dumps(document).encode())


def _tamper(method: str, path: str, reply: Reply) -> Reply:
    """Change four things of the wire, and leave all else as it is."""
    if path == REMEMBER and reply.status == 201:
        return _without("links", reply)
    if method == "GET" and path.startswith(f"{LIST}?") and reply.status == 200:
        return _without("tier_counts", reply) if "limit=3&" not in f"{path}&" else reply
    if reply.status == 415:
        return dataclasses.replace(reply, headers={"content-type": "application/json"}, body=b"{}")
    if path == "/api/v1/spaces" and reply.status == 201:
        return dataclasses.replace(reply, status=200)
    return reply


def test_each_difference_is_found_and_named(server: ServerProcess) -> None:
    with tampered(server.port, _tamper) as endpoint:
        different = {found.check.name for found in run_checks(endpoint) if found.differs}
    assert different == {
        "remember: all fields in the answer",
        "listing: all fields in the answer",
        "listing: pagination has offset, limit, returned; tier_counts hot, warm, cold, total",
        "listing: limit=0 gives no memories, and counts",
        "listing: counts are right, also when a memory is replaced",
        "remember: no Content-Type: 415, text/plain",
        "remember: another Content-Type: 415, text/plain",
        "spaces: made, 201; made again, 201",
    }


def test_a_proxy_that_changes_nothing_is_not_noticed(server: ServerProcess) -> None:
    with tampered(server.port, lambda method, path, reply: reply) as endpoint:
        assert [found for found in run_checks(endpoint) if found.differs] == []


def test_a_server_like_engram_keeps_the_wire_and_owes_no_more(tmp_path: Path) -> None:
    quirks = (
        "drop-embeddings,near-duplicates,overstated-counts,close-after-413,unordered-listing,unrelated-recall"
    )
    with running_server(tmp_path / "data", "--quirks", quirks) as quirky:
        assert not is_ours(quirky.endpoint)
        different = [found for found in run_checks(quirky.endpoint) if found.differs]
    assert [found.check.name for found in different if found.check.group == WIRE] == []
    assert {
        "memories: id and embedding are kept, as by remember",
        "remember: near-duplicates are kept",
        "listing: counts are right, also when a memory is replaced",
        "listing: in the order of insertion",
        "recall: mode=exact finds the nearest of all, in their order",
    } <= {found.check.name for found in different}


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.server.wire", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_by_hand_it_prints_all_that_differs(server: ServerProcess) -> None:
    with tampered(server.port, _tamper) as endpoint:
        ended = _run(endpoint)
    assert ended.returncode == 1
    lines = ended.stdout.splitlines()
    assert lines[0].split() == ["check", "expected", "found"]
    assert any("remember: all fields" in line and "['links']" in line for line in lines)
    assert any(line.startswith("wire: 7 of ") for line in lines)
    assert any(line.startswith("ours: 1 of ") for line in lines)


def test_by_hand_nothing_differs(server: ServerProcess) -> None:
    ended = _run(server.endpoint)
    assert (ended.returncode, ended.stderr, len(ended.stdout.splitlines())) == (0, "", 2), ended.stdout


@pytest.mark.parametrize("given", ["nonsense", "http://127.0.0.1:{port}"])
def test_by_hand_without_a_server_it_is_one_clear_line(given: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port: Any = closed.getsockname()[1]
    ended = _run(given.format(port=port))
    assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (3, "", 1)
