"""The pool against workers that die, fail, linger, and a parent that is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from synthgen.errors import InputError, SynthgenError, WorkerDied
from synthgen.runtime.interrupts import STOP_SIGNALS
from synthgen.runtime.pool import Channel, Done, Note, Pool, Restarted
from synthgen.runtime.worker import worker_environment
from tests.processes import still_running


def double(channel: Channel, folder: str = "") -> None:
    """Double numbers; a negative one kills the worker, unless a file says that it did so already."""
    while (assignment := channel.get()) is not None:
        number = assignment.task
        mark = Path(folder) / str(-number)
        if number < 0 and not (folder and mark.exists()):
            if folder:
                mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        channel.done(assignment.number, (2 * number, channel.index))


def fail(channel: Channel, error: BaseException) -> None:
    channel.get()
    raise error


def linger(channel: Channel) -> None:
    """Finish an assignment only when told that nothing more will come."""
    open_numbers = []
    while (assignment := channel.get()) is not None:
        open_numbers.append(assignment.number)
        channel.note("holding")
    for number in open_numbers:
        channel.done(number, "cut short")
    channel.note("bye")


def be_busy(channel: Channel) -> None:
    """Work for a minute without a look at the channel."""
    channel.get()
    channel.note("busy")
    time.sleep(60.0)


def hold_the_interpreter(channel: Channel) -> None:
    """Work for minutes in one call in C, in which no other thread of the process can do anything."""
    channel.get()
    channel.note("busy")
    re.match(r"(a+)+$", "a" * 40 + "b")


def tell_environment(channel: Channel) -> None:
    while (assignment := channel.get()) is not None:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, set()) >= set(STOP_SIGNALS)
        channel.done(assignment.number, (blocked, os.environ["OPENBLAS_NUM_THREADS"]))


def die_at_once(channel: Channel) -> None:
    os._exit(3)


def values(pool: Pool, tasks: object, **settings: object) -> list[object]:
    return [event.value for event in pool.run(tasks, **settings) if isinstance(event, Done)]  # type: ignore


def test_every_task_is_done_once() -> None:
    with Pool(double, (), 2) as pool:
        done = values(pool, range(50))
    assert sorted(value for value, _ in done) == [2 * number for number in range(50)]  # type: ignore[misc]
    assert {index for _, index in done} == {0, 1}  # type: ignore[misc]


def test_workers_have_one_thread_and_no_ctrl_c() -> None:
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    with Pool(tell_environment, (), 1) as pool:
        assert values(pool, [1]) == [(True, "1")]
    assert os.environ.get("OPENBLAS_NUM_THREADS") == before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())


def test_tasks_with_a_lane_go_to_their_worker_alone() -> None:
    with Pool(double, (), 2) as pool:
        done = values(pool, [1, 1, 1, 1, 2, 1, 1, 2, 2], lane=lambda task: task - 1)
    assert sorted(done) == [(2, 0)] * 6 + [(4, 1)] * 3  # type: ignore[type-var]


def test_a_killed_worker_is_replaced_and_its_tasks_are_done(tmp_path: Path) -> None:
    with Pool(double, (str(tmp_path),), 2) as pool:
        events = list(pool.run([1, -2, 3, -4, 5]))
    assert sorted(e.value[0] for e in events if isinstance(e, Done)) == [-8, -4, 2, 6, 10]
    restarted = [event for event in events if isinstance(event, Restarted)]
    assert len(restarted) == 2
    assert all(event.exit_code == -signal.SIGKILL for event in restarted)


def test_a_task_that_kills_every_worker_ends_the_run() -> None:
    with pytest.raises(WorkerDied, match=r"-7: 3 workers died over it, the last with exit code -9"):
        with Pool(double, (), 1, max_deaths=2) as pool:
            values(pool, [1, -7, 3])


def test_workers_that_die_before_they_work_end_the_run() -> None:
    with pytest.raises(WorkerDied, match="exit code 3"), Pool(die_at_once, (), 1, max_deaths=1) as pool:
        values(pool, [1])


def test_errors_of_a_worker_are_raised_as_they_are() -> None:
    error = InputError("torn", where="x.jsonl", next_step="mend it")
    with pytest.raises(InputError, match=r"x\.jsonl: torn; mend it"), Pool(fail, (error,), 1) as pool:
        values(pool, [1])
    with pytest.raises(SynthgenError, match="a worker failed: ZeroDivisionError: no"):
        with Pool(fail, (ZeroDivisionError("no"),), 1) as pool:
            values(pool, [1])


def test_stop_finishes_what_was_handed_out() -> None:
    with Pool(double, (), 2, in_flight=2) as pool:
        done = []
        for event in pool.run(iter(range(10**9))):
            if isinstance(event, Done):
                done.append(event.task)
                pool.stop()
    assert 1 <= len(done) <= 5
    assert sorted(done) == list(range(len(done)))


def test_stop_in_a_hurry_lets_workers_cut_short() -> None:
    with Pool(linger, (), 2, in_flight=2) as pool:
        events = []
        for event in pool.run(range(100)):
            events.append(event)
            if sum(isinstance(e, Note) for e in events) == 4:
                pool.stop(hurry=True)
        pids = pool.pids
    done = [event.value for event in events if isinstance(event, Done)]
    assert done == ["cut short"] * 4
    assert [e.value for e in events if isinstance(e, Note)][4:] == ["bye", "bye"]
    assert not any(isinstance(event, Restarted) for event in events)
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_worker_killed_while_it_hurries_is_not_replaced() -> None:
    with Pool(linger, (), 2, in_flight=1) as pool:
        events = []
        for event in pool.run(range(100)):
            events.append(event)
            if sum(isinstance(e, Note) for e in events) == 2 and not any(map(_is_end, events)):
                os.kill(pool.pids[0], signal.SIGKILL)
                pool.stop(hurry=True)
    assert [event.value for event in events if isinstance(event, Done)] == ["cut short"]


def _is_end(event: object) -> bool:
    return isinstance(event, (Done, Restarted))


PARENT = """
import sys, time
from synthgen.runtime.pool import Pool
from tests.runtime import test_pool
if __name__ == "__main__":
    with Pool(getattr(test_pool, sys.argv[1]), (), 2) as pool:
        n_busy = 0
        for event in pool.run(range(4)):
            n_busy += event is not None
            if n_busy == 2:
                print(*pool.pids, flush=True)
"""


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("target", ["be_busy", "hold_the_interpreter"])
def test_workers_die_with_a_killed_parent(target: str, tmp_path: Path) -> None:
    if target == "hold_the_interpreter" and sys.platform != "linux":
        pytest.skip("elsewhere a thread of the worker has to see it")
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen(
        [sys.executable, str(script), target],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as parent:
        assert parent.stdout is not None
        workers = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2
        parent.kill()
        alive = still_running(workers, 2.0)
        for worker in alive:
            worker.kill()
        assert not alive


def test_a_killed_worker_is_noticed_at_once() -> None:
    """Not when its work should be done. The quickest of a few counts: at times the machine stands still."""
    delays_s: list[float] = []
    with Pool(be_busy, (), 2, in_flight=1, max_deaths=20) as pool:
        for event in pool.run(range(2)):
            if isinstance(event, Note):
                victim = pool.pids[event.worker]
                os.kill(victim, signal.SIGKILL)
                killed_s = time.monotonic()
            if isinstance(event, Restarted):
                delays_s.append(time.monotonic() - killed_s)
                assert victim not in pool.pids
                if delays_s[-1] < 0.5 or len(delays_s) == 20:
                    break
    assert min(delays_s) < 0.5


STARTING = """
import resource, signal, sys
from synthgen.errors import ResourceError
from synthgen.runtime.pool import Pool
from tests.processes import still_running
from tests.runtime.test_pool import be_busy, tell_environment, values
import psutil
if __name__ == "__main__":
    with Pool(tell_environment, (), 1) as pool:  # before the first one a helper of the interpreter is started
        assert values(pool, [1]) == [(True, "1")]
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, set())
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    try:
        with Pool(be_busy, (), 30):
            pass
    except ResourceError as error:
        print(error)
    children = [c for c in psutil.Process().children() if "spawn_main" in " ".join(c.cmdline())]
    print(len(still_running(children, 2.0)), "left")
"""


def test_where_no_more_workers_can_be_started_all_end(tmp_path: Path) -> None:
    script = tmp_path / "starting.py"
    script.write_text(STARTING)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    error, left = done.stdout.splitlines()
    assert re.match(r"worker \d+ could not be started \(Too many open files\); lower --workers", error), error
    assert left == "0 left"


def test_the_iterable_is_drawn_no_further_than_needed() -> None:
    drawn = []

    def numbers() -> object:
        for number in range(1_000):
            drawn.append(number)
            yield number

    with Pool(double, (), 1, in_flight=2) as pool:
        for event in pool.run(numbers()):  # type: ignore[arg-type]
            if isinstance(event, Done) and event.task == 5:
                pool.stop()
    assert len(drawn) <= 10


def test_admission_holds_work_back_but_never_all_of_it() -> None:
    asked = []

    def admit() -> bool:
        asked.append(time.monotonic())
        return False

    with Pool(double, (), 2) as pool:
        assert len(values(pool, range(6), admit=admit)) == 6
    assert asked


def test_pools_of_several_threads_leave_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    failed: list[Exception] = []

    def enter() -> None:
        try:
            for _ in range(200):
                with worker_environment():
                    assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
                    time.sleep(0)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert "OMP_NUM_THREADS" not in os.environ and os.environ["MKL_NUM_THREADS"] == "3"
