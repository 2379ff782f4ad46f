"""The package as a program imports it: cheap until it is asked for something, and typed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import synthgen

ROOT = Path(__file__).parent.parent
USER = """
from synthgen import Memories, Memory, open_dataset

memories = open_dataset(count=100, seed=7)
one: Memory = memories[3]
some: Memories = memories[10:20]
print(one.id.upper(), some.embeddings.shape, [m.confidence + 1 for m in memories])
"""


def run(*code: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *code], capture_output=True, text=True, cwd=cwd, env=environment, check=False
    )


def test_importing_costs_nothing() -> None:
    code = "import sys; before = set(sys.modules); import synthgen; print(*(set(sys.modules) - before))"
    loaded = run("-c", code).stdout.split()
    assert "synthgen" in loaded
    assert not {"numpy", "orjson", "psutil", "xxhash", "synthgen.specs"} & set(loaded), loaded
    assert len(loaded) < 10, loaded


def test_opening_loads_no_client_and_no_fitting() -> None:
    code = (
        "import sys, synthgen; print(synthgen.open_dataset(count=5)[4].id); "
        "print({'sklearn', 'scipy', 'pyarrow', 'requests', 'uvloop', 'psutil'} & set(sys.modules))"
    )
    done = run("-c", code)
    assert done.stdout.startswith("syn-") and done.stdout.endswith("\nset()\n"), done


def test_every_name_is_there_and_no_other() -> None:
    for name in synthgen.__all__:
        assert getattr(synthgen, name) is not None and name in dir(synthgen)
    with pytest.raises(AttributeError, match="has no attribute 'open_datasets'"):
        synthgen.open_datasets  # noqa: B018
    assert synthgen.open_dataset.__doc__


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("", ""), ""),
        (("seed=7", "seed='7'"), 'incompatible type "str"'),
        (("seed=7", "sead=7"), 'Unexpected keyword argument "sead"'),
        (("one: Memory", "one: Memories"), "Incompatible types in assignment"),
        (("one.id.upper()", "one.name"), 'has no attribute "name"'),
    ],
    ids=lambda change: str(change)[:30],
)
def test_a_users_script_is_checked_by_mypy(tmp_path: Path, change: tuple[str, str], fault: str) -> None:
    script = tmp_path / "user.py"
    script.write_text(USER.replace(*change) if change[0] else USER)
    # As of an installed package: its types count, its own errors do not.
    flags = [
        "--strict",
        "--follow-imports=silent",
        "--config-file=",
        "--cache-dir",
        ROOT / ".mypy_cache" / "user",
    ]
    done = run("-m", "mypy", *map(str, flags), str(script), cwd=tmp_path)
    if fault:
        assert done.returncode == 1 and fault in done.stdout, done.stdout
    else:
        assert done.returncode == 0, done.stdout
        assert run(str(script), cwd=tmp_path).stdout.startswith("SYN-")
