"""Disks that fail: a preloaded library (failing.c) that makes the n-th call on files of a folder fail."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.phases.generating import finish


@dataclass(frozen=True)
class FailingDisk:
    """The folder ``below`` seems to lie on a disk that fails."""

    library: Path
    below: Path

    def run(self, argv: list[str], at: int, number: int = 0, *, stays: bool = False) -> tuple[int, str, int]:
        """Run a command whose call ``at`` (1 is the first, 0 is none) fails with error ``number``, and with
        ``stays`` every call from it on; return its exit code, what it printed of errors, and how many calls
        there were.
        """
        count = self.library.with_name("count")
        count.write_bytes(bytes(8))
        environment = {
            "LD_PRELOAD": str(self.library),
            "SYNTHGEN_FAIL_BELOW": f"{self.below}/",
            "SYNTHGEN_FAIL_AT": str(at),
            "SYNTHGEN_FAIL_ERRNO": str(number),
            "SYNTHGEN_FAIL_COUNT": str(count),
            **({"SYNTHGEN_FAIL_ON": "1"} if stays else {}),
        }
        done = finish(argv, environment)
        return done.returncode, done.stderr, struct.unpack("<Q", count.read_bytes())[0]


def build_failing_disk(folder: Path, below: Path) -> FailingDisk:
    """Compile the library into ``folder``; skip the test where that cannot be done."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler and Linux")
    library = folder / "failing.so"
    source = Path(__file__).with_name("failing.c")
    flags = ["-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run([compiler, *flags], check=True, capture_output=True)
    return FailingDisk(library, below)


def mount_small_disk(folder: Path, size_bytes: int, *, read_only: bool = False) -> None:
    """Mount a disk in memory at ``folder``; skip the test where that is not allowed."""
    options = f"size={size_bytes}" + (",ro" if read_only else "")
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a disk takes root")


def unmount(folder: Path) -> None:
    """Take a disk away; what it holds is lost."""
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
