"""Control groups for tests: recorded layouts in folders of their own, and real ones where possible."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from synthgen.runtime.cgroups import folders_of


def lay_out(folder: Path, cgroup: str, mountinfo: str, files: Mapping[str, str]) -> Path:
    """Write what /proc/self would hold, with ``{at}`` for a folder of files below ``folder``; return it."""
    process, at = folder / "self", folder / "sys fs"
    process.mkdir()
    (process / "cgroup").write_text(cgroup)
    (process / "mountinfo").write_text(mountinfo.replace("{at}", str(at).replace(" ", "\\040")))
    for name, text in files.items():
        path = at / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return process


@contextlib.contextmanager
def real_group(name: str) -> Iterator[Path]:
    """Give a new control group that has the file ``name``, near this process's own, gone afterwards;
    skip the test where none can be made.
    """
    folder = _make_group(name)
    if folder is None:
        pytest.skip(f"no control group with {name} can be made here (it takes root and a writable hierarchy)")
    try:
        yield folder
    finally:
        _remove_group(folder)


def _make_group(name: str) -> Path | None:
    """Version 2 lets a group that holds processes have no groups with limits in it: then one beside it."""
    for above, _ in folders_of(name.partition(".")[0]):
        folder = above / f"synthgen-test-{os.getpid()}-{time.monotonic_ns()}"
        with contextlib.suppress(OSError):
            folder.mkdir()
            if (folder / name).exists():
                return folder
            folder.rmdir()
    return None


def _remove_group(folder: Path) -> None:
    """Remove an empty group; its last processes may take a moment to leave."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.05)
    folder.rmdir()


def n_kills(group: Path) -> int:
    """Return how many processes of ``group`` the kernel killed because of its limit."""
    for name in ("memory.events", "memory.oom_control"):
        with contextlib.suppress(OSError):
            for line in (group / name).read_text().splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill":
                    return int(value)
    raise AssertionError(f"{group} does not tell of kills")
