"""Signals to stop: once is a wish, twice an order, and neither disturbs what is under way."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from synthgen.runtime.interrupts import STOP_SIGNALS, Interrupts


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_the_first_signal_is_a_wish(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    outside = signal.signal(number, signal.SIG_DFL)  # under nohup it would be left alone
    try:
        with Interrupts() as interrupts:
            assert not interrupts.requested
            signal.raise_signal(number)
            assert interrupts.requested
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, outside)
    assert "once more to stop at once" in capfd.readouterr().err


def test_nohup_is_left_alone() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGHUP)
            assert not interrupts.requested
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


BUSY = """
import os, signal, sys
from synthgen.runtime.interrupts import Interrupts
with Interrupts() as interrupts:
    if sys.argv[1] == "closed":
        os.close(2)
    if sys.argv[1] == "twice":
        os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    print(interrupts.requested)
"""


def run_busy(what: str) -> tuple[int, str]:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", BUSY, what]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


def test_the_second_signal_ends_the_process() -> None:
    assert run_busy("twice") == (130, "")


def test_a_terminal_that_is_gone_is_no_error() -> None:
    assert run_busy("closed") == (0, "True\n")
