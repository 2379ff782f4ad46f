from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from synthgen.errors import EXIT_UNUSABLE
from tests.server.client import LIST, Client
from tests.serverproc import STOP_TIMEOUT_S, command, running_server


def _refused(data_dir: Path, *flags: str, port: int = 0, prefix: Sequence[str] = ()) -> str:
    """Start a server that must not start; return its one line."""
    ended = subprocess.run(
        [*prefix, *command(data_dir, *flags, port=port)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (EXIT_UNUSABLE, "")
    assert len(ended.stderr.splitlines()) == 1
    return ended.stderr


def test_the_announcement_and_the_record_say_where_it_is(tmp_path: Path) -> None:
    data = tmp_path / "not" / "yet" / "there"
    process = subprocess.Popen(command(data), stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        line = process.stdout.readline()
        record = json.loads((data / "server.json").read_text())
        assert record["pid"] == process.pid
        assert line == f"synthgen serve: listening on {record['endpoint']}, data in {data}\n"
        with Client(int(record["endpoint"].rsplit(":", 1)[1])) as client:
            assert client.get("/health").status == 200
        process.terminate()
        assert process.wait(STOP_TIMEOUT_S) == 0
    assert not (data / "server.json").exists()


def test_a_second_server_on_the_folder_is_told_who_has_it(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server:
        line = _refused(tmp_path / "data")
        assert str(server.pid) in line
        assert server.endpoint in line
        with Client(server.port) as client:
            assert client.remember().status == 201


def test_the_record_of_a_killed_server_holds_nobody_up(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server:
        server.kill()
    assert (tmp_path / "data" / "server.json").exists()
    with running_server(tmp_path / "data") as server, Client(server.port) as client:
        assert client.remember().status == 201


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = _refused(tmp_path / "data", port=port)
    assert f"127.0.0.1:{port}" in line
    assert "Address already in use" in line


@pytest.mark.parametrize(
    "host", ["", "no.such.host.invalid", "http://127.0.0.1", "192.0.2.1", "[]", "[127.0.0.1]"]
)
def test_a_host_that_is_not_this_one_is_one_clear_line(tmp_path: Path, host: str) -> None:
    # Where no server of names answers, it is asked for long, several times.
    prefix = ("env", "RES_OPTIONS=timeout:1 attempts:1")
    line = _refused(tmp_path / "data", "--host", host, prefix=prefix)
    assert "give as --host an address or a name of this machine" in line


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_may_stand_in_brackets(tmp_path: Path, host: str) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("needs IPv6 on loopback")
    with running_server(tmp_path / "data", "--host", host) as server:
        assert server.endpoint == f"http://[::1]:{server.port}"
        with Client(server.port, host="::1") as client:
            assert client.get("/health").status == 200
            assert client.send("GET", "/health", Host="attacker.example").status == 421


def test_a_server_that_cannot_start_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for data in ("old", "old/new", "not/yet/there"):
            _refused(tmp_path / data, port=taken.getsockname()[1])
    assert list(tmp_path.rglob("*")) == [tmp_path / "old"]


def test_two_servers_never_share_a_port(tmp_path: Path) -> None:
    with running_server(tmp_path / "one") as server:
        assert str(server.port) in _refused(tmp_path / "two", port=server.port)


def test_a_port_is_free_again_at_once(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server, Client(server.port) as client:
        assert client.remember(id="x").status == 201
        port = server.port
        assert server.stop() == 0
    with running_server(tmp_path / "data", port=port) as server, Client(server.port) as client:
        assert client.get(f"{LIST}/x").status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_it_gracefully_whatever_hangs_on_it(tmp_path: Path, number: signal.Signals) -> None:
    with running_server(tmp_path / "data") as server, Client(server.port) as idle:
        assert idle.remember(id="x").status == 201
        with socket.create_connection(("127.0.0.1", server.port)) as half:
            half.sendall(b"POST /api/v1/memories/remember HTTP/1.1\r\nHost: localhost\r\nContent-Le")
            server.process.send_signal(number)
            assert server.process.wait(STOP_TIMEOUT_S) == 0
        assert server.errors.read_text() == ""
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["memories.db"]


def test_the_end_of_standard_input_stops_it(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server:
        assert server.process.stdin is not None
        server.process.stdin.close()
        assert server.process.wait(STOP_TIMEOUT_S) == 0


def test_another_host_than_this_one_is_warned_about(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", "--host", "0.0.0.0") as server:
        assert "no authentication" in server.errors.read_text()


def _without_override() -> tuple[str, ...]:
    """Return a prefix for a program that may write what its user may write, also where that is root."""
    if os.geteuid():
        return ()
    prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    if not shutil.which(prefix[0]) or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip("everything is writable for root")
    return prefix


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    prefix = _without_override()
    data = tmp_path / "data"
    data.mkdir(mode=0o500)
    assert str(data) in _refused(data, prefix=prefix)


@pytest.mark.parametrize("name", ["memories.db", "memories.db-wal", "memories.db-shm"])
def test_a_database_that_cannot_be_written_is_one_clear_line(tmp_path: Path, name: str) -> None:
    prefix = _without_override()
    data = tmp_path / "data"
    with running_server(data) as server, Client(server.port) as client:
        assert client.remember(id="x").status == 201
        server.kill()  # which leaves the log
    (data / name).chmod(0o400)
    line = _refused(data, prefix=prefix)
    assert f"{data / name}: the database cannot be written (Permission denied); let the user" in line
    (data / name).chmod(0o600)
    with running_server(data, prefix=prefix) as server, Client(server.port) as client:
        assert client.get(f"{LIST}/x").status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
@pytest.mark.parametrize("n_files", [12, 14, 20, 63])
def test_too_few_files_are_one_clear_line(tmp_path: Path, n_files: int) -> None:
    line = _refused(tmp_path / "data", prefix=("prlimit", f"--nofile={n_files}:{n_files}"))
    assert f"{n_files} files may be open at a time, 64 are needed; raise the limit" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
def test_enough_files_are_enough(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", prefix=("prlimit", "--nofile=64:64")) as server:
        with Client(server.port) as client:
            assert client.remember(id="x").status == 201
            assert client.get(f"{LIST}/search", query="something").status == 200
        assert (server.stop(), server.errors.read_text()) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("module", [["synthgen.server"], ["synthgen", "serve"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_that_is_full_is_said_and_it_serves(
    tmp_path: Path, module: list[str], unbuffered: str
) -> None:
    words = [sys.executable, "-m", *module, *command(tmp_path / "data")[3:]]
    with Path("/dev/full").open("w") as full:
        environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
        process = subprocess.Popen(words, env=environment, stdout=full, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stderr is not None
        line = process.stderr.readline()
        said = "standard output cannot be written (No space left on device); listening on "
        assert line.startswith(f"synthgen serve: warning: {said}")
        with Client(int(line.rsplit(":", 1)[1])) as client:
            assert client.get("/health").status == 200
        process.terminate()
        assert (process.wait(STOP_TIMEOUT_S), process.stderr.read()) == (0, "")


def test_a_folder_that_cannot_be_made_says_nothing_of_what_is_kept() -> None:
    data = Path("/dev/null/data")
    assert _refused(data).endswith(
        f"{data}: Not a directory; name another place and run the same command again\n"
    )


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_folder_where_none_can_be_is_told_to_be_elsewhere() -> None:
    line = _refused(Path("/proc/synthgen/data"))
    assert line.endswith(": No such file or directory; name another place and run the same command again\n")


def test_a_file_in_place_of_the_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    assert str(tmp_path / "data") in _refused(tmp_path / "data")


def _database(data: Path, **pragmas: int) -> bytes:
    data.mkdir()
    connection = sqlite3.connect(data / "memories.db")
    connection.execute("CREATE TABLE theirs (x)")
    for name, value in pragmas.items():
        connection.execute(f"PRAGMA {name} = {value}")
    connection.close()
    return (data / "memories.db").read_bytes()


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "memories.db").write_text("dear diary")
    assert "not a database of this server" in _refused(tmp_path / "data")
    assert (tmp_path / "data" / "memories.db").read_text() == "dear diary"


def test_a_foreign_database_is_left_alone(tmp_path: Path) -> None:
    before = _database(tmp_path / "data")
    assert "not a database of this server" in _refused(tmp_path / "data")
    assert (tmp_path / "data" / "memories.db").read_bytes() == before


def test_another_schema_version_is_left_alone(tmp_path: Path) -> None:
    before = _database(tmp_path / "data", application_id=0x5379476E, user_version=99)
    assert "schema version 99" in _refused(tmp_path / "data")
    assert (tmp_path / "data" / "memories.db").read_bytes() == before
