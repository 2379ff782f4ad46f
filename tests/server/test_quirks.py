"""Each quirk does what Engram was measured to do, and without the flag nothing of it happens."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from synthgen.errors import EXIT_USAGE, UsageError
from synthgen.server.quirks import NO_QUIRKS, Quirks, parse_quirks
from tests.server.client import LIST, REMEMBER, Client, numbers, packed, vectors
from tests.serverproc import command, running_server

NAMES = (
    "drop-embeddings",
    "near-duplicates",
    "overstated-counts",
    "close-after-413",
    "early-ack",
    "capacity",
    "slow-store",
    "unordered-listing",
    "unrelated-recall",
    "forgetful-recall",
)
RECALL = f"{LIST}/recall"
SPACE = "quirky"
TOO_LARGE = b'{"content":"' + b"x" * (2 * 1024 * 1024) + b'"}'


@contextlib.contextmanager
def _client(data_dir: Path, quirks: str | None) -> Iterator[Client]:
    flags = () if quirks is None else ("--quirks", quirks)
    with running_server(data_dir, *flags) as server, Client(server.port) as client:
        yield client


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server without quirks, on which each misbehaviour is looked for in vain."""
    with _client(tmp_path_factory.mktemp("good") / "data", None) as client:
        yield client


def _near(vector: NDArray[np.float32], cosine: float) -> NDArray[np.float32]:
    """Return a vector at about ``cosine`` to ``vector``; chance is far from either in 768 dimensions."""
    other = vectors(1, seed=99)[0]
    other -= vector * (other @ vector) / (vector @ vector)
    other *= np.linalg.norm(vector) / np.linalg.norm(other)
    return cosine * vector + np.sqrt(1 - np.float32(cosine) ** 2) * other


def _store(client: Client, name: str, vector: NDArray[Any], space: str = SPACE, **fields: Any) -> None:
    reply = client.remember(space, id=name, content=f"content of {name}", embedding=numbers(vector), **fields)
    assert (reply.status, reply.json["memory_id"]) == (201, name)


def _fill(client: Client, n_rows: int, space: str = SPACE) -> list[str]:
    ids = [f"m{row}" for row in range(n_rows)]
    for name, vector in zip(ids, vectors(n_rows, seed=5), strict=True):
        _store(client, name, vector, space)
    return ids


def _listed(client: Client, space: str = SPACE, **query: Any) -> list[dict[str, Any]]:
    page = client.get(LIST, space=space, limit=1000, include_embeddings="true", **query)
    memories: list[dict[str, Any]] = page.json["memories"]
    return memories


def _ids(client: Client, space: str = SPACE) -> list[str]:
    return [memory["id"] for memory in _listed(client, space)]


def _recalled(client: Client, vector: NDArray[Any], space: str = SPACE, **query: Any) -> list[str]:
    text = json.dumps(numbers(vector))
    found = client.get(RECALL, space=space, embedding=text, **query).json["memories"]
    return [memory["id"] for memory in [*found["vivid"], *found["associated"], *found["reconstructed"]]]


def test_the_names_are_those_of_the_flags() -> None:
    assert parse_quirks(",".join(NAMES)) == parse_quirks("engram")
    assert all(getattr(parse_quirks("engram"), field.name) for field in fields(Quirks))
    for name in NAMES:
        (on,) = parse_quirks(name).names
        assert on.partition("=")[0] == name
    assert parse_quirks(None) == NO_QUIRKS
    assert NO_QUIRKS.names == () and not NO_QUIRKS.alter_stores


@pytest.mark.parametrize("text", ["engram,capacity=500", "capacity=500,engram", " capacity=500 , engram"])
def test_a_number_replaces_the_measured_one_whatever_the_order(text: str) -> None:
    assert parse_quirks(text).capacity == 500
    assert parse_quirks("engram").capacity == 100_000
    assert parse_quirks(",".join(parse_quirks(text).names)) == parse_quirks(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", ",", "nonsense", "near_duplicates", "near-duplicates=1", "engram=1", "a\nb", "capacity="),
        *(f"capacity={number}" for number in ("0", "-1", "1e3", "²", "9" * 5_000, "0" * 30 + "1")),
    ],
)
def test_another_name_or_number_is_one_line_with_all_names(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_quirks(text)
    line = str(caught.value)
    assert "\n" not in line and "engram" in line
    assert all(name in line for name in NAMES)


@pytest.mark.parametrize("name", ["drop-embeddings", "engram"])
def test_a_number_for_what_takes_none_is_said_so(name: str) -> None:
    with pytest.raises(UsageError, match=f"--quirks {name} takes no number; use engram"):
        parse_quirks(f"capacity=3,{name}=3")


@pytest.mark.parametrize("program", ["synthgen.server", "synthgen"])
def test_a_wrong_name_touches_nothing(tmp_path: Path, program: str) -> None:
    words = [*command(tmp_path / "data", "--quirks", "engarm")]
    if program == "synthgen":
        words[1:3] = ["-m", "synthgen", "serve"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (EXIT_USAGE, "")
    assert "'engarm'" in ended.stderr and len(ended.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_health_and_standard_error_name_those_that_are_on(tmp_path: Path, good: Client) -> None:
    assert good.get("/health").json["quirks"] == []
    with running_server(tmp_path / "data", "--quirks", "capacity=7,near-duplicates") as server:
        with Client(server.port) as client:
            assert client.get("/health").json["quirks"] == ["near-duplicates", "capacity=7"]
        (line,) = server.errors.read_text().splitlines()
        assert "--quirks near-duplicates,capacity=7" in line and "do not trust" in line


def test_the_command_line_has_the_flag(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "synthgen", "serve", "--data-dir", str(tmp_path / "data"), "--port", "0"]
    flags = ["--quirks", "engram", "--json", "--stop-on-stdin-eof"]
    with subprocess.Popen(
        [*words, *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        record = json.loads(process.stdout.readline())
        with Client(int(record["endpoint"].rsplit(":", 1)[1])) as client:
            quirks = client.get("/health").json["quirks"]
        process.stdin.close()
    assert quirks == list(parse_quirks("engram").names)


def test_drop_embeddings(tmp_path: Path, good: Client) -> None:
    memory = {"id": "mine", "content": "kept", "confidence": 0.9, "embedding": numbers(vectors(1)[0])}
    with _client(tmp_path / "data", "drop-embeddings") as client:
        reply = client.send("POST", LIST, memory, X_Memory_Space=SPACE)
        (listed,) = _listed(client)
        assert (reply.status, reply.json["memory_id"]) == (201, listed["id"])
        assert listed["id"] != "mine" and listed["embedding"] == [0.5] * 768
        assert (listed["content"], listed["confidence"]) == ("kept", 0.9)
        assert client.remember(SPACE, **memory).json["memory_id"] == "mine"  # the other route keeps both
        assert packed(_listed(client)[1]["embedding"]) == vectors(1)[0].tobytes()
    assert good.send("POST", LIST, memory, X_Memory_Space="kept").json["memory_id"] == "mine"
    assert packed(_listed(good, "kept")[0]["embedding"]) == vectors(1)[0].tobytes()


def test_a_bulk_load_by_the_route_that_drops_leaves_one_memory(tmp_path: Path) -> None:
    with _client(tmp_path / "data", "drop-embeddings,near-duplicates") as client:
        for row in range(30):
            assert client.send("POST", LIST, {"content": f"row {row}", "id": str(row)}).status == 201
        assert client.count("default") == 1  # as measured: 5,000 sent, 5,000 successes, 1 stored


def test_near_duplicates(tmp_path: Path, good: Client) -> None:
    first, apart = vectors(2, seed=1)
    with _client(tmp_path / "data", "near-duplicates") as client:
        _store(client, "first", first, confidence=0.5)
        _store(client, "skipped", _near(first, 0.96), confidence=0.5)
        _store(client, "far enough", _near(first, 0.94), confidence=0.5)
        _store(client, "apart", apart, confidence=0.5)
        assert _ids(client) == ["first", "far enough", "apart"]
        assert client.get(f"{LIST}/skipped", space=SPACE).status == 404
        _store(client, "surer", apart * 3, confidence=0.6)  # takes the place, whatever the length
        assert _ids(client) == ["first", "far enough", "surer"]
        assert client.get(f"{LIST}/apart", space=SPACE).status == 404
        surer = client.get(f"{LIST}/surer", space=SPACE).json
        assert (surer["content"], surer["confidence"]) == ("content of surer", 0.6)
        assert packed(_listed(client)[2]["embedding"]) == (apart * 3).tobytes()
        found = client.get(f"{LIST}/search", query="apart", space=SPACE).json["memories"]
        assert found == []  # the words of the replaced one are gone, too
        _store(client, "elsewhere", first, space="other")  # a space of its own
        assert _ids(client, "other") == ["elsewhere"]
    _store(good, "first", first, "dup")
    _store(good, "second", first, "dup", confidence=0.9)
    assert _ids(good, "dup") == ["first", "second"]


def test_near_duplicates_of_what_was_there_before_the_start(tmp_path: Path) -> None:
    (vector,) = vectors(1)
    with _client(tmp_path / "data", None) as client:
        _store(client, "before", vector)
    with _client(tmp_path / "data", "near-duplicates") as client:
        _store(client, "after", vector)
        assert _ids(client) == ["before"]


def test_overstated_counts(tmp_path: Path, good: Client) -> None:
    first, second = vectors(2)
    with _client(tmp_path / "data", "overstated-counts") as client:
        _store(client, "a", first)
        _store(client, "a", first)  # the same again counts once
        assert client.count(SPACE) == 1
        _store(client, "a", second)
        page = client.get(LIST, space=SPACE).json
        assert page["tier_counts"] == {"hot": 2, "warm": 0, "cold": 0, "total": 2}
        assert (page["count"], page["pagination"]["returned"], len(page["memories"])) == (1, 1, 1)
        assert packed(_listed(client)[0]["embedding"]) == second.tobytes()
    for vector in (first, second):
        _store(good, "a", vector, "counted")
    assert good.count("counted") == 1


def test_close_after_413(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", "--quirks", "close-after-413") as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.auto_open = 0  # it would open another one by itself
        connection.connect()
        connection.request("POST", REMEMBER, TOO_LARGE, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        assert (reply.status, reply.getheader("connection")) == (413, None)
        assert reply.read().startswith(b"Failed to buffer the request body")
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            connection.request("GET", "/health")
            connection.getresponse()
        connection.close()
        with Client(server.port) as client:  # others are not concerned
            assert client.get("/health").status == 200
    with running_server(tmp_path / "good") as server:
        answer = _answer_to_too_much(server.port)
        assert answer.startswith(b"HTTP/1.1 413 ") and b"connection: close" in answer


def _answer_to_too_much(port: int) -> bytes:
    head = f"POST {REMEMBER} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        with contextlib.suppress(OSError):  # it answers before all was sent
            connection.sendall(f"{head}Content-Length: {len(TOO_LARGE)}\r\n\r\n".encode() + TOO_LARGE)
        return connection.recv(4096)


def test_early_ack_loses_by_a_kill_what_nobody_read(tmp_path: Path) -> None:
    data, hour = tmp_path / "data", "early-ack=3600000"
    with running_server(data, "--quirks", hour) as server, Client(server.port) as client:
        _store(client, "read", vectors(1)[0])
        assert _ids(client) == ["read"]  # what is acknowledged can be read
        _store(client, "lost", vectors(2)[1])
        for path in ("/", "/health", "/health/alive", "/metrics", "/api/v1/openapi.json"):
            assert client.get(path).status == 200  # tells of no memory
        server.kill()
    with running_server(data, "--quirks", hour) as server, Client(server.port) as client:
        assert _ids(client) == ["read"]
        _store(client, "stopped", vectors(2)[1])
        assert server.stop() == 0
    with _client(data, None) as client:
        assert _ids(client) == ["read", "stopped"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{LIST}/read?space={SPACE}"),
        ("HEAD", f"{LIST}?space={SPACE}"),
        ("GET", f"{LIST}/search?query=read"),
        ("POST", "/api/v1/complete"),
        ("GET", "/api/v1/spaces"),
    ],
)
def test_early_ack_keeps_what_could_be_read(tmp_path: Path, method: str, path: str) -> None:
    data = tmp_path / "data"
    with running_server(data, "--quirks", "early-ack=3600000") as server, Client(server.port) as client:
        _store(client, "read", vectors(1)[0])
        partial = {"known_fields": {"what": "read"}, "partial_embedding": numbers(vectors(1)[0])}
        body = {"partial_episode": partial} if method == "POST" else None
        assert client.send(method, path, body, X_Memory_Space=SPACE).status == 200
        server.kill()
    with _client(data, None) as client:
        assert _ids(client) == ["read"]


def test_early_ack_stores_after_its_time(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_server(data, "--quirks", "early-ack=1") as server, Client(server.port) as client:
        _store(client, "a", vectors(1)[0])
        deadline = time.monotonic() + 60
        while client.get("/metrics").json["snapshot"]["memories_by_space"].get(SPACE) != 1:
            assert time.monotonic() < deadline
        server.kill()
    with _client(data, None) as client:
        assert _ids(client) == ["a"]


def test_capacity(tmp_path: Path, good: Client) -> None:
    with _client(tmp_path / "data", "capacity=20") as client:
        ids = _fill(client, 20)
        _store(client, "m0", vectors(1)[0])  # stored again, so no longer the oldest
        for name, vector in zip("xyz", vectors(3, seed=8), strict=True):
            _store(client, name, vector)
        assert _ids(client) == [ids[0], *"xyz", *ids[4:]]  # in the places of those that they evicted
        assert client.count(SPACE) == 20
        listed = {memory["id"]: memory for memory in _listed(client)}
        assert packed(listed["x"]["embedding"]) == vectors(3, seed=8)[0].tobytes()
        assert listed["x"]["content"] == "content of x"
    ids = _fill(good, 23, "roomy")
    assert _ids(good, "roomy") == ids


def test_slow_store_is_slower_for_each_memory_and_one_after_the_other(tmp_path: Path) -> None:
    n_rows, each_us, n_connections = 32, 2_000, 4
    with running_server(tmp_path / "data", "--quirks", f"slow-store={each_us}") as server:

        def store(part: int) -> None:
            with Client(server.port) as client:
                for row in range(part, n_rows, n_connections):
                    client.remember(SPACE, id=f"m{row}")

        started_s = time.monotonic()
        with ThreadPoolExecutor(n_connections) as pool:
            list(pool.map(store, range(n_connections)))
        least_s = sum(range(n_rows)) * each_us / 1e6  # 0.99 s; waiting can only take longer
        assert time.monotonic() - started_s >= least_s
        with Client(server.port) as client:
            assert sorted(_ids(client)) == sorted(f"m{row}" for row in range(n_rows))


def test_unordered_listing(tmp_path: Path, good: Client) -> None:
    with _client(tmp_path / "data", "unordered-listing") as client:
        ids = _fill(client, 150)
        listed = _listed(client)
        order = [memory["id"] for memory in listed]
        assert order != ids and order != ids[::-1] and sorted(order) == sorted(ids)
        pages = [_page(client, offset) for offset in range(0, 180, 30)]
        assert [memory_id for page in pages for memory_id in page] == order  # the same one at rest
        sent = dict(zip(ids, vectors(150, seed=5), strict=True))
        assert all(packed(memory["embedding"]) == sent[memory["id"]].tobytes() for memory in listed)
        before = _page(client, 0)
        _store(client, "one more", vectors(1, seed=3)[0])
        later = [memory_id for offset in range(30, 180, 30) for memory_id in _page(client, offset)]
        assert set(before) & set(later)  # a listing read meanwhile has repeats, so also gaps
    ids = _fill(good, 60, "ordered")
    assert _ids(good, "ordered") == ids


def _page(client: Client, offset: int) -> list[str]:
    page = client.get(LIST, space=SPACE, offset=offset, limit=30).json
    return [memory["id"] for memory in page["memories"]]


@pytest.mark.parametrize("n_rows", [1, 2, 3, 4, 7, 12])
def test_small_listings_are_whole_in_any_order(tmp_path: Path, n_rows: int) -> None:
    with _client(tmp_path / "data", "unordered-listing") as client:
        ids = _fill(client, n_rows)
        assert sorted(_ids(client)) == sorted(ids)
        assert n_rows < 3 or _ids(client) != ids


def test_unrelated_recall(tmp_path: Path, good: Client) -> None:
    sent = vectors(300, seed=5)
    with _client(tmp_path / "data", "unrelated-recall") as client:
        ids = _fill(client, 300)
        client.remember(SPACE, id="bare")
        assert _share_of_true_neighbours(client, sent, ids, SPACE) < 0.2
        found = _recalled(client, sent[3], max_results=10)
        assert len(set(found)) == 10 and found == _recalled(client, sent[3], max_results=10)
        assert _recalled(client, sent[3], space="empty") == []
        words = client.get(RECALL, query="m7", space=SPACE).json["memories"]
        assert "m7" in {item["id"] for kind in words.values() for item in kind}  # words are not concerned
    ids = _fill(good, 300, "recalled")
    assert _share_of_true_neighbours(good, sent, ids, "recalled") == 1


def _share_of_true_neighbours(client: Client, sent: NDArray[np.float32], ids: list[str], space: str) -> float:
    units = sent / np.linalg.norm(sent, axis=1, keepdims=True)
    n_found = 0
    for row in range(20):
        true = {ids[near] for near in np.argsort(-(units @ units[row]))[:10]}
        n_found += len(true & set(_recalled(client, sent[row], space, max_results=10)))
    return n_found / 200


def test_forgetful_recall(tmp_path: Path) -> None:
    first, second = vectors(2)
    with _client(tmp_path / "data", "forgetful-recall") as client:
        _store(client, "a", first)
        assert _recalled(client, first) == ["a"]
    with _client(tmp_path / "data", "forgetful-recall") as client:
        assert _recalled(client, first) == []
        _store(client, "b", second)
        assert _recalled(client, second) == []
        assert _ids(client) == ["a", "b"]
        _store(client, "c", second, space="new")
        assert _recalled(client, second, space="new") == ["c"]
    with _client(tmp_path / "data", None) as client:
        assert _recalled(client, first) == ["a", "b"]


def test_all_together_as_engram(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", "--quirks", "engram,capacity=50") as server:
        with Client(server.port) as client:
            _fill(client, 60)
            _store(client, "twin", vectors(60, seed=5)[59], confidence=0.1)
            assert client.count(SPACE) == 50
            assert sorted(_ids(client)) == sorted(f"m{row}" for row in range(10, 60))
        assert server.stop() == 0
        assert len(server.errors.read_text().splitlines()) == 1  # the warning
