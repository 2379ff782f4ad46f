"""`synthgen ingest` and `verify` against the embedded server with quirks: what it did is told truthfully.

Fault 24 of the list: a server that lies ends with exit code 3 before the long run or 1 with the rows named,
never with 0; a lie that changes no row (a count, an order) ends with 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests

from synthgen.cli import main
from synthgen.ingest import count_hint
from tests.ingest.rows import TestRows
from tests.serverproc import ServerProcess, running_server

N_ROWS = 300
ROWS = TestRows(N_ROWS, key=24)
DROPPING_ROUTE = "/api/v1/memories"


@dataclass
class Commands:
    """The commands on one input file; each returns its exit code, its JSON report and its error line."""

    folder: Path
    endpoint: str
    capture: pytest.CaptureFixture[str]

    @property
    def input(self) -> Path:
        return self.folder / "rows.jsonl"

    def write(self, **changed: bytes) -> None:
        bodies = [ROWS.body(row) for row in range(N_ROWS)]
        for name, body in changed.items():
            bodies[int(name.removeprefix("row"))] = body
        self.input.write_bytes(b"\n".join(bodies) + b"\n")

    def ingest(self, *flags: str) -> tuple[int, Any, str]:
        return self._run("ingest", "--concurrent", "4", *flags)

    def verify(self, *flags: str) -> tuple[int, Any, str]:
        return self._run("verify", *flags)

    def _run(self, command: str, *flags: str) -> tuple[int, Any, str]:
        self.capture.readouterr()
        common = ["--input", str(self.input), "--endpoint", self.endpoint, "--json", "--quiet"]
        code = main([command, *common, *flags])
        captured = self.capture.readouterr()
        return code, json.loads(captured.out) if captured.out else None, captured.err


@pytest.fixture
def on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[[ServerProcess], Commands]:
    """Commands on a server, with the rows in a file."""

    def make(server: ServerProcess) -> Commands:
        commands = Commands(tmp_path, server.endpoint, capfd)
        commands.write()
        return commands

    return make


On = Callable[[ServerProcess], Commands]


def like_row(row: int, original: int, confidence: float) -> bytes:
    """Return ``row`` with the embedding of another one."""
    memory = orjson.loads(ROWS.body(row))
    memory |= {"embedding": orjson.loads(ROWS.body(original))["embedding"], "confidence": confidence}
    return orjson.dumps(memory)


def named(row: int, what: str) -> str:
    return f"row {row} ({ROWS.memory_id(row)}): {what}"


def test_a_near_duplicate_that_is_skipped_is_named(tmp_path: Path, on: On) -> None:
    with running_server(tmp_path / "db", "--quirks", "near-duplicates") as server:
        commands = on(server)
        commands.write(row77=like_row(77, 76, 0.0))  # whichever comes first, row 76 is the surer one
        code, report, _ = commands.ingest()
        assert (code, report["n_acked"], report["n_dead"]) == (1, N_ROWS, 0)
        proof = report["verification"]
        assert (proof["n_missing"], proof["n_found"], proof["exit_code"]) == (1, N_ROWS - 1, 1)
        assert proof["examples"] == [named(77, "missing")]
        code, report, _ = commands.verify()
        assert (code, report["examples"]) == (1, [named(77, "missing")])
        code, report, _ = commands.verify("--sample", str(N_ROWS))
        assert (code, report["n_missing"]) == (1, 1)


def test_near_duplicates_among_the_first_rows_stop_before_the_long_run(tmp_path: Path, on: On) -> None:
    with running_server(tmp_path / "db", "--quirks", "near-duplicates") as server:
        commands = on(server)
        commands.write(row4=like_row(4, 3, 0.0))
        code, report, line = commands.ingest()
        assert (code, report) == (3, None)
        assert f"row 4 ({ROWS.memory_id(4)}) was acknowledged but does not exist: rows are skipped" in line
        assert count_hint(server.endpoint) <= 8


def test_rows_that_were_evicted_are_counted_and_named(tmp_path: Path, on: On) -> None:
    with running_server(tmp_path / "db", "--quirks", "capacity=200") as server:
        commands = on(server)
        code, report, _ = commands.ingest()
        proof = report["verification"]
        assert (code, report["n_acked"], proof["n_found"], proof["n_missing"]) == (1, N_ROWS, 200, 100)
        assert proof["n_listed"] == 200 and sum(proof["n_different"].values()) == 0
        assert named(0, "missing") in proof["examples"]
        assert commands.verify()[0] == 1
        assert commands.ingest()[0] == 1  # nothing to send any more, and still not believed


def test_rows_that_a_kill_lost_after_their_201_are_named(tmp_path: Path, on: On) -> None:
    with running_server(tmp_path / "db", "--quirks", "early-ack=3600000") as server:
        commands = on(server)
        code, report, _ = commands.ingest("--no-verify")
        assert (code, report["n_acked"], report["verification"]) == (4, N_ROWS, None)  # done, unproven
        server.kill()
    with running_server(tmp_path / "db", port=server.port):
        code, report, _ = commands.verify()
        assert code == 1 and 0 < report["n_missing"] < N_ROWS  # the first rows were read back, so kept
        assert len(report["examples"]) == 5 and all("missing" in line for line in report["examples"])
        assert report["n_missing"] + report["n_found"] == N_ROWS
        code, report, _ = commands.ingest()
        assert (code, report["n_acked_before"]) == (1, N_ROWS)


def test_a_load_by_the_route_that_drops_is_found_out(tmp_path: Path, on: On) -> None:
    with running_server(tmp_path / "db", "--quirks", "drop-embeddings,near-duplicates") as server:
        commands = on(server)
        with requests.Session() as session:
            for row in range(N_ROWS):
                body, fields = ROWS.body(row), {"Content-Type": "application/json"}
                reply = session.post(server.endpoint + DROPPING_ROUTE, body, headers=fields, timeout=60)
                assert reply.status_code == 201
        code, report, _ = commands.verify()
        assert (code, report["n_missing"], report["n_found"]) == (1, N_ROWS, 0)
        # 300 successes; one memory was the first, and each that was surer than it took its place.
        assert (report["n_foreign"], count_hint(server.endpoint)) == (1, 1)
        code, report, _ = commands.ingest()  # which takes the route that keeps them
        assert (code, report["verification"]["n_found"]) == (0, N_ROWS)


def test_a_row_that_gets_413_dies_alone_whatever_becomes_of_the_connection(tmp_path: Path, on: On) -> None:
    with running_server(tmp_path / "db", "--quirks", "close-after-413") as server:
        commands = on(server)
        memory = orjson.loads(ROWS.body(150))
        poison = orjson.dumps(memory | {"content": "x" * (2 * 1024 * 1024)})
        commands.write(row150=poison)
        code, report, _ = commands.ingest()
        assert (code, report["n_acked"], report["n_dead"]) == (1, N_ROWS - 1, 1)
        assert report["verification"]["n_found"] == N_ROWS - 1
        assert (tmp_path / Path(report["dead_letters"]).name).read_bytes().strip() == poison
        code, report, _ = commands.verify()
        assert (code, report["examples"]) == (1, [named(150, "missing")])


def test_a_count_that_overstates_proves_nothing_and_hides_nothing(tmp_path: Path, on: On) -> None:
    with running_server(tmp_path / "db", "--quirks", "overstated-counts") as server:
        commands = on(server)
        route = f"{server.endpoint}/api/v1/memories/remember"
        for row in range(50):  # other embeddings under the same ids, which the rows then replace
            body = like_row(row, row + 100, 0.5)
            reply = requests.post(route, body, headers={"Content-Type": "application/json"}, timeout=60)
            assert reply.status_code == 201
        code, report, _ = commands.ingest()
        assert (code, report["verification"]["n_listed"]) == (0, N_ROWS)
        assert count_hint(server.endpoint) == N_ROWS + 50
        assert commands.verify("--sample", "100")[0] == 0


@pytest.mark.parametrize(
    "quirks", ["unordered-listing", "slow-store", "early-ack", "unrelated-recall,forgetful-recall", "engram"]
)
def test_what_changes_no_row_is_proven(tmp_path: Path, on: On, quirks: str) -> None:
    with running_server(tmp_path / "db", "--quirks", quirks) as server:
        commands = on(server)
        code, report, _ = commands.ingest()
        assert (code, report["verification"]["n_found"]) == (0, N_ROWS)
        assert commands.verify()[0] == 0
    with running_server(tmp_path / "db", "--quirks", quirks, port=server.port):
        assert commands.verify()[0] == 0


def test_an_unordered_listing_of_several_pages_hides_no_fault(tmp_path: Path, on: On) -> None:
    with running_server(tmp_path / "db", "--quirks", "unordered-listing") as server:
        commands = on(server)
        assert commands.ingest()[0] == 0
        route = f"{server.endpoint}/api/v1/memories/remember"
        changed = like_row(123, 124, 0.5)
        requests.post(route, changed, headers={"Content-Type": "application/json"}, timeout=60)
        code, report, _ = commands.verify()
        assert (code, report["n_missing"], report["n_different"]["embedding"]) == (1, 0, 1)
        assert named(123, "another embedding") in report["examples"]
