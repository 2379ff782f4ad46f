"""The ledger: what it refuses, what it forgives, and what it keeps."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from synthgen.errors import InputError, ResourceError
from synthgen.ingest.deadletters import DeadLetter, DeadLetterFile
from synthgen.ingest.ledger import Ledger, LedgerKey
from synthgen.ingest.plan import Batch

KEY = LedgerKey("abcd", "x.jsonl", "http://127.0.0.1:7432", ())


def fill(path: Path, key: LedgerKey = KEY) -> None:
    with Ledger(path, key) as ledger:
        ledger.start_run({"route": "/r"})
        ledger.record(Batch(0, 100), [(0, 100)], [], (0, 0))
        ledger.record(Batch(100, 200), [(100, 150), (160, 200)], [170, 120], (12, 34))


def n_acked(ledger: Ledger) -> int:
    return ledger.state.finished.count(10**6) - len(ledger.state.dead)


def test_what_was_recorded_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "x.ledger"
    fill(path)
    with Ledger(path, KEY) as ledger:
        state = ledger.state
        assert (n_acked(ledger), sorted(state.dead), state.dead_bytes) == (188, [120, 170], (12, 34))
        assert list(state.finished.pending(250, (0,))) == [(150, 160, (0,)), (200, 250, (0,))]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (LedgerKey("ffff", "y", KEY.endpoint, ()), "input abcd -> ffff"),
        (LedgerKey("abcd", "x", "http://other:1", ()), "endpoint http://127.0.0.1:7432 -> http://other:1"),
        (LedgerKey("abcd", "x", KEY.endpoint, ("a", "b")), "spaces default -> a,b"),
    ],
)
def test_a_ledger_of_something_else_is_refused_with_the_difference(
    tmp_path: Path, key: LedgerKey, said: str
) -> None:  # 11
    path = tmp_path / "x.ledger"
    fill(path)
    before = path.read_bytes()
    with pytest.raises(InputError) as caught, Ledger(path, key):
        pass
    assert said in str(caught.value)
    assert caught.value.exit_code == 3
    assert path.read_bytes() == before


def test_a_ledger_cut_anywhere_is_readable(tmp_path: Path) -> None:  # 8
    path = tmp_path / "x.ledger"
    fill(path)
    whole = path.read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == 10]
    for size in sorted(
        {*range(0, len(whole), 11), *ends, *(end - 1 for end in ends), *(end + 1 for end in ends[:-1])}
    ):
        path.write_bytes(whole[:size])
        with Ledger(path, KEY) as ledger:
            n_lines = sum(end <= size for end in ends)
            assert n_acked(ledger) == [0, 0, 0, 100, 149, 188][n_lines]
        if n_lines < 2:  # it said nothing but whose it is
            assert not path.exists()
        else:
            assert path.read_bytes() == whole[: max(end for end in ends if end <= size)]


def test_noise_at_the_end_is_cut_off_but_not_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "x.ledger"
    fill(path)
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0" * 500 + b"\n\0\0\n")
    with Ledger(path, KEY) as ledger:
        assert n_acked(ledger) == 188
    assert path.read_bytes() == whole
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b'{"rows":[0,\n', *lines[3:]]))
    with pytest.raises(InputError, match="line 3 is damaged, and lines follow it"), Ledger(path, KEY):
        pass


@pytest.mark.parametrize("content", [b"a,b,c\n1,2,3\n", b'{"id":"x"}\n', b"\x93NUMPY"])
def test_another_file_is_not_touched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a ledger of synthgen"), Ledger(path, KEY):
        pass
    assert path.read_bytes() == content


def test_the_second_run_on_a_ledger_is_refused(tmp_path: Path) -> None:  # 10
    path = tmp_path / "x.ledger"
    with Ledger(path, KEY):
        with pytest.raises(ResourceError, match="another run holds this ledger"), Ledger(path, KEY):
            pass
    with Ledger(path, KEY):
        pass


def test_batches_of_some_spaces_are_kept_apart(tmp_path: Path) -> None:
    path = tmp_path / "x.ledger"
    key = LedgerKey("abcd", "x", KEY.endpoint, ("a", "b", "c"))
    with Ledger(path, key) as ledger:
        ledger.record(Batch(0, 90, 3, (0, 2), 0), [(0, 90)], [], (0, 0))
    assert orjson.loads(path.read_bytes().splitlines()[1]) == {
        "rows": [0, 90], "acked": 60, "dead": [], "of": [0, 2],
    }  # fmt: skip
    with Ledger(path, key) as ledger:
        assert list(ledger.state.finished.pending(100, (0, 1, 2))) == [(0, 90, (1,)), (90, 100, (0, 1, 2))]


def test_dead_letters_are_on_disk_before_anybody_counts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: dict[int, int] = {}
    fsync = os.fsync

    def recording(descriptor: int) -> None:
        fsync(descriptor)
        status = os.fstat(descriptor)
        synced[status.st_ino] = status.st_size

    monkeypatch.setattr(os, "fsync", recording)
    letters = DeadLetterFile(tmp_path / "x.ledger", (0, 0))
    sizes = letters.append([DeadLetter(3, "400 no")], [b"{}"])
    paths = (letters.bodies_path, letters.reasons_path)
    assert tuple(synced[path.stat().st_ino] for path in paths) == sizes == (3, 28)


def test_dead_letters_that_the_ledger_does_not_know_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "x.ledger"
    letters = DeadLetterFile(path, (0, 0))
    sizes = letters.append([DeadLetter(3, "400 no")], [b'{"id":\n"x"}\r\n'])
    assert letters.bodies_path.read_bytes() == b'{"id": "x"}\n'  # one line, the same JSON
    letters.append([DeadLetter(4, "400 no")], [b"{}"])
    again = DeadLetterFile(path, sizes)
    assert again.bodies_path.read_bytes() == b'{"id": "x"}\n'
    assert orjson.loads(again.reasons_path.read_bytes()) == {"row": 3, "reason": "400 no"}


def test_a_run_that_sent_nothing_leaves_nothing_and_binds_nobody(tmp_path: Path) -> None:
    path = tmp_path / "x.ledger"
    with Ledger(path, KEY):
        header = path.read_bytes()
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(header)  # as a kill leaves it
    other = LedgerKey("ffff", "y", KEY.endpoint, ())
    fill(path, other)
    with Ledger(path, other) as ledger:
        assert n_acked(ledger) == 188


def test_no_lock_stays_behind(tmp_path: Path) -> None:
    path = tmp_path / "x.ledger"
    fill(path)
    with pytest.raises(InputError), Ledger(path, LedgerKey("ffff", "y", "", ())):
        pass
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["/dev/full", "/dev/zero", "folder"])
def test_what_is_no_file_is_refused_untouched(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"not a regular file|is a folder"), Ledger(tmp_path / place, KEY):
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]
