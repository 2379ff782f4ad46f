"""What no good client sends: each gets its answer, takes little of the server, and hinders nobody."""

from __future__ import annotations

import contextlib
import resource
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.server.client import LIST, Client, numbers, vectors
from tests.server.sockets import CHUNKED, connect, exchange, get, head, post, read_to_end, status
from tests.serverproc import ServerProcess, running_server

pytestmark = pytest.mark.timeout(300)  # some wait for what the server gives up after a while

GOOD = b'{"content":"x","memory_space_id":"lies"}'
SIZE = f"{len(GOOD):x}\r\n".encode()
MEGABYTE = 1024 * 1024


def _rss_bytes(server: ServerProcess) -> int:
    return int(psutil.Process(server.pid).memory_info().rss)


@contextlib.contextmanager
def _bounded(server: ServerProcess, growth_bytes: int) -> Iterator[None]:
    """See that the server's memory grows by no more, and that a normal client is served, at the end."""
    before_bytes = _rss_bytes(server)
    yield
    _normal_client_is_served(server)
    assert _rss_bytes(server) - before_bytes < growth_bytes


def _normal_client_is_served(server: ServerProcess) -> None:
    with Client(server.port) as client:
        before = client.count("normal")
        embedding = numbers(vectors(1)[0])
        for number in range(before, before + 20):
            reply = client.remember("normal", id=f"n{number}", content="quite normal", embedding=embedding)
            assert reply.status == 201
            assert client.get(f"{LIST}/n{number}", space="normal").json["content"] == "quite normal"
        assert client.count("normal") == before + 20
        assert client.get(LIST, space="normal", limit=15).json["count"] == 15
        assert client.get("/health").json["status"] == "healthy"


@pytest.mark.parametrize(
    "chunks",
    [
        SIZE + GOOD + b"\r\n",  # and then the end of the connection
        SIZE + GOOD + b"\r\n0\r\n",
        SIZE + GOOD + b"\r\nzz\r\n",
        SIZE + GOOD + b"\r\n-1\r\n",
        SIZE + GOOD + b"and more\r\n0\r\n\r\n",
        b"5\r\n" + GOOD + b"\r\n0\r\n\r\n",
        b"7fffffff\r\n" + GOOD,
        b"fffffffffffffffff\r\n" + GOOD + b"\r\n0\r\n\r\n",
        SIZE[:-2] + b";" + b"a" * 5_000_000 + b"\r\n" + GOOD + b"\r\n0\r\n\r\n",
    ],
)
def test_chunks_that_lie_store_nothing(server: ServerProcess, chunks: bytes) -> None:
    answer = exchange(server.port, head(CHUNKED) + chunks, end=True)
    assert status(answer) in (0, 400, 413)
    assert b" 201 " not in answer
    with Client(server.port) as client:
        assert client.count("lies") == 0


@pytest.mark.parametrize(
    "headers",
    [(), ("Content-Length: 41", "Content-Length: 42"), ("Content-Length: 5",), ("Transfer-Encoding: gzip",)],
)
def test_lengths_that_lie_store_nothing(server: ServerProcess, headers: tuple[str, ...]) -> None:
    assert status(exchange(server.port, head(*headers) + GOOD, end=True)) in (400, 501)
    with Client(server.port) as client:
        assert client.count("lies") == 0


def test_an_endless_body_takes_no_memory(server: ServerProcess) -> None:
    with _bounded(server, 30 * MEGABYTE), connect(server.port) as connection:
        connection.sendall(head(CHUNKED))
        with pytest.raises(ConnectionError):
            for _ in range(2_000):  # 131 MB, were it read
                connection.sendall(b"10000\r\n" + b" " * 65_536 + b"\r\n")


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", (404,)),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", (414,)),
        (b"GET /" + b"a" * 50_000_000, (0, 414, 431)),
        (b"a" * 50_000_000, (0, 400, 431)),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 50_000_000, (0, 431)),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"A: a\r\n" * 500 + b"\r\n", (431,)),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"A: a\r\n" * 5_000_000, (0, 431)),
        (b"GET /\r\n\r\n", (400,)),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500, (0, 400)),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (0, 400)),
    ],
    ids=range(10),
)
def test_heads_that_are_none(server: ServerProcess, request_bytes: bytes, expected: tuple[int, ...]) -> None:
    with _bounded(server, 30 * MEGABYTE):
        assert status(exchange(server.port, request_bytes)) in expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"{LIST}/%ff%fe".encode(), 404),
        (f"{LIST}/%ed%a0%80".encode(), 404),
        (f"{LIST}/%00".encode(), 404),
        (f"{LIST}/".encode() + b"\xff\xfe", 400),
        (f"{LIST}/search?query=%ff%fe".encode(), 400),
        (f"{LIST}/search?query=".encode() + b"\xff\xfe", 400),
        (f"{LIST}/search?query=%00%22%20OR%20*".encode(), 200),
        (f"{LIST}/search?query=".encode() + b"a%20" * 15_000, 200),
        (f"{LIST}?space=%ff%fe".encode(), 400),
        (f"{LIST}?".encode() + b"a=1&" * 200, 400),
        (f"{LIST}?offset=9223372036854775807".encode(), 200),
        (f"{LIST}?offset=".encode() + b"9" * 60_000, 400),
        (f"{LIST}/recall?embedding=".encode() + b"%5B" * 10_000, 400),
        (f"{LIST}/recall?embedding=[1e400]".encode(), 400),
        (f"{LIST}/recall?query=x&threshold=NaN".encode(), 200),
        (f"{LIST}/recall?query=x&threshold=1e400".encode(), 200),
    ],
)
def test_paths_and_queries(server: ServerProcess, path: bytes, expected: int) -> None:
    assert status(get(server.port, path)) == expected


def _memory(fields: bytes) -> bytes:
    return b'{"content":"x",' + fields + b"}"


def _vector(number: bytes) -> bytes:
    return b'"embedding":[' + b",".join([number] * 768) + b"]"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (_memory(b'"deep":' + b"[" * 100_000 + b"]" * 100_000), 400),
        (_memory(b'"deep":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000), 400),
        (b"[" * 2_000_000, 400),
        (_memory(b'"deep":' + b"[" * 1_000 + b"]" * 1_000), 201),  # of what nobody reads
        (_memory(b'"confidence":NaN'), 400),
        (_memory(b'"confidence":Infinity'), 400),
        (_memory(b'"confidence":-Infinity'), 400),
        (_memory(b'"confidence":1e400'), 400),
        (_memory(b'"confidence":' + b"9" * 5_000), 400),
        (_memory(_vector(b"NaN")), 400),
        (_memory(_vector(b"1e400")), 400),
        (_memory(_vector(b"9" * 300)), 400),
        (_memory(b'"id":"\\ud800"'), 400),
        (_memory(b'"id":"\xed\xa0\x80"'), 400),
        (_memory(b'"id":"\xff"'), 400),
        (_memory(b'"tags":["\\udfff"]'), 400),
        (b'\xef\xbb\xbf{"content":"x"}', 400),
        (_memory(b'"id":"' + b"x" * 2_000_000 + b'"'), 400),
        (_memory(b",".join(b'"k%d":1' % number for number in range(150_000))), 201),
        (b" " * 2_000_000 + b'{"content":"x"}', 201),
        (_memory(b'"timestamp":"9999-12-31T23:59:59-23:59"'), 422),
        (_memory(b'"timestamp":"0001-01-01T00:00:00+23:59"'), 422),
    ],
    ids=lambda value: value[:40].decode(errors="replace") if isinstance(value, bytes) else None,
)  # fmt: skip
def test_bodies(server: ServerProcess, body: bytes, expected: int) -> None:
    with _bounded(server, 60 * MEGABYTE):
        assert status(post(server.port, body)) == expected
        assert status(post(server.port, body, LIST)) == expected


def test_details_nested_too_deeply_to_be_kept_are_refused(server: ServerProcess) -> None:
    for depth, expected in ((50, 201), (300, 422), (1_000, 422)):
        who = b"[" * depth + b"]" * depth
        body = b'{"when":"2024-01-01T00:00:00Z","what":"x","who":' + who + b"}"
        assert status(post(server.port, body, "/api/v1/episodes/remember")) == expected


@pytest.mark.parametrize("number", [b"1e300", b"9" * 200, b"null"])
def test_cues_that_no_float32_holds_are_refused_in_silence(server: ServerProcess, number: bytes) -> None:
    body = b'{"partial_episode":{"partial_embedding":[' + b",".join([number] * 768) + b"]}}"
    assert status(post(server.port, body, "/api/v1/complete")) == 422


def test_of_double_keys_the_last_counts(server: ServerProcess) -> None:
    body = b'{"id":"first","content":"1","content":"2","id":"last","memory_space_id":"double-keys"}'
    assert status(post(server.port, body)) == 201
    with Client(server.port) as client:
        (listed,) = client.get(LIST, space="double-keys").json["memories"]
        assert (listed["id"], listed["content"]) == ("last", "2")


def test_nul_is_a_character_like_any_other(server: ServerProcess) -> None:
    with Client(server.port) as client:
        for memory_id in ("\x00", "a", "a\x00", "a\x00b"):
            assert client.remember("nul", id=memory_id, content=f"piano\x00{memory_id}").status == 201
        assert client.count("nul") == 4
        assert client.get(f"{LIST}/a%00b", space="nul").json["content"] == "piano\x00a\x00b"
        assert client.get(f"{LIST}/search", query="piano", space="nul").json["total"] == 4


def _allow_open_files() -> int:
    """Raise this process's limit of open files as far as it goes; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 1_000_000 if hard == resource.RLIM_INFINITY else hard


@pytest.fixture
def busy_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with 1,000 memories, a page of 8.5 MB, started with few open files allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    with running_server(tmp_path / "data", module="tests.server.impatient") as server:
        _allow_open_files()
        with Client(server.port) as client:
            embedding = numbers(vectors(1)[0])
            for number in range(1_000):
                assert client.remember("large", id=str(number), embedding=embedding).status == 201
        yield server
        if server.process.poll() is None:
            assert server.stop() == 0
        assert server.errors.read_text() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
def test_ten_thousand_idle_connections_hinder_nobody(busy_server: ServerProcess) -> None:
    allowed = resource.prlimit(busy_server.pid, resource.RLIMIT_NOFILE)[0]
    assert allowed > 512 or resource.getrlimit(resource.RLIMIT_NOFILE)[1] == 512, "raised by the server"
    n_connections = min(10_000, allowed - 1_000, _allow_open_files() - 1_000)
    with contextlib.ExitStack() as stack, _bounded(busy_server, 300 * MEGABYTE):
        idle = [stack.enter_context(connect(busy_server.port)) for _ in range(n_connections)]
        _normal_client_is_served(busy_server)
        assert read_to_end(idle[0]) == b""  # closed by the server in the end


def _slow(port: int, start: bytes, drop: bytes) -> tuple[socket.socket, bytes]:
    connection = connect(port)
    connection.sendall(start)
    connection.setblocking(False)
    return connection, drop


def _until_closed(slow: list[tuple[socket.socket, bytes]], busy_server: ServerProcess) -> list[int]:
    """Send on all connections a little each second until the server closes them; return the statuses."""
    answers = [b""] * len(slow)
    open_ones = set(range(len(slow)))
    deadline = time.monotonic() + 90
    while open_ones:
        assert time.monotonic() < deadline, "the server waits for ever"
        for number in list(open_ones):
            connection, drop = slow[number]
            try:
                part = connection.recv(65_536)
                answers[number] += part
                if not part:
                    open_ones.remove(number)
            except BlockingIOError:
                with contextlib.suppress(OSError):
                    connection.send(drop)
            except ConnectionError:
                open_ones.remove(number)
        _normal_client_is_served(busy_server)
        time.sleep(1)
    return [status(answer) for answer in answers]


def test_slow_senders_are_given_up_and_hinder_nobody(busy_server: ServerProcess) -> None:
    port = busy_server.port
    large = head("Content-Length: 2000000") + b'{"content":"' + b"x" * 1_900_000
    with contextlib.ExitStack() as stack, _bounded(busy_server, 250 * MEGABYTE):
        slow = (
            [_slow(port, b"GET /", b"a") for _ in range(20)]
            + [_slow(port, b"GET /health HTTP/1.1\r\n", b"a: b\r\n") for _ in range(20)]
            + [_slow(port, head("Content-Length: 1000"), b" ") for _ in range(20)]
            + [_slow(port, head(CHUNKED), b"1\r\n \r\n") for _ in range(20)]
            + [_slow(port, large, b"") for _ in range(80)]
        )
        for connection, _ in slow:
            stack.enter_context(connection)
        found = _until_closed(slow, busy_server)
    assert set(found[:40]) <= {0, 408, 431}
    assert set(found[40:100]) == {408}
    assert set(found[100:]) == {408, 503}  # more than all large bodies may have together


def _ask(port: int, query: str) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.connect(("127.0.0.1", port))
    path = f"{LIST}?space=large&include_embeddings=true&{query}"
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection


def _ask_and_do_not_read(stack: contextlib.ExitStack, server: ServerProcess) -> None:
    """Ask for 0.6 GB in all, and read nothing of it; see that the server does not hold it meanwhile."""
    before_bytes = _rss_bytes(server)
    for n_asking, limit in ((5, 1_000), (200, 100), (45, 1_000)):
        for _ in range(n_asking):
            stack.enter_context(_ask(server.port, f"limit={limit}"))
    for _ in range(3):
        _normal_client_is_served(server)
        time.sleep(1)
    assert _rss_bytes(server) - before_bytes < 150 * MEGABYTE


def _pages_are_served(server: ServerProcess) -> None:
    page = _patiently(server, limit=1_000)
    assert [memory["id"] for memory in page["memories"]] == [str(number) for number in range(1_000)]
    assert len(_patiently(server, limit=100)["memories"]) == 100


def test_clients_that_do_not_read_are_given_up_and_hinder_nobody(busy_server: ServerProcess) -> None:
    with contextlib.ExitStack() as stack, _bounded(busy_server, 150 * MEGABYTE):
        _ask_and_do_not_read(stack, busy_server)
        _pages_are_served(busy_server)


def test_clients_that_go_away_unread_leave_nothing_behind(busy_server: ServerProcess) -> None:
    n_files = psutil.Process(busy_server.pid).num_fds()
    with _bounded(busy_server, 150 * MEGABYTE):
        for _ in range(2):
            with contextlib.ExitStack() as stack:
                _ask_and_do_not_read(stack, busy_server)
        _pages_are_served(busy_server)
    deadline = time.monotonic() + 60
    while psutil.Process(busy_server.pid).num_fds() > n_files + 10:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_clients_that_do_not_read_do_not_hold_up_the_stop(busy_server: ServerProcess) -> None:
    with contextlib.ExitStack() as stack:
        _ask_and_do_not_read(stack, busy_server)
        assert busy_server.stop() == 0


def _patiently(server: ServerProcess, **query: int) -> Any:
    """Return a page of the listing with embeddings, asked for again as long as the server is busy."""
    deadline = time.monotonic() + 100
    while True:
        with Client(server.port, timeout_s=60) as client:
            reply = client.get(LIST, space="large", include_embeddings="true", **query)
        if reply.status == 200:
            return reply.json
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert time.monotonic() < deadline, "the server stays busy"


def test_slow_readers_get_all(busy_server: ServerProcess) -> None:
    with contextlib.closing(_ask(busy_server.port, "limit=1000")) as connection:
        answer = b""
        while part := connection.recv(65_536):
            answer += part
            if len(answer) // 500_000 != (len(answer) - len(part)) // 500_000:
                time.sleep(0.5)  # longer for all of it than there is for a part, and far from that for one
            if answer.endswith(b"0\r\n\r\n"):
                break
    assert status(answer) == 200
    assert answer.count(b'"embedding":') == 1_000
