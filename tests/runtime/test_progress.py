"""Progress: the ETA of work that slows down, and of work that does not."""

from __future__ import annotations

import io
import random

import pytest

from synthgen.runtime.progress import Course, Progress, format_duration


def course_of(costs_s: list[float], unit: int) -> Course:
    course, now_s = Course(), 0.0
    for index, cost_s in enumerate(costs_s):
        now_s += cost_s * unit
        course.add(now_s, (index + 1) * unit)
    return course


def test_slowing_is_measured() -> None:
    """Engram, one space: 1.7 ms a memory at 1,000 and 22 ms at 10,000: 2.3 us more for each before it."""
    course = course_of([2.3e-6 * done for done in range(500, 10_000, 500)], 500)
    assert course.slowing_s() == pytest.approx(2.3e-6, rel=0.02)


def test_noise_is_not_taken_for_slowing() -> None:
    rng = random.Random(1)
    assert course_of([rng.uniform(0.9, 1.1) for _ in range(500)], 2).slowing_s() == 0.0
    assert course_of([1.0] * 500, 2).slowing_s() == 0.0
    assert course_of([10.0 - index * 0.01 for index in range(500)], 2).slowing_s() == 0.0
    assert course_of([1.0, 2.0], 2).slowing_s() == 0.0


def test_a_line_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    stream = io.StringIO()
    progress = Progress("ingest", 10_000, "memories", stream=stream)
    for second in range(1, 12):
        clock[0] = float(second)
        progress.update(second * 100, "3 retries (503 3)")
    progress.finish("done")
    assert stream.getvalue() == (
        "ingest: 1,000 of 10,000 memories (10%), 100/s, ETA 1 min 30 s, 3 retries (503 3)\ningest: done\n"
    )


def test_durations() -> None:
    assert [format_duration(s) for s in (3.4, 61, 7_621)] == ["3 s", "1 min 01 s", "2 h 07 min"]
