"""The proof against the embedded server: what is missing or changed is found and named."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest
import requests

from synthgen.errors import TargetError
from synthgen.ingest import check_health, count_hint, ingest, iter_listing, verify
from synthgen.specs import IngestSpec
from tests.ingest.faulty import faulty_server
from tests.ingest.rows import TestRows
from tests.serverproc import ServerProcess, running_server

ROWS = TestRows(600, key=7)
SPACES = ("left", "right")
ROUTE = "/api/v1/memories/remember"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("served")
    with running_server(folder / "db") as process:
        report = ingest(ROWS, IngestSpec(process.endpoint, folder / "x.ledger", spaces=SPACES, quiet=True))
        assert report.exit_code == 0
        yield process


def post(server: ServerProcess, row: int, **changes: object) -> None:
    memory = orjson.loads(ROWS.body(row)) | changes
    headers = {"X-Memory-Space": SPACES[row % 2]}
    assert requests.post(server.endpoint + ROUTE, json=memory, headers=headers, timeout=60).status_code == 201


@pytest.mark.parametrize("processes", [1, 2])
def test_changed_rows_are_found_and_named(server: ServerProcess, processes: int) -> None:
    vector = orjson.loads(ROWS.body(13))["embedding"]
    nudged = [float(np.nextafter(np.float32(vector[0]), np.float32(1))), *vector[1:]]
    post(server, 12, content="something else")
    post(server, 13, embedding=nudged)  # by the last bit of one float32
    post(server, 14, confidence=0.25)
    try:
        report = verify(ROWS, server.endpoint, SPACES, processes=processes, quiet=True)
        assert report.exit_code == 1
        assert report.n_different == {"content": 1, "embedding": 1, "confidence": 1}
        assert (report.n_found, report.n_missing) == (600, 0)
        assert report.lines()[2:] == [
            f"row 12 ({ROWS.memory_id(12)}): another content",
            f"row 13 ({ROWS.memory_id(13)}): another embedding",
            f"row 14 ({ROWS.memory_id(14)}): another confidence",
        ]
        assert orjson.loads(orjson.dumps(report.to_document()))["exit_code"] == 1
    finally:
        for row in (12, 13, 14):
            post(server, row)
    assert verify(ROWS, server.endpoint, SPACES, quiet=True).is_proven


def test_a_byte_changed_in_the_database_is_found(tmp_path: Path) -> None:
    with running_server(tmp_path / "db") as server:
        spec = IngestSpec(server.endpoint, tmp_path / "x.ledger", quiet=True)
        assert ingest(ROWS, spec).exit_code == 0
        server.stop()
    _flip_a_bit_of_an_embedding(tmp_path / "db" / "memories.db", ROWS.memory_id(321))
    with running_server(tmp_path / "db", port=server.port):
        report = ingest(ROWS, spec)  # nothing to send, and still not believed
        assert report.exit_code == 1
        assert f"row 321 ({ROWS.memory_id(321)}): another embedding" in report.lines()


def _flip_a_bit_of_an_embedding(path: Path, memory_id: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        (blob,) = connection.execute("SELECT embedding FROM memory WHERE id = ?", (memory_id,)).fetchone()
        changed = bytes([blob[0] ^ 1]) + blob[1:]
        connection.execute("UPDATE memory SET embedding = ? WHERE id = ?", (changed, memory_id))
    connection.close()


def test_missing_rows_and_those_of_others_are_counted(server: ServerProcess) -> None:
    more = TestRows(605, key=7)
    report = verify(more, server.endpoint, SPACES, quiet=True)
    assert (report.n_missing, report.n_found, report.n_foreign, report.exit_code) == (5, 600, 0, 1)
    assert [count.n_missing for count in report.by_space] == [3, 2]
    assert f"row 600 ({more.memory_id(600)}): missing" in report.lines()
    fewer = TestRows(200, key=7)
    report = verify(fewer, server.endpoint, SPACES, quiet=True)
    assert (report.n_found, report.n_foreign, report.exit_code) == (200, 400, 0)
    swapped = verify(fewer, server.endpoint, tuple(reversed(SPACES)), quiet=True)
    assert (swapped.n_found, swapped.n_missing) == (0, 200)


def test_ids_of_any_form_and_ids_used_twice(tmp_path: Path) -> None:
    def body(name: str, row: int) -> bytes:
        return b'{"id":"%s","content":"c%d","embedding":[1,0]}' % (name.encode(), row)

    rows = TestRows(4, bodies={row: body(name, row) for row, name in enumerate(["b", "ä", "a", "zz"])})
    twice = TestRows(4, bodies={row: body(name, row) for row, name in enumerate(["b", "ä", "a", "b"])})
    with faulty_server() as server:
        spec = IngestSpec(server.endpoint, tmp_path / "x.ledger", quiet=True)
        assert ingest(rows, spec).exit_code == 0
        report = verify(twice, server.endpoint, quiet=True)
        assert (report.exit_code, report.n_shared_ids) == (1, 2)
        assert (report.n_found, report.n_missing, sum(report.n_different.values())) == (4, 0, 0)
        assert report.lines()[0].endswith("2 that share their id with another row, 1 memories of others")
        assert report.lines()[2:] == [
            "row 3 (b): has the id of row 0",
            "of rows with one id the database keeps one: give every memory an id of its own",
        ]
        del server.stored["default"]["b"]
        report = verify(twice, server.endpoint, quiet=True)
        assert (report.n_found, report.n_missing, report.n_shared_ids) == (2, 2, 2)


@pytest.mark.parametrize("processes", [1, 2])
def test_each_space_holds_a_memory_of_one_id(tmp_path: Path, processes: int) -> None:
    def body(row: int) -> bytes:
        return b'{"id":"same","content":"c%d","embedding":[1,0]}' % row

    rows = TestRows(3, bodies={row: body(row) for row in range(3)})
    spaces = ("alpha", "beta", "gamma")
    with faulty_server() as server:
        spec = IngestSpec(server.endpoint, tmp_path / "x.ledger", spaces=spaces, quiet=True)
        assert ingest(rows, spec).exit_code == 0
        assert verify(rows, server.endpoint, spaces, processes=processes, quiet=True).is_proven
        report = verify(rows, server.endpoint, spaces[:2], processes=processes, quiet=True)
        assert (report.n_shared_ids, report.n_found, report.n_missing) == (2, 3, 0)
        swapped = verify(rows, server.endpoint, spaces[::-1], processes=processes, quiet=True)
        assert swapped.n_different["content"] == 2


def test_a_sample_finds_a_changed_row_when_it_sees_it(server: ServerProcess) -> None:
    assert verify(ROWS, server.endpoint, SPACES, sample=50, quiet=True).exit_code == 0
    post(server, 30, confidence=0.25)
    try:
        report = verify(ROWS, server.endpoint, SPACES, sample=600, quiet=True)
        assert (report.exit_code, report.n_different["confidence"], report.n_sampled) == (1, 1, 600)
        assert report.n_sampled_embeddings == 600
        assert f"row 30 ({ROWS.memory_id(30)}): another confidence" in report.lines()
    finally:
        post(server, 30)


def test_the_listing_gives_every_memory_once_and_exactly(server: ServerProcess) -> None:
    seen = {}
    for page in iter_listing(server.endpoint, "left", embeddings=True):
        assert page.embeddings.shape == (len(page), 768)
        for index, memory_id in enumerate(page.ids):
            seen[memory_id] = (page.contents[index], page.confidences[index], page.embeddings[index])
    assert set(seen) == {ROWS.memory_id(row) for row in range(0, 600, 2)}
    sent = orjson.loads(ROWS.body(10))
    content, confidence, embedding = seen[ROWS.memory_id(10)]
    assert content == sent["content"]
    assert confidence == np.float32(sent["confidence"])
    np.testing.assert_array_equal(embedding, np.array(sent["embedding"], dtype=np.float32))
    assert count_hint(server.endpoint, "left") == 300
    bare = next(iter_listing(server.endpoint, "left", embeddings=False))
    assert bare.embeddings.shape == (300, 0)
    assert check_health(server.endpoint).service == "engram"


def test_errors_of_the_listing_are_one_line() -> None:
    with pytest.raises(TargetError, match=r"no server there \(Connection refused\); start one"):
        list(iter_listing("http://127.0.0.1:9", embeddings=True))
    with faulty_server(service="nginx") as server, pytest.raises(TargetError, match="it is no Engram server"):
        check_health(server.endpoint)
    with faulty_server() as server:
        server.stored["default"] = {
            "a": {"id": "a", "content": "x", "confidence": 0.5, "embedding": [1.0, 0.0]},
            "b": {"id": "b", "content": "x", "confidence": 0.5, "embedding": [1.0, 0.0, 0.0]},
        }
        with pytest.raises(TargetError, match="memory 'b' has 3 components, the first has 2"):
            list(iter_listing(server.endpoint, embeddings=True))
        server.lie = "lists no embeddings"
        with pytest.raises(TargetError, match="memory 'a' is listed without an embedding"):
            list(iter_listing(server.endpoint, embeddings=True))
