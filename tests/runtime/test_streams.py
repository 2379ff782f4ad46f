"""Standard output that is full or gone: one line that says so, and no second error from the end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from synthgen.errors import EXIT_FAILED, EXIT_UNUSABLE

FULL = Path("/dev/full")
LINE = "synthgen: standard output: cannot be written (No space left on device); free some room where it goes,"


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("flags", [["generate", "--dry-run"], ["run", "--dry-run", "--json"]])
def test_an_output_that_is_full_is_told_as_such(flags: list[str], unbuffered: str) -> None:
    words = [sys.executable, "-m", "synthgen", *flags]
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with FULL.open("w") as full:
        ended = subprocess.run(
            words, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert ended.stderr == f"{LINE} or send it elsewhere, and run the same command again\n"
    assert ended.returncode == EXIT_UNUSABLE


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_gone_is_no_second_error(unbuffered: str) -> None:
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    words = [sys.executable, "-m", "synthgen", "generate", "--dry-run"]
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        words, env=environment, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (EXIT_FAILED, "")
