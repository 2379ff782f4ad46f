"""Looking after processes that tests start and kill."""

from __future__ import annotations

from collections.abc import Sequence

import psutil


def still_running(processes: Sequence[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Return those of ``processes`` that still run after ``timeout_s``; zombies only wait for init."""
    _, alive = psutil.wait_procs(processes, timeout=timeout_s)
    return [process for process in alive if status_of(process) != psutil.STATUS_ZOMBIE]


def status_of(process: psutil.Process) -> str:
    """Return the status of ``process``; gone counts as a zombie."""
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return str(psutil.STATUS_ZOMBIE)
