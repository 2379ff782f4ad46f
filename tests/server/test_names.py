"""By which names a server answers: a web page that leads a name of its own here must not read and write."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from synthgen.errors import TargetError
from synthgen.ingest.listing import check_health
from synthgen.specs import API_KEY_VARIABLE
from tests.server.client import REMEMBER, Client
from tests.server.sockets import exchange, status
from tests.serverproc import ServerProcess, running_server

FOREIGN = "attacker.example"


def _asked(
    port: int, *headers: str, target: str = "/health", version: str = "1.1", encodings: str | None = "gzip"
) -> bytes:
    """Return the answer to who asks as a browser does, which tells its encodings."""
    told = [] if encodings is None else [f"Accept-Encoding: {encodings}"]
    lines = [f"GET {target} HTTP/{version}", *headers, *told, "Connection: close", "", ""]
    return exchange(port, "\r\n".join(lines).encode("latin-1"))


@pytest.mark.parametrize(
    "name",
    [
        *("localhost", "LocalHost", "localhost.", "localhost:1", "localhost:", "synthgen.localhost"),
        *("127.0.0.1", "127.0.0.1:7432", "192.0.2.1", "[::1]", "[::1]:7432", "[2001:db8::1]:1", "::1", ""),
    ],
)
def test_names_of_this_machine_are_answered_to(server: ServerProcess, name: str) -> None:
    assert status(_asked(server.port, f"Host: {name}")) == 200


@pytest.mark.parametrize(
    "name",
    [
        *(FOREIGN, f"{FOREIGN}:80", "host.docker.internal", "localhost.attacker.example", "xlocalhost"),
        *(
            "127.0.0.1.attacker.example",
            "attacker.example:127.0.0.1",
            "[::1].attacker.example",
            "localhost:x",
        ),
        *("127.0.0.1@attacker.example", "localhost, attacker.example", "localh\xf6st", "[", "]"),
    ],
)
def test_other_names_are_told_what_to_do(server: ServerProcess, name: str) -> None:
    answer = _asked(server.port, f"Host: {name}")
    assert status(answer) == 421 and b"content-type: text/plain" in answer
    assert b"http://127.0.0.1" in answer and b"--require-key" in answer and b"--host NAME" in answer


@pytest.mark.parametrize(("encodings", "code"), [("identity", 421), ("", 421), (None, 200)])
def test_what_is_no_browser_may_call_it_as_it_likes(
    server: ServerProcess, encodings: str | None, code: int
) -> None:
    assert status(_asked(server.port, f"Host: {FOREIGN}", encodings=encodings)) == code
    assert status(_asked(server.port, target=f"http://{FOREIGN}/health", encodings=encodings)) == code


def test_nothing_is_read_or_written_under_another_name(server: ServerProcess) -> None:
    with Client(server.port) as client:
        stored = client.send("POST", REMEMBER, {"content": "x", "memory_space_id": "rebound"}, Host=FOREIGN)
        assert (stored.status, client.count("rebound")) == (421, 0)
        for path in ("/", "/health/alive", "/api/v1/memories", "/nowhere"):
            assert client.send("GET", path, Host=FOREIGN).status == 421
        assert client.get("/health").status == 200, "the connection stays in order"


def test_a_whole_url_as_the_target_names_a_server_too(server: ServerProcess) -> None:
    port = server.port
    for ours in ("http://localhost/health", "http://127.0.0.1:80/health", "http://[::1]:80/health"):
        assert status(_asked(port, "Host: localhost", target=ours)) == 200
        assert status(_asked(port, f"Host: {FOREIGN}", target=ours)) == 421
        assert status(_asked(port, target=ours)) == 200
    for theirs in (f"http://{FOREIGN}/health", f"http://localhost@{FOREIGN}:80/health"):
        assert status(_asked(port, "Host: localhost", target=theirs)) == 421
        assert status(_asked(port, target=theirs)) == 421


def test_who_names_nothing_is_answered(server: ServerProcess) -> None:
    assert status(_asked(server.port, version="1.0")) == 200
    assert status(_asked(server.port)) == 200


def test_the_name_that_it_was_told_to_listen_at_is_one_of_its_own(tmp_path: Path) -> None:
    prefix = _leading_here(tmp_path)
    with running_server(tmp_path / "data", "--host", "its.example", prefix=prefix) as server:
        assert status(_asked(server.port, f"Host: Its.Example:{server.port}")) == 200
        assert status(_asked(server.port, "Host: not.its.example")) == 421


def _leading_here(folder: Path) -> tuple[str, ...]:
    """Return a prefix for a program for which any name leads to this machine."""
    (folder / "sitecustomize.py").write_text(
        "import socket\n"
        "real = socket.getaddrinfo\n"
        "socket.getaddrinfo = lambda host, *rest, **more: real('127.0.0.1', *rest, **more)\n"
    )
    return ("env", f"PYTHONPATH={folder}:{Path(__file__).parents[2]}")


def test_commands_are_told_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_server(tmp_path / "data") as server:
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda host, *rest, **more: real("127.0.0.1", *rest, **more)
        )
        with pytest.raises(TargetError, match=r"attacker\.example:\d+: answers 421 .*--host NAME"):
            check_health(f"http://{FOREIGN}:{server.port}")


def test_with_a_key_or_beyond_this_machine_any_name_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_server(tmp_path / "open", "--host", "0.0.0.0") as server:
        assert status(_asked(server.port, f"Host: {FOREIGN}")) == 200
    monkeypatch.setenv(API_KEY_VARIABLE, "engram_key_test_x")
    with running_server(tmp_path / "keyed", "--require-key") as server:
        assert status(_asked(server.port, f"Host: {FOREIGN}")) == 200
        assert status(_asked(server.port, f"Host: {FOREIGN}", target="/metrics")) == 401
