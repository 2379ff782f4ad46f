"""What the control groups of this process allow it: memory and processor time, of Linux, versions 1 and 2.

``/proc/self/cgroup`` names the groups by their paths in a hierarchy, ``/proc/self/mountinfo`` tells where
which part of a hierarchy can be seen: in a container often the group's own folder alone, at the mount point.
Files and meanings: the kernel's admin-guide, cgroup-v1/memory.rst, cgroup-v2.rst and scheduler/sched-bwc.rst.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

#: What stands for "no limit".
UNLIMITED = 2**63
_PROCESS = Path("/proc/self")


@dataclass(frozen=True)
class MemoryGroup:
    """The folder of a control group that may limit memory; what it says is read at each call."""

    folder: Path
    is_v2: bool

    def limit_bytes(self) -> int:
        """Return the limit; ``UNLIMITED`` where there is none."""
        names = ("memory.max", "memory.high") if self.is_v2 else ("memory.limit_in_bytes",)
        limit_bytes = min(_number(self.folder / name, UNLIMITED) for name in names)
        return (
            limit_bytes if limit_bytes < UNLIMITED // 2 else UNLIMITED
        )  # v1: the largest multiple of a page

    def held_bytes(self) -> int:
        """Return what all processes of the group hold; pages of files, which can be taken back, not."""
        used = _number(self.folder / ("memory.current" if self.is_v2 else "memory.usage_in_bytes"), 0)
        return max(0, used - self._file_bytes())

    def _file_bytes(self) -> int:
        prefix = "" if self.is_v2 else "total_"
        wanted = (f"{prefix}active_file", f"{prefix}inactive_file")
        with contextlib.suppress(OSError, ValueError):
            lines = [line.split() for line in (self.folder / "memory.stat").read_text().splitlines()]
            return sum(int(value) for name, value in lines if name in wanted)
        return 0


def memory_groups(process: Path = _PROCESS) -> list[MemoryGroup]:
    """Return the groups of a process, and those above, that limit its memory, as far as they can be seen.

    ``process``: its folder in /proc. Empty where there are none, and on other systems than Linux.
    """
    groups = [MemoryGroup(folder, is_v2) for folder, is_v2 in folders_of("memory", process)]
    return [group for group in groups if group.limit_bytes() < UNLIMITED]


def cpu_quota(process: Path = _PROCESS) -> float:
    """Return how many cores' time the groups of a process allow it, possibly a fraction; inf if all."""
    quotas = [_quota(folder, is_v2) for folder, is_v2 in folders_of("cpu", process)]
    return min(quotas, default=math.inf)


def folders_of(controller: str, process: Path = _PROCESS) -> Iterator[tuple[Path, bool]]:
    """Yield the folders of the groups of a process that ``controller`` may watch, and of those above them.

    Each with whether it is of version 2; the process's own comes first. As far as they can be seen: none on
    other systems than Linux.
    """
    try:
        paths = list(_group_paths((process / "cgroup").read_text(), controller))
        mounts = list(_mounts((process / "mountinfo").read_text(), controller))
    except (OSError, ValueError):
        return
    for path, is_v2 in paths:
        of_kind = [mount for mount in mounts if mount.is_v2 == is_v2]
        showing = [mount for mount in of_kind if mount.shows(path)]
        for mount in showing:
            yield from ((folder, is_v2) for folder in mount.folders(path))
        if not showing:  # told from another root than the mounts: what is seen is the container's own
            yield from ((mount.point, is_v2) for mount in of_kind)


def _quota(folder: Path, is_v2: bool) -> float:
    with contextlib.suppress(OSError, ValueError):
        if is_v2:
            quota_us, period_us = map(int, (folder / "cpu.max").read_text().split())  # "max": no number
        else:
            quota_us = int((folder / "cpu.cfs_quota_us").read_text())
            period_us = int((folder / "cpu.cfs_period_us").read_text())
        if quota_us > 0 and period_us > 0:
            return quota_us / period_us
    return math.inf


def _number(path: Path, otherwise: int) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max" is no number, the root of a hierarchy has no such file
        return otherwise


@dataclass(frozen=True)
class _Mount:
    """A hierarchy as it can be seen: ``group`` is the path in it that lies at ``point``."""

    group: PurePosixPath
    point: Path
    is_v2: bool

    def shows(self, path: PurePosixPath) -> bool:
        return path.is_relative_to(self.group) and ".." not in path.relative_to(self.group).parts

    def folders(self, path: PurePosixPath) -> Iterator[Path]:
        """Yield the folder of the group ``path``, and those of the groups above it."""
        folder = self.point / path.relative_to(self.group)
        yield from (place for place in (folder, *folder.parents) if place.is_relative_to(self.point))


def _group_paths(text: str, controller: str) -> Iterator[tuple[PurePosixPath, bool]]:
    """Yield the groups that ``controller`` may watch, from proc/PID/cgroup: number, controllers, path."""
    for line in text.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            yield PurePosixPath(path), True
        elif controller in controllers.split(","):
            yield PurePosixPath(path), False


def _mounts(text: str, controller: str) -> Iterator[_Mount]:
    """Yield the hierarchies in which ``controller`` may be, from proc/PID/mountinfo."""
    for line in text.splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and controller in options.split(",")):
            group, point = map(_unescaped, fields.split(" ")[3:5])
            yield _Mount(PurePosixPath(group), Path(point), kind == "cgroup2")


def _unescaped(text: str) -> str:
    """Blanks and the like are written as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
