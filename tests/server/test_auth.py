"""A server that requires a key: who is let in, what is told to all others, and that the key is nowhere."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from synthgen.errors import EXIT_USAGE, TargetError
from synthgen.ingest import count_hint
from synthgen.phases.embedded import EmbeddedServer
from synthgen.server.openapi import document
from synthgen.specs import API_KEY_VARIABLE
from tests.server.client import LIST, REMEMBER, Client, Reply
from tests.server.conformance import Conformance
from tests.server.sockets import exchange, read_to_end
from tests.server.wire import KEY_CHECKS, Outcome, load_checks, run_checks
from tests.serverproc import ServerProcess, command, running_server

SECRET = "5ecret-0f-the-server"
KEY = f"engram_key_test_{SECRET}"
OPEN_PATHS = {"/", "/health", "/health/alive"}
OPERATIONS = [(path, method.upper()) for path, methods in document()["paths"].items() for method in methods]


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that requires ``KEY``; after all tests the key must be in nothing that it said or left."""
    data = tmp_path_factory.mktemp("locked") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(API_KEY_VARIABLE, KEY)
        with running_server(data, "--require-key") as running:
            patch.undo()
            yield running
            said = (data / "server.json").read_text()
            assert running.stop() == 0
            assert running.process.stdout is not None and running.errors.read_text() == ""
            assert SECRET not in said + running.process.stdout.read()
            left = [path.read_bytes() for path in data.rglob("*") if path.is_file()]
            assert left and not any(SECRET.encode() in content for content in left)


@pytest.fixture
def client(locked: ServerProcess) -> Iterator[Client]:
    with Client(locked.port) as client:
        yield client


def _ask(client: Client, path: str, method: str, credentials: str | None) -> Reply:
    headers = {} if credentials is None else {"Authorization": credentials}
    return client.send(method, path.replace("{id}", "x"), {} if method == "POST" else None, **headers)


@pytest.mark.parametrize(("credentials", "status"), [(None, 401), ("Bearer another", 403)])
def test_everything_is_closed_but_what_is_described_as_open(
    client: Client, credentials: str | None, status: int
) -> None:
    described = Conformance(document())
    for path, method in OPERATIONS:
        reply = _ask(client, path, method, credentials)
        assert reply.status == (200 if path in OPEN_PATHS else status), (path, method)
        kind = reply.headers.get("content-type", "")
        assert described.findings(path, method, reply.status, kind, reply.body) == []
        assert reply.headers.get("www-authenticate") == ("Bearer" if reply.status == 401 else None)
        assert SECRET.encode() not in reply.body
        operation = document()["paths"][path][method.lower()]
        assert ("security" in operation) == (path not in OPEN_PATHS)


def test_with_the_key_everything_answers(client: Client) -> None:
    for path, method in OPERATIONS:
        assert _ask(client, path, method, f"Bearer {KEY}").status not in {401, 403}, (path, method)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", f"{LIST}/nobody", 404),
        ("DELETE", LIST, 405),
        ("GET", "//health", 404),
        ("GET", "/health/", 404),
        ("GET", "/metrics?path=/health", 200),
        ("GET", "/metrics#/health", 200),
    ],
)
def test_what_is_not_there_is_told_to_the_key_alone(
    client: Client, method: str, path: str, status: int
) -> None:
    assert _ask(client, path, method, None).status == 401
    assert _ask(client, path, method, f"Bearer {KEY}").status == status


@pytest.mark.parametrize(
    ("credentials", "status"),
    [
        (f"Bearer {KEY}", 200),
        (f"bEARER   {KEY}  ", 200),
        (f"Bearer {KEY[:-1]}", 403),
        (f"Bearer {KEY}x", 403),
        (f"Bearer {KEY.upper()}", 403),
        ("Bearer " + "x" * 60_000, 403),
        ("", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        (KEY, 401),
        (f"Bearer{KEY}", 401),
        (f"Bearer {KEY} {KEY}", 401),
        (f"Basic {KEY}", 401),
        (f"Bearer {KEY}\xff", 401),
    ],
)
def test_credentials(client: Client, credentials: str, status: int) -> None:
    assert _ask(client, "/api/v1/spaces", "GET", credentials).status == status


def test_a_refused_body_is_not_looked_at_and_the_connection_stays_in_order(locked: ServerProcess) -> None:
    nonsense = b'{"content":'
    refused = f"POST {REMEMBER} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(nonsense)}\r\n".encode()
    known = refused + f"Content-Type: application/json\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", locked.port), timeout=20) as connection:
        connection.sendall(2 * (refused + b"\r\n" + nonsense) + known + nonsense)
        connection.sendall(b"HEAD /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answers = read_to_end(connection).split(b"HTTP/1.1 ")[1:]
    assert [int(answer[:3]) for answer in answers] == [401, 401, 400, 401]
    assert answers[-1].endswith(b"\r\n\r\n"), "an answer to HEAD has no body"


def test_of_two_keys_the_first_counts(locked: ServerProcess) -> None:
    lines = ["GET /metrics HTTP/1.1", "Host: localhost", "Connection: close"]
    keys = [f"Authorization: Bearer {key}" for key in ("another", KEY)]
    for order, status in ((keys, b"403"), (keys[::-1], b"200")):
        answer = exchange(locked.port, "\r\n".join([*lines, *order, "", ""]).encode())
        assert answer.split()[1] == status


def test_a_server_that_requires_none_passes_over_keys(server: ServerProcess) -> None:
    with Client(server.port) as client:
        assert _ask(client, "/api/v1/spaces", "GET", "Bearer another").status == 200
        assert _ask(client, "/api/v1/spaces", "GET", None).status == 200


@pytest.mark.parametrize("key", [None, " \t", f"{SECRET} {SECRET}"])
def test_without_a_key_that_can_be_sent_it_does_not_start(tmp_path: Path, key: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != API_KEY_VARIABLE}
    ended = subprocess.run(
        command(tmp_path / "data", "--require-key"),
        env=environment if key is None else environment | {API_KEY_VARIABLE: key},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (EXIT_USAGE, "", 1)
    assert API_KEY_VARIABLE in ended.stderr and SECRET not in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_beyond_this_machine_it_says_that_keys_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, KEY)
    with running_server(tmp_path / "data", "--require-key", "--host", "0.0.0.0") as running:
        said = running.errors.read_text()
    assert "unencrypted" in said and "no authentication" not in said and SECRET not in said


def test_commands_say_which_key_they_need(locked: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("", "another"):
        monkeypatch.setenv(API_KEY_VARIABLE, key)
        with pytest.raises(TargetError, match=r"refuses access \(40[13]\); put a valid bearer token"):
            count_hint(locked.endpoint)
    monkeypatch.setenv(API_KEY_VARIABLE, KEY)
    assert count_hint(locked.endpoint) >= 0


def test_the_server_of_a_run_requires_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, KEY)
    with EmbeddedServer(tmp_path / "data", tmp_path / "log") as embedded:
        monkeypatch.delenv(API_KEY_VARIABLE)
        assert count_hint(embedded.endpoint) == 0


def _differing(outcomes: list[Outcome]) -> set[str]:
    return {outcome.check.name for outcome in outcomes if outcome.differs}


def test_the_wire_is_kept_with_a_key(locked: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, KEY)
    outcomes = run_checks(locked.endpoint)
    assert _differing(outcomes) == set()
    assert len(outcomes) == len(load_checks()) + len(KEY_CHECKS) and KEY_CHECKS


def test_a_server_that_lets_anybody_in_is_seen(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, KEY)
    assert _differing(run_checks(server.endpoint)) == set(KEY_CHECKS)
