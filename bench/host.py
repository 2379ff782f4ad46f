"""The machine that figures were measured on, as far as figures depend on it."""

from __future__ import annotations

import contextlib
import os
import platform
import sqlite3
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import synthgen
from synthgen.runtime.memory import available_bytes, available_cores

_PACKAGES = (
    "numpy",
    "orjson",
    "xxhash",
    "httptools",
    "uvloop",
    "psutil",
    "requests",
    "pyarrow",
    "zstandard",
    "scikit-learn",
    "faiss-cpu",
    "hnswlib",
    "usearch",
)


def describe_host(folder: Path) -> dict[str, Any]:
    """Return processor, memory, system, versions and load; ``folder`` is where scratch files go."""
    return {
        "cpu_model": _cpu_model(),
        "cores": os.cpu_count(),
        "cores_available": available_cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "memory_available_bytes": available_bytes(),
        "load_average": list(os.getloadavg()),
        "system": platform.system(),
        "kernel": platform.release(),
        "filesystem": _filesystem(folder),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "packages": dict(_versions()),
        "revision": _revision(),
    }


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _filesystem(folder: Path) -> str:
    """Return the type of the filesystem that holds ``folder`` (a memory disk flatters every figure)."""
    best, kind = "", "unknown"
    with contextlib.suppress(OSError):
        place = str(folder.resolve())
        for line in Path("/proc/mounts").read_text().splitlines():
            _, mounted, found, *_ = line.split()
            inside = place == mounted or place.startswith(f"{mounted.rstrip('/')}/")
            if inside and len(mounted) >= len(best):
                best, kind = mounted, found
    return kind


def _versions() -> list[tuple[str, str]]:
    versions = [("synthgen", synthgen.__version__)]
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append((name, metadata.version(name)))
    return versions


def _revision() -> str:
    """Return the commit that was measured, marked when the tree differs from it; empty outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout.strip()
    return ""
