"""Downloads from a real server that misbehaves: nothing wrong ever gets the final name."""

import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from synthgen.errors import InputError, Interrupted, ResourceError, SynthgenError
from synthgen.runtime.files import FileLock
from synthgen.wiki.download import DEFAULT_URL, Patience, download, find_checksum
from tests.wiki.dumpserver import DATED, LATEST, SUMS, Answer, DumpServer, serve

CONTENT = random.Random(1).randbytes(600_000)
QUICK = Patience(attempts=3, backoff_s=0.001, longest_wait_s=2, timeout_s=30)


@pytest.fixture
def server() -> Iterator[DumpServer]:
    with serve(DumpServer(CONTENT)) as running:
        yield running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "dump.xml.bz2"


def fetch(server: DumpServer, path: Path) -> None:
    download(server.url, path, patience=QUICK, quiet=True)


def fail(server: DumpServer, path: Path) -> SynthgenError:
    """Return the one-line error that the download ends with; the final name does not exist."""
    with pytest.raises(SynthgenError) as caught:
        fetch(server, path)
    assert not path.exists()
    assert "\n" not in str(caught.value)
    assert caught.value.next_step
    return caught.value


def names(path: Path) -> set[str]:
    return {entry.name for entry in path.parent.iterdir()}


def test_a_whole_file_is_there_alone(server: DumpServer, path: Path) -> None:
    assert download(server.url, path, patience=QUICK, quiet=True) == path

    assert path.read_bytes() == CONTENT
    assert names(path) == {path.name}


def test_what_is_there_is_not_asked_for_again(server: DumpServer, path: Path) -> None:
    fetch(server, path)
    n_requests = len(server.requests)
    fetch(server, path)

    assert len(server.requests) == n_requests


def test_the_client_says_who_it_is(server: DumpServer, path: Path) -> None:
    fetch(server, path)

    for _, headers in server.requests:
        assert headers["User-Agent"].startswith("synthgen-memories/")
        assert "@" not in headers["User-Agent"]
        assert headers["Accept-Encoding"] == "identity"


def test_cut_connections_are_continued(server: DumpServer, path: Path) -> None:
    server.answers = [Answer(sent_bytes=100_000), Answer(dropped=True), Answer(sent_bytes=0)] + [
        Answer(sent_bytes=50_000) for _ in range(6)
    ]
    fetch(server, path)

    assert path.read_bytes() == CONTENT
    starts = [int(r.removeprefix("bytes=").rstrip("-")) if r else 0 for r in server.ranges()]
    assert starts == [0, 100_000, 100_000, 100_000, *range(150_000, 450_000, 50_000)]


def test_another_run_continues(server: DumpServer, path: Path) -> None:
    server.answers = [Answer(sent_bytes=200_000), *[Answer(dropped=True)] * 3]
    error = fail(server, path)

    assert "0.2 MB are kept" in error.what
    assert not path.exists()
    fetch(server, path)

    assert path.read_bytes() == CONTENT
    assert server.ranges()[-1] == "bytes=200000-"


def test_a_file_that_changed_in_between_starts_anew(server: DumpServer, path: Path) -> None:
    server.answers = [Answer(sent_bytes=200_000), *[Answer(dropped=True)] * 3]
    fail(server, path)
    server.content, server.etag = CONTENT[::-1], '"two"'
    fetch(server, path)

    assert path.read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize(
    ("etag", "modified", "continued"),
    [
        ('"one"', None, True),
        (None, "Thu, 01 Jan 2026 00:00:00 GMT", True),
        ('W/"weak"', "Thu, 01 Jan 2026 00:00:00 GMT", True),
        ('W/"weak"', None, False),
        (None, None, False),
    ],
)
def test_what_tells_that_it_is_the_same_file(
    path: Path, etag: str | None, modified: str | None, continued: bool
) -> None:
    with serve(DumpServer(CONTENT, etag=etag, modified=modified)) as server:
        server.answers = [Answer(sent_bytes=200_000)]
        fetch(server, path)

        assert server.ranges() == [None, "bytes=200000-" if continued else None]
    assert path.read_bytes() == CONTENT


def test_another_address_does_not_continue_the_file(server: DumpServer, path: Path) -> None:
    server.answers = [Answer(sent_bytes=200_000), *[Answer(dropped=True)] * 3]
    fail(server, path)
    download(server.url + "?other", path, patience=QUICK, quiet=True)

    assert server.requests[-1][1].get("Range") is None
    assert path.read_bytes() == CONTENT


def test_a_server_without_ranges_gives_it_from_the_beginning(server: DumpServer, path: Path) -> None:
    server.answers = [Answer(sent_bytes=200_000), Answer(ranges=False)]
    fetch(server, path)

    assert path.read_bytes() == CONTENT


def test_a_server_without_ranges_that_always_breaks_is_left_alone(server: DumpServer, path: Path) -> None:
    server.answers = [Answer(sent_bytes=200_000, ranges=False)] * 50

    assert "tried 3 times" in fail(server, path).what
    assert len(server.ranges()) == 4


def part(start: int, total: int | str, body: bytes) -> Answer:
    headers: dict[str, str | None] = {"Content-Range": f"bytes {start}-{start + len(body) - 1}/{total}"}
    return Answer(status=206, headers=headers, body=body)


@pytest.mark.parametrize(
    "lie",
    [
        part(100_000, 600_000, CONTENT[100_000:]),
        part(200_001, 600_000, CONTENT[200_001:]),
        part(200_000, 700_000, CONTENT[200_000:]),
        Answer(status=206, body=CONTENT[200_000:], headers={"Content-Range": None}),
        Answer(status=206, body=CONTENT[200_000:], headers={"Content-Range": "bytes nonsense"}),
        Answer(status=416, headers={"Content-Range": "bytes */5"}),
        Answer(status=416, headers={"Content-Range": None}),
        part(200_000, 600_000, CONTENT[200_000:] + b"more than there is"),
    ],
)
def test_a_part_that_was_not_asked_for_is_not_taken(server: DumpServer, path: Path, lie: Answer) -> None:
    server.answers = [Answer(sent_bytes=200_000), lie]
    fetch(server, path)

    assert path.read_bytes() == CONTENT
    assert server.ranges()[-1] is None


def test_a_part_of_the_part_is_taken(server: DumpServer, path: Path) -> None:
    server.answers = [Answer(sent_bytes=200_000), part(200_000, 600_000, CONTENT[200_000:300_000])]
    fetch(server, path)

    assert path.read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=200000-", "bytes=300000-"]


def test_more_told_than_there_is(server: DumpServer, path: Path) -> None:
    """What came is all: the server says so when asked for the rest, but it had told another size."""
    server.answers = [Answer(headers={"Content-Length": "700000"}, sent_bytes=600_000)]
    fetch(server, path)

    assert path.read_bytes() == CONTENT


def test_less_told_than_there_is(server: DumpServer, path: Path) -> None:
    server.answers = [Answer(headers={"Content-Length": "500000"})]

    assert "wrong checksum" in fail(server, path).what
    fetch(server, path)
    assert path.read_bytes() == CONTENT


def test_no_length_told(server: DumpServer, path: Path) -> None:
    server.answers = [Answer(headers={"Content-Length": None, "Connection": "close"}, sent_bytes=600_000)]
    fetch(server, path)

    assert path.read_bytes() == CONTENT


def test_killed_behind_the_last_byte(server: DumpServer, path: Path) -> None:
    server.answers = [Answer(sent_bytes=500_000), *[Answer(dropped=True)] * 3]
    fail(server, path)
    path.with_name(f".{path.name}.partial").write_bytes(CONTENT)
    fetch(server, path)

    assert path.read_bytes() == CONTENT
    assert server.ranges()[-1] == "bytes=600000-"


def test_a_wrong_checksum_removes_the_file(server: DumpServer, path: Path) -> None:
    server.sums = f"{'a' * 40}  {DATED}\n"
    error = fail(server, path)

    assert "wrong checksum" in error.what
    assert hashlib.sha1(CONTENT).hexdigest() in error.what
    assert names(path) == set()


def test_one_flipped_bit_is_seen(server: DumpServer, path: Path) -> None:
    server.answers = [Answer(body=CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))]

    assert "wrong checksum" in fail(server, path).what


@pytest.mark.parametrize("sums", [None, "nothing about it\n"])
def test_without_a_checksum_the_last_line_says_so(
    server: DumpServer, path: Path, sums: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    server.sums = sums
    download(server.url, path, patience=QUICK)

    assert path.read_bytes() == CONTENT
    assert "no list of checksums" in capsys.readouterr().err


def test_the_last_line_names_what_it_was_held_against(
    server: DumpServer, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download(server.url, path, patience=QUICK)

    assert f"0.6 MB, SHA-1 as {DATED} has it" in capsys.readouterr().err


def test_the_right_line_of_the_list() -> None:
    one, two, three = ("a" * 40, "b" * 40, "c" * 40)
    listing = (
        f"{one}  x-20260101-p.xml.bz2\n{two}  x-20260201-p.xml.bz2\n{three}  y-20260101-p.xml.bz2\nrest\n"
    )

    assert find_checksum(listing, "x-20260201-p.xml.bz2") == ("x-20260201-p.xml.bz2", two)
    assert find_checksum(listing, "y-latest-p.xml.bz2") == ("y-20260101-p.xml.bz2", three)
    assert find_checksum(listing, "x-latest-p.xml") is None
    assert find_checksum(listing, "x-20260301-p.xml.bz2") is None
    assert find_checksum(f"short  {LATEST}", LATEST) is None


@pytest.mark.parametrize("status", [403, 404, 410, 418])
def test_what_will_not_be_given_is_not_asked_for_again(server: DumpServer, path: Path, status: int) -> None:
    server.answers = [Answer(status=status)] * 9
    error = fail(server, path)

    assert isinstance(error, InputError)
    assert str(status) in error.what
    assert error.where == server.url
    assert "--dump-path FILE" in error.next_step
    assert len(server.ranges()) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_busy_server_is_asked_again_but_not_for_ever(server: DumpServer, path: Path, status: int) -> None:
    server.answers = [Answer(status=status)] * 2
    fetch(server, path)
    path.unlink()
    server.answers = [Answer(status=status)] * 9

    assert f"{status}" in fail(server, path).what
    assert len(server.ranges()) == 3 + 3


@pytest.mark.parametrize("date", [False, True])
def test_retry_after_is_waited_for(server: DumpServer, path: Path, date: bool) -> None:
    until_s = int(time.time()) + 2  # a date has whole seconds
    asked = formatdate(until_s, usegmt=True) if date else "1"
    times: list[float] = []
    server.answers = [
        Answer(status=503, headers={"Retry-After": asked}, before=lambda: times.append(time.time())),
        Answer(before=lambda: times.append(time.time())),
    ]
    fetch(server, path)

    assert times[1] > (until_s if date else times[0] + 1) - 0.1


def test_a_server_that_asks_for_too_long_a_wait_is_left_alone(server: DumpServer, path: Path) -> None:
    server.answers = [Answer(status=503, headers={"Retry-After": "86400"})]

    assert "asks to wait 86,400 s" in fail(server, path).what


def test_a_list_of_checksums_that_is_busy_is_asked_for_again(server: DumpServer, path: Path) -> None:
    server.sums_answers = [Answer(status=503)]
    server.sums = f"{'a' * 40}  {DATED}\n"

    assert "wrong checksum" in fail(server, path).what
    assert [p for p, _ in server.requests if p.endswith(SUMS)]


def test_redirects_are_followed_but_not_for_ever(server: DumpServer, path: Path) -> None:
    server.answers = [Answer(status=302, headers={"Location": server.url})]
    fetch(server, path)
    assert path.read_bytes() == CONTENT
    path.unlink()
    server.answers = [Answer(status=302, headers={"Location": server.url})] * 40

    assert "redirected without end" in fail(server, path).what


def test_a_web_page_instead_of_the_file(server: DumpServer, path: Path) -> None:
    server.answers = [Answer(body=b"<html>please log in</html>")]

    assert "wrong checksum" in fail(server, path).what


def test_no_server_names_the_address_and_the_flag(path: Path) -> None:
    with socket.socket() as bound:  # not listening: connections are refused
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/{LATEST}"
        with pytest.raises(InputError) as caught:
            download(url, path, patience=QUICK, quiet=True)

    assert caught.value.where == url
    assert "refuses the connection" in caught.value.what
    assert "--dump-path FILE" in caught.value.next_step


@pytest.mark.parametrize("url", ["nonsense", "ftp://x/y", "http://", "http://a b/"])
def test_addresses_that_make_no_sense(path: Path, url: str) -> None:
    with pytest.raises(InputError, match="--dump-path"):
        download(url, path, patience=QUICK, quiet=True)


def test_too_little_room_is_told_before_the_first_byte(server: DumpServer, path: Path) -> None:
    server.answers = [Answer(headers={"Content-Length": str(10**17)})]
    error = fail(server, path)

    assert isinstance(error, ResourceError)
    assert "100,000,000" in error.what
    assert names(path) == set()


def test_two_at_a_time_into_one_file(server: DumpServer, path: Path) -> None:
    path.parent.mkdir()
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    assert lock.acquire()
    try:
        error = fail(server, path)
    finally:
        lock.remove()

    assert isinstance(error, ResourceError)
    assert str(os.getpid()) in error.what
    assert server.requests == []


def test_the_user_may_stop_and_go_on(server: DumpServer, path: Path) -> None:
    asked = iter([False, False, False, True])
    with pytest.raises(Interrupted):
        download(server.url, path, patience=QUICK, stop=lambda: next(asked), quiet=True)
    assert not path.exists()
    fetch(server, path)

    assert path.read_bytes() == CONTENT
    assert server.ranges()[-1] is not None


_FETCH = """
import sys
from pathlib import Path
from synthgen.wiki.download import download
download(sys.argv[1], Path(sys.argv[2]), quiet=True)
"""


def test_killed_in_the_middle_it_goes_on(path: Path) -> None:
    with serve(DumpServer(CONTENT)) as server:
        server.answers = [Answer(headers={"Content-Length": str(len(CONTENT))}, body=CONTENT[:300_000])]
        process = subprocess.Popen([sys.executable, "-c", _FETCH, server.url, str(path)])
        partial = path.with_name(f".{path.name}.partial")
        until_s = time.monotonic() + 30
        while not (partial.exists() and partial.stat().st_size) and time.monotonic() < until_s:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        n_there = partial.stat().st_size
        fetch(server, path)

        assert server.ranges()[-1] == f"bytes={n_there}-"
    assert path.read_bytes() == CONTENT


def test_a_folder_and_a_folder_that_cannot_be_made(server: DumpServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a folder"):
        fetch(server, tmp_path)
    with pytest.raises(ResourceError):
        fetch(server, tmp_path / "file" / "x" / "dump")


def test_the_default_is_the_simple_english_dump() -> None:
    assert "/simplewiki/latest/simplewiki-latest-pages-articles-multistream.xml.bz2" in DEFAULT_URL
