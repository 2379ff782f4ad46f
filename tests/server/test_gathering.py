"""Groups for commits: none is lost, all are told, also when one of those who are told fails."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from synthgen.server import gathering
from synthgen.server.gathering import Arrivals, Gathering
from synthgen.server.requests import Memory, parse_memory

MEMORY: Memory = parse_memory(b'{"content":"x"}', None)


class Recorder:
    """Groups as they were handed over, and who was told of what."""

    def __init__(self) -> None:
        self.groups: list[Arrivals] = []
        self.told: list[tuple[int, Exception | None]] = []
        self.gathering = Gathering(asyncio.get_running_loop(), self.groups.append)

    def add(self, number: int) -> None:
        self.gathering.add(MEMORY, lambda error: self.told.append((number, error)))

    def settle_all(self, error: Exception | None = None) -> None:
        for group in self.groups:
            self.gathering.settled(group, error)
        self.groups.clear()


def run(check: Any) -> None:
    asyncio.run(check())


def test_one_alone_goes_at_once_and_of_a_crowd_its_half() -> None:
    async def check() -> None:
        recorder = Recorder()
        recorder.add(0)
        assert [len(group) for group in recorder.groups] == [1]
        for number in range(1, 20):
            recorder.add(number)
        assert sum(map(len, recorder.groups)) + len(recorder.gathering._arrived) == 20
        recorder.settle_all()
        await asyncio.sleep(0)
        recorder.gathering._tell()
        recorder.gathering.finish()
        recorder.settle_all()
        recorder.gathering._tell()
        assert [number for number, _ in recorder.told] == list(range(20))
        for number in range(9):
            recorder.add(number)
        assert recorder.groups == []
        recorder.add(9)
        assert [len(group) for group in recorder.groups] == [10]

    run(check)


def test_nobody_waits_for_company_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MAX_COMPANY_S", 0.0)

    async def check() -> None:
        recorder = Recorder()
        recorder.gathering._crowd = 100
        recorder.add(1)
        assert recorder.groups == []
        while not recorder.groups:
            await asyncio.sleep(0)
        assert recorder.gathering._crowd == 1

    run(check)


def test_who_waits_is_told_before_the_next_one_is_taken() -> None:
    async def check() -> None:
        recorder = Recorder()
        recorder.add(1)
        problem = OSError("full")
        recorder.settle_all(problem)
        assert recorder.told == []
        recorder.add(2)
        assert recorder.told == [(1, problem)]

    run(check)


def test_who_is_told_may_add_and_nothing_stays_behind() -> None:
    async def check() -> None:
        recorder = Recorder()
        recorder.gathering._crowd = 40

        def again(error: Exception | None) -> None:
            recorder.add(2)

        recorder.gathering.add(MEMORY, again)
        recorder.gathering.finish()
        recorder.settle_all()
        recorder.add(1)  # tells, and so adds another one
        assert recorder.gathering._patience is not None
        while not recorder.groups:
            await asyncio.sleep(0.001)
        assert [len(group) for group in recorder.groups] == [2]

    run(check)


def test_one_that_cannot_be_told_does_not_keep_it_from_the_others() -> None:
    problems: list[dict[str, Any]] = []

    def fail(error: Exception | None) -> None:
        raise ZeroDivisionError

    async def check() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        recorder = Recorder()
        recorder.gathering._crowd = 6
        recorder.add(1)
        recorder.gathering.add(MEMORY, fail)
        recorder.add(2)
        recorder.settle_all()
        await asyncio.sleep(0)
        assert recorder.told == [(1, None), (2, None)]

    run(check)
    assert [type(cast(Exception, problem["exception"])) for problem in problems] == [ZeroDivisionError]
