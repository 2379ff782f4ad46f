"""Limits of control groups: layouts as hosts and containers show them, and real groups where possible."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from synthgen.runtime.cgroups import MemoryGroup, cpu_quota, memory_groups
from synthgen.runtime.memory import available_cores
from tests.runtime.groups import lay_out, n_kills, real_group

NO_LIMIT_V1 = "9223372036854771712"


@dataclass(frozen=True)
class Layout:
    """What a process sees, and the limits that follow: memory of each group that has one, and cores."""

    cgroup: str
    mountinfo: str
    files: Mapping[str, str]
    limits: Mapping[str, int] = field(default_factory=dict)
    quota: float = math.inf


LAYOUTS = {
    "version 1 on a host, the limit in an ancestor": Layout(
        "11:memory:/user.slice/user-1000.slice/x.scope\n6:cpu,cpuacct:/user.slice\n1:name=systemd:/user.slice\n",
        "25 30 0:23 / {at} ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755\n"
        "33 25 0:31 / {at}/cpu,cpuacct rw,nosuid shared:18 - cgroup cgroup rw,cpu,cpuacct\n"
        "34 25 0:32 / {at}/memory rw,nosuid,relatime shared:19 - cgroup cgroup rw,memory\n",
        {
            "memory/memory.limit_in_bytes": NO_LIMIT_V1,
            "memory/user.slice/memory.limit_in_bytes": "700000000\n",
            "memory/user.slice/user-1000.slice/memory.limit_in_bytes": NO_LIMIT_V1,
            "memory/user.slice/user-1000.slice/x.scope/memory.limit_in_bytes": "800000000\n",
            "memory/memory.other": "1",
            "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "cpu,cpuacct/user.slice/cpu.cfs_quota_us": "75000\n",
            "cpu,cpuacct/user.slice/cpu.cfs_period_us": "50000\n",
        },
        {"memory/user.slice": 700_000_000, "memory/user.slice/user-1000.slice/x.scope": 800_000_000},
        1.5,
    ),
    "version 1 in a container without a namespace": Layout(
        "9:memory:/docker/4f2a\n8:cpu,cpuacct:/docker/4f2a\n0::/docker/4f2a\n",
        "1024 1023 0:26 /docker/4f2a {at}/cpu ro,nosuid master:11 - cgroup cgroup rw,cpu,cpuacct\n"
        "1032 1023 0:34 /docker/4f2a {at}/memory ro,nosuid master:19 - cgroup memory rw,memory\n",
        {
            "memory/memory.limit_in_bytes": "536870912\n",
            "cpu/cpu.cfs_quota_us": "200000\n",
            "cpu/cpu.cfs_period_us": "100000\n",
        },
        {"memory": 536_870_912},
        2.0,
    ),
    "version 1, the path told from another root than the mount": Layout(
        "9:memory:/kubepods/burstable/pod7/abc\n",
        "1032 1023 0:34 /system.slice/containerd.service/pod7/abc {at}/memory ro - cgroup memory rw,memory\n",
        {"memory/memory.limit_in_bytes": "268435456\n"},
        {"memory": 268_435_456},
    ),
    "version 2 on a host": Layout(
        "0::/user.slice/run-5.scope\n",
        "28 22 0:25 / {at} rw,nosuid,nodev,noexec shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
        {
            "cgroup.procs": "",
            "user.slice/memory.max": "max\n",
            "user.slice/memory.high": "900000000\n",
            "user.slice/run-5.scope/memory.max": "600000000\n",
            "user.slice/run-5.scope/memory.high": "max\n",
            "user.slice/cpu.max": "250000 100000\n",
            "user.slice/run-5.scope/cpu.max": "max 100000\n",
        },
        {"user.slice": 900_000_000, "user.slice/run-5.scope": 600_000_000},
        2.5,
    ),
    "version 2 in a container with a namespace": Layout(
        "0::/\n",
        "606 605 0:29 / {at} ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate\n",
        {"memory.max": "2147483648\n", "cpu.max": "50000 100000\n"},
        {".": 2_147_483_648},
        0.5,
    ),
    "version 2, a process outside of its namespace": Layout(
        "0::/../pod9/side\n",
        "606 605 0:29 / {at} ro,relatime - cgroup2 cgroup rw\n",
        {"memory.max": "300000000\n"},
        {".": 300_000_000},
    ),
    "hybrid: memory in version 1, an empty version 2 beside it": Layout(
        "4:memory:/a/b\n1:cpu:/\n0::/\n",
        "32 31 0:29 / {at}/cpu rw,relatime - cgroup cgroup rw,cpu\n"
        "35 31 0:32 / {at}/memory rw,relatime - cgroup cgroup rw,memory\n"
        "41 31 0:38 / {at}/unified rw,relatime - cgroup2 cgroup2 rw\n",
        {
            "memory/a/b/memory.limit_in_bytes": "400000000\n",
            "memory/a/memory.limit_in_bytes": NO_LIMIT_V1,
            "unified/cgroup.controllers": "\n",
        },
        {"memory/a/b": 400_000_000},
    ),
    "version 1 mounted once from above a namespace and once within": Layout(
        "4:memory:/\n",
        "51 47 0:32 /../.. {at}/host rw - cgroup cgroup rw,memory\n"
        "63 43 0:32 / {at}/own rw - cgroup none rw,memory\n",
        {"host/memory.limit_in_bytes": NO_LIMIT_V1, "own/memory.limit_in_bytes": "123000000\n"},
        {"own": 123_000_000},
    ),
    "no control groups at all": Layout("", "22 1 0:21 / /proc rw - proc proc rw\n", {}),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_limits_are_found_wherever_they_can_be_seen(name: str, tmp_path: Path) -> None:
    layout = LAYOUTS[name]
    process = lay_out(tmp_path, layout.cgroup, layout.mountinfo, layout.files)
    found = {group.folder: group.limit_bytes() for group in memory_groups(process)}
    assert found == {tmp_path / "sys fs" / group: limit for group, limit in layout.limits.items()}
    assert cpu_quota(process) == layout.quota


def test_where_nothing_can_be_read_there_is_no_limit(tmp_path: Path) -> None:
    assert memory_groups(tmp_path) == [] and cpu_quota(tmp_path) == math.inf


@pytest.mark.parametrize(
    ("quota", "cores"), [(0.5, 1), (1.0, 1), (1.01, 2), (2.5, 3), (1000.0, 1000), (math.inf, 1000)]
)
def test_a_part_of_a_core_counts_as_one(
    quota: float, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(1_000)))
    text = "max" if quota == math.inf else str(round(quota * 100_000))
    files = {"cpu.max": f"{text} 100000\n"}
    assert available_cores(lay_out(tmp_path, "0::/\n", "1 1 0:1 / {at} rw - cgroup2 x rw\n", files)) == cores


@pytest.mark.parametrize(
    ("names", "stat"),
    [
        (
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            "cache 9\ntotal_inactive_file 30\ntotal_active_file 5\n",
        ),
        (("memory.max", "memory.current"), "file 99\ninactive_file 30\nactive_file 5\nslab 3\n"),
    ],
    ids=["version 1", "version 2"],
)
def test_pages_of_files_are_not_held(names: tuple[str, str], stat: str, tmp_path: Path) -> None:
    (tmp_path / names[0]).write_text("1000")
    (tmp_path / names[1]).write_text("100")
    group = MemoryGroup(tmp_path, is_v2=names[0] == "memory.max")
    assert (group.limit_bytes(), group.held_bytes()) == (1_000, 100)
    (tmp_path / "memory.stat").write_text(stat)
    assert group.held_bytes() == 65


TELL = """
import os, sys
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
from synthgen.runtime.cgroups import cpu_quota, memory_groups
held = bytearray(50_000_000)
print(*([group.limit_bytes(), group.held_bytes()] for group in memory_groups()), cpu_quota())
"""


def tell_from(group: Path, *wrapper: str) -> str:
    command = [*wrapper, sys.executable, "-c", TELL, str(group)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["memory.limit_in_bytes", "memory.max"])
def test_a_real_limit_is_found_and_what_is_held_told(name: str) -> None:
    with real_group(name) as group:
        (group / name).write_text("300000000")
        limit, held = eval(tell_from(group).split("] ")[0] + "]")
        assert n_kills(group) == 0
    assert limit == 300_000_000 // 4096 * 4096
    assert 50e6 < held < 120e6


@pytest.mark.parametrize("name", ["cpu.cfs_quota_us", "cpu.max"])
def test_a_real_quota_is_found(name: str) -> None:
    with real_group(name) as group:
        (group / name).write_text("150000" if name == "cpu.cfs_quota_us" else "150000 100000")
        assert float(tell_from(group).split()[-1]) == 1.5
