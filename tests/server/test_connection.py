"""What a connection does around requests: order, framing, ends, and pieces of any size."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from synthgen.server import connection, incoming
from synthgen.server.answers import JSON_HEADERS, Answer, Refusal
from synthgen.server.connection import Connection
from synthgen.server.exchange import Request
from synthgen.server.traffic import AHEAD_BYTES, BODIES_BYTES, MAX_REFUSED, Traffic
from tests.server.client import LIST, REMEMBER, Client
from tests.server.sockets import CHUNKED, connect, exchange, head, read_to_end, status
from tests.serverproc import ServerProcess, running_server


class Transport:
    """What a connection was told, of a socket that takes all at once."""

    def __init__(self) -> None:
        self.said = b""
        self.is_closing = False

    def write(self, data: bytes) -> None:
        assert not self.is_closing, "nothing is said behind the end"
        self.said += data

    def write_eof(self) -> None:
        self.is_closing = True

    close = abort = write_eof

    def set_write_buffer_limits(self, high: int) -> None:
        assert high == 0

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


class Echo:
    """Answers each request with what it was: at once, or when it is told to."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.traffic = Traffic(10)
        self.traffic.date = b""
        self.transport = Transport()
        self.waiting: list[Request] = []
        self.n_served = 0
        self._at_once = at_once
        self.connection = Connection(self.traffic, self._serve)
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]

    def _serve(self, request: Request) -> None:
        assert not self.waiting, "one at a time"
        self.waiting.append(request)
        self.n_served += 1
        if self._at_once:
            self.answer()

    def answer(self) -> None:
        request = self.waiting.pop()
        try:
            what = f"{request.method} {request.path} {request.query} {request.header('content-type')} "
        except Refusal as refused:  # a query that is not UTF-8
            request.answer(refused.answer)
        else:
            request.answer(Answer(200, JSON_HEADERS, what.encode() + request.body))

    def hear(self, *pieces: bytes) -> bytes:
        for piece in pieces:
            self.connection.data_received(piece)
        return self.transport.said

    def end(self) -> None:
        self.connection.connection_lost(None)
        assert (self.traffic.bodies.n_held_bytes, self.traffic.ahead.n_held_bytes) == (0, 0)
        assert self.traffic._n_untaken_bytes == 0
        assert not self.traffic.connections


def in_loop(check: Any) -> Any:
    async def run() -> Any:
        return check()

    return asyncio.run(run())


STREAM = b"".join(
    (
        b"GET /a%20b?c=d%26 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\r\nPOST /b HTTP/1.1\r\nContent-Type: application/json\r\nCONTENT-LENGTH: 70000\r\n\r\n"
        + b"y" * 70_000,
        b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;x=y\r\nabc\r\n4\r\ndefg\r\n0\r\nTrailer: z\r\n\r\n",
        b"HEAD /d HTTP/1.1\r\n\r\n",
        b"GET http://host/e?f HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        b"GET /f HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"GET /last HTTP/1.1\r\nConnection: close\r\n\r\n",
    )
)
WHOLE = in_loop(lambda: Echo().hear(STREAM))


def test_a_stream_of_requests_is_answered_in_order() -> None:
    said = [b"GET /a b {'c': 'd&'} None ", b"POST /b {} application/json yyy", b"POST /c {} None abcdefg"]
    said += [b"GET /e {'f': ''} None ", b"GET /f {} None ", b"GET /last {} None "]
    places = [WHOLE.index(b"\r\n\r\n" + body) for body in said]
    assert places == sorted(places)
    assert WHOLE.count(b"HTTP/1.1 200 OK\r\n") == len(said) + 1  # that to HEAD has no body
    assert WHOLE.count(b"connection: keep-alive\r\n") == 1
    assert WHOLE.count(b"connection: close\r\n") == 1
    assert WHOLE.endswith(said[-1])


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=12, unique=True), st.booleans())
@settings(max_examples=150, deadline=None)
def test_pieces_of_any_size_say_the_same(cuts: list[int], is_slow: bool) -> None:
    def check() -> None:
        places = [0, *sorted(cuts), len(STREAM)]
        echo = Echo(at_once=not is_slow)
        for start, stop in pairwise(places):
            echo.hear(STREAM[start:stop])
        while echo.waiting:
            echo.answer()
        assert echo.transport.said == WHOLE
        assert echo.transport.is_closing
        echo.end()

    in_loop(check)


@given(st.integers(0, 400), st.integers(0, 255), st.integers(0, 400))
@settings(max_examples=300, deadline=None)
@example(at=STREAM.index(b"26 HTTP"), byte=ord("a"), cut=0)  # a query that is not UTF-8
def test_whatever_is_said_each_whole_request_has_one_answer_and_nothing_is_kept(
    at: int, byte: int, cut: int
) -> None:
    start = STREAM.index(b"\r\nPOST /b")
    damaged = bytearray(STREAM[:start] + STREAM[STREAM.index(b"POST /c") :])
    damaged[at % len(damaged)] = byte

    def check() -> None:
        echo = Echo()
        echo.hear(bytes(damaged[:cut]), bytes(damaged[cut:]))
        echo.connection.eof_received()
        n_answers = echo.transport.said.count(b"HTTP/1.1 ")
        assert n_answers in (echo.n_served, echo.n_served + 1)  # at most one refusal, at the end
        echo.end()

    in_loop(check)


def test_what_is_sent_ahead_waits_for_its_turn() -> None:
    def check() -> None:
        echo = Echo(at_once=False)
        echo.hear(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n", b"GET /3 HT", b"TP/1.1\r\n\r\n")
        assert (echo.n_served, echo.transport.said) == (1, b"")
        for n_served in (2, 3, 3):
            echo.answer()
            assert echo.n_served == n_served
        assert [path in echo.transport.said for path in (b"/1", b"/2", b"/3")] == [True] * 3
        echo.end()

    in_loop(check)


def test_too_many_requests_ahead_are_not_kept() -> None:
    def check() -> None:
        echo = Echo(at_once=False)
        echo.hear(b"GET / HTTP/1.1\r\n\r\n" * 10_000)
        while echo.waiting:
            echo.answer()
        assert echo.n_served == incoming.MAX_AHEAD
        assert echo.transport.said.count(b"connection: close\r\n") == 1
        assert echo.transport.is_closing
        echo.end()

    in_loop(check)


def test_a_bad_request_behind_a_good_one_spoils_its_own_answer_alone() -> None:
    def check() -> None:
        echo = Echo(at_once=False)
        echo.hear(b"GET /good HTTP/1.1\r\n\r\nBAD\r\n\r\nGET /never HTTP/1.1\r\n\r\n")
        echo.answer()
        said = echo.transport.said
        assert (said.count(b"HTTP/1.1 200 "), said.count(b"HTTP/1.1 400 "), echo.n_served) == (1, 1, 1)
        echo.end()

    in_loop(check)


def test_a_client_that_left_hears_nothing() -> None:
    def check() -> None:
        echo = Echo(at_once=False)
        echo.hear(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")
        echo.end()
        echo.answer()
        assert (echo.transport.said, echo.n_served) == (b"", 1)

    in_loop(check)


def test_an_idle_connection_is_ended_without_a_word_and_half_a_head_with_one() -> None:
    def check() -> None:
        for said, statuses in (
            (b"GET /1 HTTP/1.1\r\n\r\n", [200]),
            (b"GET /1 HTTP/1.1\r\n\r\nGET /", [200, 408]),
        ):
            echo = Echo()
            began_s = echo.traffic.now_s()
            echo.hear(said)
            echo.connection.look(began_s + connection.HEAD_TIMEOUT_S)
            assert not echo.transport.is_closing
            echo.connection.look(echo.traffic.now_s() + connection.HEAD_TIMEOUT_S + 5)
            assert echo.transport.is_closing
            found = [int(part[:3]) for part in echo.transport.said.split(b"HTTP/1.1 ")[1:]]
            assert found == statuses
            echo.end()

    in_loop(check)


MEGABYTE = 1024 * 1024


@pytest.mark.parametrize(
    ("said", "least_bodies", "least_ahead", "most"),
    [
        (head("Content-Length: 2000000") + b"y" * 2_000_000, 2_000_000, 0, 2_000_000),  # until it is answered
        (head("Content-Length: 60000") + b"y" * 60_000, 0, 0, 0),
        (head("Content-Length: 2000000"), 0, 0, 0),  # what is announced is not what came
        (head(CHUNKED), 0, 0, 0),
        (head("Content-Length: 2000000") + b"y" * 900_000, 900_000, 0, MEGABYTE),
        (head("Content-Length: 2000000", method="GET") + b"y" * 2_000_000, 0, 0, 0),  # nobody looks at it
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 100_000, 100_000, 0, 100_100),
        (head(CHUNKED) + b"1\r\nx\r\n0\r\nA: " + b"a" * 3_000_000, 3_000_000, 0, 3_000_200),
        ((head("Content-Length: 5000") + b"y" * 5_000) * 10, 0, 9 * 5_000, 9 * 7_000),
    ],
    ids=range(9),
)
def test_what_is_kept_of_requests_is_held_out_of_what_all_share(
    said: bytes, least_bodies: int, least_ahead: int, most: int
) -> None:
    def check() -> None:
        for piece_bytes in (len(said), 65_536):
            echo = Echo(at_once=False)
            echo.hear(*(said[start : start + piece_bytes] for start in range(0, len(said), piece_bytes)))
            bodies, ahead = echo.traffic.bodies.n_held_bytes, echo.traffic.ahead.n_held_bytes
            assert (bodies >= least_bodies, ahead >= least_ahead, bodies + ahead <= most) == (
                True,
                True,
                True,
            )
            while echo.waiting:
                echo.answer()
            if echo.n_served:
                assert (echo.traffic.bodies.n_held_bytes, echo.traffic.ahead.n_held_bytes) == (0, 0)
            echo.end()

    in_loop(check)


def test_where_no_memory_is_left_a_large_body_is_refused_and_a_small_one_taken() -> None:
    def check() -> None:
        echo = Echo()
        echo.traffic.bodies.hold(BODIES_BYTES)
        echo.hear(head("Content-Length: 10") + b"y" * 10)
        assert echo.transport.said.startswith(b"HTTP/1.1 200 ")
        echo.hear(head("Content-Length: 100000"), b"y" * 90_000)
        assert b"HTTP/1.1 503 " in echo.transport.said
        echo.traffic.bodies.give_up(BODIES_BYTES)
        echo.end()

    in_loop(check)


def test_of_connections_beyond_the_limit_a_few_are_told_so() -> None:
    def check() -> None:
        traffic = Traffic(1)
        told = []
        for _ in range(MAX_REFUSED + 3):
            transport = Transport()
            Connection(traffic, lambda request: None).connection_made(transport)  # type: ignore[arg-type]
            told.append(transport.said[9:12])
        assert told == [b"", *[b"503"] * MAX_REFUSED, b"", b""]

    in_loop(check)


class Blocking(Transport):
    """A socket that takes nothing until it is told to."""

    def __init__(self, owner: Connection) -> None:
        super().__init__()
        self._owner = owner
        self.left = b""

    def write(self, data: bytes) -> None:
        self.left += data
        self._owner.pause_writing()

    def get_write_buffer_size(self) -> int:
        return len(self.left)

    def take(self) -> None:
        self.said += self.left
        self.left = b""
        self._owner.resume_writing()


def test_who_does_not_take_an_answer_gets_no_other_one_and_is_counted() -> None:
    def check() -> None:
        echo = Echo()
        blocking = echo.connection._transport = Blocking(echo.connection)
        echo.hear(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n", b"GET /3 HTTP/1.1\r\n\r\n")
        assert echo.n_served == 1
        assert echo.traffic._n_untaken_bytes == len(blocking.left)
        for n_served in (2, 3, 3):
            blocking.take()
            assert echo.n_served == n_served
        assert echo.traffic._n_untaken_bytes == 0
        echo.end()

    in_loop(check)


def test_memory_for_what_is_sent_ahead_is_bounded_for_all_together() -> None:
    def check() -> None:
        echo = Echo(at_once=False)
        echo.hear(b"GET /1 HTTP/1.1\r\n\r\n")
        echo.traffic.ahead.hold(AHEAD_BYTES - 100)
        echo.hear(b"x" * 101)
        assert echo.transport.is_closing
        echo.traffic.ahead.give_up(AHEAD_BYTES - 100)
        echo.end()

    in_loop(check)


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.port) as client:
        yield client


def _health(*headers: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"GET /health HTTP/{version}", *headers, "", ""]).encode()


def test_expectations_are_met_before_the_body_is_sent(server: ServerProcess) -> None:
    body = b'{"content":"expected"}'
    with connect(server.port) as connection:
        connection.sendall(head(f"Content-Length: {len(body)}", "Expect: 100-continue", "Connection: close"))
        assert connection.recv(1_000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert status(read_to_end(connection)) == 201
    assert status(exchange(server.port, head("Content-Length: 3000000", "Expect: 100-continue"))) == 413


def test_an_expectation_behind_another_request_is_met_in_its_turn(server: ServerProcess) -> None:
    body = b'{"content":"expected, too"}'
    with connect(server.port) as connection:
        second = head(f"Content-Length: {len(body)}", "Expect: 100-continue", "Connection: close")
        connection.sendall(_health() + second)
        answer = b""
        while not answer.endswith(b"HTTP/1.1 100 Continue\r\n\r\n"):
            answer += connection.recv(1_000)
        connection.sendall(body)
        assert status(read_to_end(connection)) == 201
    old = head(f"Content-Length: {len(body)}", "Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0")
    assert status(exchange(server.port, old + body)) == 201


def test_http_1_0(server: ServerProcess) -> None:
    answer = exchange(server.port, _health(version="1.0"))
    assert status(answer) == 200
    assert b"\r\nconnection: close\r\n" in answer
    kept = exchange(server.port, _health("Connection: keep-alive", version="1.0") + _health(version="1.0"))
    assert (kept.count(b"HTTP/1.1 200"), kept.count(b"\r\nconnection: keep-alive\r\n")) == (2, 1)
    assert status(exchange(server.port, _health(version="2.0"))) == 400


def test_http_1_0_ends_a_long_answer_by_the_end_of_the_connection(
    client: Client, server: ServerProcess
) -> None:
    for number in range(20):
        client.remember("long", id=str(number), content="x" * 99_000)
    query = f"{LIST}?space=long&limit=20"
    for header in ("", "Connection: keep-alive\r\n"):
        answer = exchange(server.port, f"GET {query} HTTP/1.0\r\n{header}\r\n".encode())
        start, _, body = answer.partition(b"\r\n\r\n")
        assert b"chunked" not in start and b"content-length" not in start
        assert body == client.get(query).body
        assert len(body) > 20 * 99_000
    asked = f"HEAD {query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    heads = exchange(server.port, asked + asked + _health("Connection: close"))
    assert [part.partition(b"\r\n\r\n")[2][:1] for part in heads.split(b"HTTP/1.1 ")[1:]] == [b"", b"", b"{"]


def test_a_client_that_says_no_more_still_hears(server: ServerProcess) -> None:
    body = b'{"content":"half closed"}'
    request = head(f"Content-Length: {len(body)}") + body
    assert status(exchange(server.port, request, end=True)) == 201
    assert exchange(server.port, _health() * 3, end=True).count(b"HTTP/1.1 200") == 3


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
def test_offers_of_other_protocols_are_passed_over(server: ServerProcess, protocol: str) -> None:
    offer = f"Upgrade: {protocol}", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"
    body = b'{"content":"over HTTP/1.1 after all"}'
    sized, chunked = head(f"Content-Length: {len(body)}", *offer), head(CHUNKED, *offer)
    requests = sized + body + chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) + _health(*offer)
    answer = exchange(server.port, requests + b"\x00" * 100, end=True)
    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"201", b"201", b"200", b"400"]


def test_no_tunnel_is_made(server: ServerProcess) -> None:
    answer = exchange(server.port, b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n" + _health())
    assert answer.count(b"HTTP/1.1 ") == 1
    assert status(answer) in (400, 404, 405)


@pytest.mark.parametrize("coding", ["gzip, chunked", "identity, chunked"])
def test_other_transfer_codings_are_refused(server: ServerProcess, coding: str) -> None:
    answer = exchange(server.port, head(f"Transfer-Encoding: {coding}") + b"0\r\n\r\n")
    assert status(answer) in (400, 501)


def test_answers_carry_a_date_and_their_length(client: Client) -> None:
    reply = client.get("/health")
    assert reply.headers["date"].endswith(" GMT")
    assert int(reply.headers["content-length"]) == len(reply.body)


def test_a_thousand_stores_sent_ahead_are_all_stored_in_order(server: ServerProcess, client: Client) -> None:
    bodies = [
        b'{"id":"%d","content":"%s","memory_space_id":"ahead"}' % (n, b"x" * 5_000) for n in range(1_000)
    ]
    requests = b"".join(head(f"Content-Length: {len(body)}") + body for body in bodies)
    with connect(server.port) as connection:
        connection.sendall(requests + _health("Connection: close"))
        answer = read_to_end(connection)
    assert (answer.count(b"HTTP/1.1 201 "), answer.count(b"HTTP/1.1 200 ")) == (1_000, 1)
    places = [answer.index(b'"memory_id":"%d"' % number) for number in range(1_000)]
    assert places == sorted(places)
    assert client.count("ahead") == 1_000


def test_a_request_a_byte_at_a_time(server: ServerProcess) -> None:
    body = b'{"content":"slow"}'
    with connect(server.port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in head(CHUNKED, "Connection: close") + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body):
            connection.send(bytes([byte]))
        assert status(read_to_end(connection)) == 201


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
def test_connections_beyond_the_limit_are_told_so(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", prefix=("prlimit", "--nofile=128:128")) as server:
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(connect(server.port)) for _ in range(80)]
            answers = []
            for connection in held:
                connection.sendall(_health("Connection: close"))
                answers.append(status(read_to_end(connection)))
            assert answers[:60] == [200] * 60
            held = [stack.enter_context(connect(server.port)) for _ in range(70)]
            assert status(read_to_end(held[-1])) == 503
        _served_again(server)
        assert server.stop() == 0
        assert server.errors.read_text() == ""


def _served_again(server: ServerProcess) -> None:
    deadline = time.monotonic() + 60
    while True:
        with Client(server.port) as client:
            if client.get("/health").status == 200:
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_stop_ends_idle_connections_and_those_in_the_middle_of_a_request(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server, contextlib.ExitStack() as stack:
        idle = stack.enter_context(connect(server.port))
        half = stack.enter_context(connect(server.port))
        half.sendall(head("Content-Length: 100") + b'{"content":')
        with Client(server.port) as client:
            assert client.send("POST", REMEMBER, {"content": "kept"}).status == 201
        assert server.stop() == 0
        assert read_to_end(idle) == b""
        assert b" 201 " not in read_to_end(half)
        assert server.errors.read_text() == ""
