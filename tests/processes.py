"""Looking after processes that tests start and kill."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence

import psutil

#: Seconds between two looks at processes that are to end.
LOOK_S = 0.02


def still_running(processes: Sequence[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Return those of ``processes`` that still run after ``timeout_s``; zombies only wait for init.

    The time is counted in looks: while the machine stands still, it does for what is looked at, too.
    """
    for _ in range(round(timeout_s / LOOK_S)):
        processes = _running(processes)
        if not processes:
            break
        time.sleep(LOOK_S)
    return _running(processes)


def _running(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if status_of(process) != psutil.STATUS_ZOMBIE]


def status_of(process: psutil.Process) -> str:
    """Return the status of ``process``; gone counts as a zombie."""
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return str(psutil.STATUS_ZOMBIE)


def command_line_of(process: psutil.Process) -> list[str]:
    """Return the command of ``process``; nothing where it is gone, or going."""
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """Kill those of ``processes`` that are not gone by themselves."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
