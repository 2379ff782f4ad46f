"""The spool of phase 1: whatever is lost or damaged, what it says is there is there."""

from __future__ import annotations

import os
import random
import resource
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from synthgen.errors import Interrupted, ResourceError
from synthgen.formats.real_memories import MemoryBlock
from synthgen.phases.spool import JOURNAL_NAME, MEMORIES_NAME, Place, SeenKeys, Spool
from synthgen.phases.storing import PART_ROWS, Storing
from synthgen.specs import IngestSpec
from synthgen.wiki.records import memory_id

IDENTITY = {"source": "a", "model": "b"}


def block(start: int, stop: int) -> MemoryBlock:
    ids = [memory_id(str(i)) for i in range(start, stop)]
    titles = [f"T{i}" for i in range(start, stop)]
    vectors = np.arange(start, stop, dtype=np.float32)[:, None] + np.zeros(4, np.float32)
    return MemoryBlock(ids, titles, [f"{t}\nx" for t in titles], ["" for _ in ids], vectors, 0.8, ("a",))


def fill(folder: Path, n: int, step: int = 7) -> None:
    with Spool(folder, IDENTITY) as spool:
        for start in range(spool.at.rows, n, step):
            stop = min(n, start + step)
            spool.append(block(start, stop), Place(stop, 3), {"short": stop})


def ids_in(spool: Spool) -> list[str]:
    return [memory_id for each in spool.blocks(spool.at.rows) for memory_id in each.ids]


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    fill(tmp_path, 2_100, 300)
    with Spool(tmp_path, IDENTITY) as spool:
        assert spool.at.place == Place(2_100, 3) and dict(spool.at.skipped) == {"short": 2_100}
        assert not spool.seen.add("2099") and spool.seen.add("2100")
        assert ids_in(spool) == [memory_id(str(i)) for i in range(2_100)]
        assert spool.source().open().read(1_999, 2_001)[1].startswith(b'{"id":"wiki-2000"')


@pytest.mark.parametrize("name", [MEMORIES_NAME, JOURNAL_NAME])
def test_torn_anywhere_it_holds_what_its_journal_says_and_is_filled_again(tmp_path: Path, name: str) -> None:
    fill(tmp_path / "whole", 60)
    whole = (tmp_path / "whole" / MEMORIES_NAME).read_bytes()
    rng = random.Random(3)
    for trial in range(30):
        folder = tmp_path / f"{trial}"
        fill(folder, 60)
        os.truncate(folder / name, rng.randrange((folder / name).stat().st_size))
        with Spool(folder, IDENTITY) as spool:
            assert (
                ids_in(spool) == [memory_id(str(i)) for i in range(spool.at.rows)] if spool.at.rows else True
            )
            assert spool.at.place == (Place(spool.at.rows, 3) if spool.at.rows else Place())
        fill(folder, 60)
        assert (folder / MEMORIES_NAME).read_bytes() == whole


def test_lines_that_were_exchanged_are_not_believed(tmp_path: Path) -> None:
    fill(tmp_path, 20)
    path = tmp_path / MEMORIES_NAME
    path.write_bytes(path.read_bytes().replace(b'{"id":"wiki-3",', b'{"ID":"wiki-3",'))
    with Spool(tmp_path, IDENTITY) as spool:
        assert spool.at.rows == 0 and spool.seen.add("0")  # or it would be a duplicate, and missing


@pytest.mark.parametrize("offset", [0, 40, 95])
def test_a_flipped_bit_anywhere_costs_what_is_behind_it(tmp_path: Path, offset: int) -> None:
    """Also where it leaves a line that reads as well as before: another digit, another letter."""
    fill(tmp_path, 200, 2)
    path = tmp_path / MEMORIES_NAME
    whole = path.read_bytes()
    at = whole.index(b'{"id":"wiki-101",') + offset
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with Spool(tmp_path, IDENTITY) as spool:
        assert spool.at.rows == 100 and ids_in(spool)[-1] == memory_id("99")
        assert not spool.seen.add("99") and spool.seen.add("100")
    fill(tmp_path, 200, 2)
    assert path.read_bytes() == whole


def test_another_identity_begins_anew(tmp_path: Path) -> None:
    fill(tmp_path, 20)
    (tmp_path / "ledger-x.jsonl").touch()  # what was stored was something else
    with Spool(tmp_path, IDENTITY):
        assert (tmp_path / "ledger-x.jsonl").exists()
    with Spool(tmp_path, {**IDENTITY, "model": "c"}) as spool:
        assert spool.at.rows == 0 and spool.path.stat().st_size == 0 and spool.seen.add("3")
        assert not (tmp_path / "ledger-x.jsonl").exists()


def test_two_at_a_time_are_refused(tmp_path: Path) -> None:
    with Spool(tmp_path, IDENTITY), pytest.raises(ResourceError, match="another run"):
        Spool(tmp_path, IDENTITY).__enter__()


def test_a_source_that_is_read_while_more_is_appended_stays_as_it_was(tmp_path: Path) -> None:
    with Spool(tmp_path, IDENTITY) as spool:
        for stop in (999, 1_000, 1_001, 2_000):
            spool.append(block(spool.at.rows, stop), Place(stop), {})
            source = spool.source()
            spool._offsets.append(spool.at.n_bytes + 99)  # as another thread does before it counts the rows
            assert spool.source().offsets == source.offsets
            assert len(source.open().read(0, stop)) == stop
            spool._offsets.pop()


def test_keys_are_seen_once_whatever_they_are() -> None:
    seen, rng = SeenKeys(), random.Random(1)
    keys = [str(rng.randrange(1 << 30)) for _ in range(2_000)] + [
        "007",
        "7",
        "x",
        "\u0663",
        "-1",
        "99999999999",
        "",
    ]
    assert [seen.add(key) for key in keys] == [key not in keys[:i] for i, key in enumerate(keys)]
    assert not any(seen.add(key) for key in keys)


def test_a_full_disk_is_told_of_and_the_rest_is_kept(tmp_path: Path) -> None:
    """A limit on the size of files stands for it: the same error from the system."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))
    try:
        with pytest.raises(ResourceError, match="File too large"):
            fill(tmp_path, 3_000, 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with Spool(tmp_path, IDENTITY) as spool:
        assert spool.at.rows % 100 == 0 and 0 < spool.at.rows == len(ids_in(spool))


@pytest.mark.parametrize("early", [False, True])
def test_a_database_that_never_answers_is_not_waited_for_when_it_ends(early: bool, tmp_path: Path) -> None:
    """Whether the context is left, or a stop is asked for while the rest is to be sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener, Spool(tmp_path / "spool", IDENTITY) as spool:
        spool.append(block(0, PART_ROWS), Place(1), {})
        spec = IngestSpec(
            f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path / "ledger", concurrent=1, quiet=True
        )
        asked = threading.Event()
        with pytest.raises(KeyboardInterrupt if early else Interrupted):
            with Storing(spool, spec, None, asked.is_set) as storing:
                storing.check()
                listener.accept()[0].close()
                if early:
                    raise KeyboardInterrupt
                asked.set()
                storing.finish(verify=False)
