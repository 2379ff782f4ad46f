"""The memory governor: sizes of a process tree, and bounds set by a budget and by control groups."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from synthgen.errors import ResourceError, UsageError
from synthgen.runtime import memory
from synthgen.runtime.cgroups import MemoryGroup
from synthgen.runtime.memory import Governor, parse_size, tree_bytes, tree_cpu_s

MB = 1_000_000
FAMILY = """
import subprocess, sys
held = bytearray(40_000_000)
children = []
if len(sys.argv) < 2:
    command = [sys.executable, __file__, "child"]
    children = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(2)]
print("ready", flush=True)
sys.stdin.read()
"""


def group_of(folder: Path, limit_bytes: int, used_bytes: int) -> MemoryGroup:
    (folder / "memory.max").write_text(str(limit_bytes))
    (folder / "memory.current").write_text(str(used_bytes))
    return MemoryGroup(folder, is_v2=True)


@pytest.mark.parametrize(
    ("text", "size"), [("4GB", 4_000_000_000), ("512mb", 512_000_000), ("2GiB", 2**31), ("1000000", 10**6)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "4 GBs", "1,234MB", "iB", "4iB"])
def test_what_is_no_size_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="must be a size"):
        parse_size(text)


@pytest.fixture
def family(tmp_path: Path) -> psutil.Process:
    script = tmp_path / "family.py"
    script.write_text(FAMILY)
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        for _ in range(3):
            parent.stdout.readline()
        yield psutil.Process(parent.pid)  # type: ignore[misc]
        for child in psutil.Process(parent.pid).children():
            child.kill()
        parent.kill()


@pytest.fixture
def own_bytes(monkeypatch: pytest.MonkeyPatch) -> int:
    """The size of this process, which stays so: else that of pages shared with others is theirs to change."""
    size = tree_bytes()
    monkeypatch.setattr(memory, "tree_bytes", lambda: size)
    return size


def agree(one: Callable[[], int], other: Callable[[], int]) -> bool:
    """Return whether two sizes of one thing are the same, at one of ten looks: pages that are shared with
    others are divided anew whenever one of those begins or ends.
    """
    return any(one() == pytest.approx(other(), rel=0.02) for _ in range(10))


def test_the_size_of_a_tree_is_that_of_all_its_members(family: psutil.Process) -> None:
    members = [family, *family.children()]
    assert len(members) == 3

    def pss() -> int:
        return sum(member.memory_full_info().pss for member in members)

    assert agree(lambda: tree_bytes(family.pid), pss)
    assert pss() > 3 * 40 * MB


def test_without_the_files_of_linux_sizes_come_from_psutil(
    family: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow() -> int:
        with monkeypatch.context() as patch:
            patch.setattr(memory, "_HAS_ROLLUP", False)
            patch.setattr(memory, "_HAS_CHILDREN", False)
            return tree_bytes(family.pid)

    assert agree(slow, lambda: tree_bytes(family.pid))


def test_what_has_ended_has_no_size() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert tree_bytes(process.pid) == 0 and tree_cpu_s(process.pid) == 0.0


def test_workers_are_as_many_as_the_budget_holds() -> None:
    governor = Governor(1_000 * MB, [])
    assert governor.plan_workers(64, 100 * MB, 80 * MB) == 10
    assert governor.plan_workers(3, 100 * MB, 80 * MB) == 3


@pytest.mark.parametrize(
    ("base", "worker"), [(80 * MB, 80 * MB), (1, 1), (99_999_999, 77), (10**12 + 1, 10**9)]
)
def test_the_least_budget_that_the_error_names_is_enough(base: int, worker: int) -> None:
    with pytest.raises(ResourceError, match=r"^--memory-budget: .* holds not one worker") as caught:
        Governor(0, []).plan_workers(1, base, worker)
    [least] = re.findall(r"give at least (\w+)$", str(caught.value))
    assert Governor(parse_size(least), []).plan_workers(9, base, worker) >= 1
    with pytest.raises(ResourceError):
        Governor(parse_size(least) - 2 * MB, []).plan_workers(9, base, worker)


def test_a_tighter_control_group_is_the_limit_and_is_named(tmp_path: Path, own_bytes: int) -> None:
    group = group_of(tmp_path, 300 * MB, own_bytes)
    governor = Governor(4_000 * MB, [group])
    assert governor.limit_bytes == pytest.approx(300 * MB, abs=5 * MB)
    with pytest.raises(ResourceError, match=re.escape(f"control group {tmp_path}: a limit of 300 MB")):
        governor.plan_workers(1, 200 * MB, 100 * MB)
    assert Governor(200 * MB, [group]).limit_bytes == 200 * MB


def test_what_others_hold_of_a_group_is_left_to_them(tmp_path: Path, own_bytes: int) -> None:
    """A limit of 1 GB with 0.9 GB taken has room for 0.1 GB, and the error says how much would do."""
    group = group_of(tmp_path, 1_000 * MB, own_bytes + 900 * MB)
    governor = Governor(4_000 * MB, [group])
    assert governor.limit_bytes == pytest.approx(100 * MB, abs=5 * MB)
    with pytest.raises(ResourceError, match=r"of which others hold (89\d|90\d) MB, holds not one") as caught:
        governor.plan_workers(1, 80 * MB, 80 * MB)
    [least] = re.findall(r"give at least (\w+)$", str(caught.value))
    group_of(tmp_path, parse_size(least) + 2 * MB, own_bytes + 900 * MB)
    assert Governor(4_000 * MB, [group]).plan_workers(9, 80 * MB, 80 * MB) == 1


def test_work_waits_while_a_group_is_nearly_full(
    tmp_path: Path, own_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "SAMPLE_INTERVAL_S", 0.0)
    monkeypatch.setattr(memory, "_SAMPLE_SHARE", 0)
    limit_bytes = 4 * own_bytes  # of any size: what ran before in this process may have left much
    group = group_of(tmp_path, limit_bytes, own_bytes)
    governor = Governor(2 * limit_bytes, [group])
    assert governor.admits()
    group_of(tmp_path, limit_bytes, limit_bytes * 91 // 100)
    assert not governor.admits()
    group_of(tmp_path, limit_bytes, limit_bytes * 89 // 100)
    assert governor.admits()


def test_work_waits_while_the_tree_is_nearly_as_large_as_its_budget(own_bytes: int) -> None:
    assert not Governor(own_bytes, []).admits()
    assert Governor(2 * own_bytes, []).admits()


def test_sampling_takes_a_small_part_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes of 64 workers take a tenth of a second to read: every quarter second would be too often."""
    clock, sampled_at_s = [0.0], list[float]()

    def slow(pid: int | None = None) -> int:
        sampled_at_s.append(clock[0])
        clock[0] += 0.1
        return 5

    monkeypatch.setattr(memory, "tree_bytes", slow)
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.thread_time", lambda: clock[0])
    governor = Governor(100, [])
    while clock[0] < 20.0:
        governor.sample()
        clock[0] += 0.05
    assert sampled_at_s == pytest.approx([0.0, 5.0, 10.0, 15.0], abs=0.1)
    assert governor.peak_bytes == 5
    governor.sample(now=True)
    assert len(sampled_at_s) == 5
