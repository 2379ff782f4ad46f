"""What workers are given: the same object, large arrays shared, and no waiting for one after the other."""

from __future__ import annotations

import os
import resource
import sys
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker, spawn
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.runtime import payload as payload_module
from synthgen.runtime.payload import Payload
from synthgen.runtime.pool import Channel, Done, Pool

LARGE = 4_000_000


@pytest.fixture(autouse=True)
def descriptors_are_closed() -> Iterator[None]:
    resource_tracker.ensure_running()  # it keeps one, from the first worker on
    before = open_descriptors()
    yield
    assert open_descriptors() <= before  # others may have closed some that they left open


def open_descriptors() -> set[str]:
    folder = Path("/proc/self/fd")
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def values() -> list[Any]:
    return [
        None,
        ("text", {1: b"bytes"}, np.arange(7)),
        [
            np.arange(LARGE, dtype=np.int8),
            np.empty(0),
            np.ones((3, 5), order="F"),
            "x" * 100_000,
            np.arange(3),
        ],
        "y" * 1_000_000,
    ]


def is_same(a: Any, b: Any) -> bool:
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(is_same, a, b))
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else bool(a == b)


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("in_memory", [True, False])
def test_what_comes_out_is_what_went_in(
    number: int, in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_memory:  # as on macOS
        monkeypatch.delattr(os, "memfd_create", raising=False)
    value = values()[number]
    assert is_same(Payload.of(value).load(), value)


def tell_sum(channel: Channel, array: np.ndarray, small: np.ndarray) -> None:
    while (assignment := channel.get()) is not None:
        mapped = "synthgen-payload" in Path("/proc/self/maps").read_text()
        channel.done(
            assignment.number, (int(array.sum()), array.ctypes.data % 64, array.flags.writeable, mapped)
        )


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no files in memory here")
def test_workers_map_a_large_array_and_cannot_change_it() -> None:
    array = np.arange(LARGE, dtype=np.int64)
    with Pool(tell_sum, (array, np.arange(3)), 2) as pool:
        told = {event.value for event in pool.run(range(8)) if isinstance(event, Done)}
    assert told == {(int(array.sum()), 0, False, True)}


def is_late(channel: Channel, array: np.ndarray) -> None:
    while (assignment := channel.get()) is not None:
        channel.done(assignment.number)


@pytest.mark.parametrize(("small_bytes", "waits"), [(payload_module._SMALL_BYTES, False), (10**9, True)])
def test_starting_a_worker_does_not_wait_for_it(
    small_bytes: int, waits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are started before one of them reads anything; through pipes each would be waited for."""
    may_read, late = tmp_path / "may read", tmp_path / "late"
    late.write_text(
        f'#!/bin/sh\nuntil [ -e "{may_read}" ]; do sleep 0.05; done\nexec "{sys.executable}" "$@"\n'
    )
    late.chmod(0o755)
    monkeypatch.setattr(payload_module, "_SMALL_BYTES", small_bytes)
    usual = spawn.get_executable()
    opening = threading.Timer(1.0 if waits else 60.0, may_read.touch)
    opening.start()
    spawn.set_executable(str(late))
    try:
        with Pool(is_late, (np.ones(20_000_000, np.int8),), 4):
            assert may_read.exists() == waits
    finally:
        spawn.set_executable(usual)
        opening.cancel()
        opening.join()


def test_a_limit_on_files_leaves_it_in_the_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))  # Python ignores SIGXFSZ
    try:
        payload = Payload.of(values()[2])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert payload.file is None
    assert is_same(payload.load(), values()[2])
