"""The scripts that made the package data: asked what they are, they do nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = sorted(path for path in (ROOT / "synthgen").glob("*/data/*") if path.is_file())


@pytest.mark.parametrize("script", ["make_model.py", "make_normal_table.py", "make_foundation.py"])
@pytest.mark.parametrize(("flag", "exit_code"), [("--help", 0), ("--hlep", 2)])
def test_asking_for_help_makes_nothing(script: str, flag: str, exit_code: int) -> None:
    before = [path.stat().st_mtime_ns for path in DATA]
    words = [sys.executable, str(ROOT / "scripts" / script), flag]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == exit_code
    assert f"usage: {script}" in (ended.stderr if exit_code else ended.stdout)
    assert "Traceback" not in ended.stderr and len(DATA) > 3
    assert [path.stat().st_mtime_ns for path in DATA] == before
