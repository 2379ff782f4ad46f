"""Workers that wait for an answer of the parent, while others die, are stopped, or held back."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from synthgen.runtime.pool import Channel, Done, Note, Pool, Restarted
from synthgen.runtime.worker import Assignment


def ask(channel: Channel, folder: str = "") -> None:
    """Ask about each number and report the answer; number 0 kills its first worker half a second later."""
    open_numbers = {}
    while (message := channel.receive()) is not None:
        if isinstance(message, Assignment):
            if folder and message.task == 0 and not (Path(folder) / "died").exists():
                (Path(folder) / "died").touch()
                time.sleep(0.5)
                os.kill(os.getpid(), signal.SIGKILL)
            open_numbers[message.task] = message.number
            channel.note(message.task)
        else:
            task, answer = message.value
            channel.done(open_numbers.pop(task), answer)


def answer_in_order(pool: Pool, n_tasks: int, **settings: object) -> list[object]:
    """Answer each task when those before it have asked; return the events."""
    askers: dict[int, int] = {}
    events, n_answered = [], 0
    for event in pool.run(range(n_tasks), **settings):  # type: ignore[arg-type]
        events.append(event)
        if isinstance(event, Note):
            askers[event.value] = event.worker
        elif isinstance(event, Restarted):
            for task in event.tasks:
                askers.pop(task, None)
                n_answered = min(n_answered, task)
        while n_answered in askers:
            pool.tell(askers.pop(n_answered), (n_answered, 2 * n_answered))
            n_answered += 1
    return events


def done(events: list[object]) -> list[int]:
    return sorted(event.value for event in events if isinstance(event, Done))


def test_an_answer_reaches_the_worker_that_asked() -> None:
    with Pool(ask, (), 2, in_flight=3) as pool:
        assert done(answer_in_order(pool, 40)) == [2 * i for i in range(40)]


@pytest.mark.parametrize("n_workers", [1, 2, 3])
def test_what_a_dead_worker_held_is_handed_out_though_memory_is_short(tmp_path: Path, n_workers: int) -> None:
    with Pool(ask, (str(tmp_path),), n_workers, in_flight=3) as pool:
        events = answer_in_order(pool, 10, admit=lambda: not (tmp_path / "died").exists())
    assert done(events) == [2 * i for i in range(10)]
    assert any(isinstance(event, Restarted) for event in events)


def test_what_a_dead_worker_held_is_handed_out_though_the_pool_stops(tmp_path: Path) -> None:
    """Others wait for it, and they are to finish what was handed out."""
    askers: dict[int, int] = {}
    finished, is_answering = [], False
    with Pool(ask, (str(tmp_path),), 2, in_flight=2) as pool:
        for event in pool.run(range(1_000)):
            if isinstance(event, Note):
                askers[event.value] = event.worker
                pool.stop()
            elif isinstance(event, Done):
                finished.append(event.task)
            is_answering = is_answering or 0 in askers
            while is_answering and askers:
                task, worker = askers.popitem()
                pool.tell(worker, (task, None))
    assert 0 in finished and sorted(finished) == list(range(len(finished)))
    assert 2 <= len(finished) <= 5
