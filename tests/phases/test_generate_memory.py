"""The memory budget, seen from outside: it holds for the whole process tree, and in real control groups."""

from __future__ import annotations

import itertools
import json
import pathlib
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from bench.commands import PeakSampler
from bench.driven import make_nothing
from synthgen.phases.generate import generate as generate_file
from synthgen.phases.making import GenerateOptions
from synthgen.runtime.memory import parse_size
from tests.datasets import make_dataset, make_model, save_model
from tests.phases.generating import MODULE, finish
from tests.runtime.groups import n_kills, real_group

MB = 1_000_000
#: Samples may miss what is shorter than this; a worker lives for a second and more.
INTERVAL_S = 0.02
BUILT_IN: list[str] = []
LIMITS = ["memory.limit_in_bytes", "memory.max"]


@pytest.fixture
def laws(tmp_path: Path) -> dict[str, list[str]]:
    """The flags of each law; ``large``: a model that is the most of what a process holds."""
    directions = np.random.default_rng(3).standard_normal((20_000, 768)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    np.save(tmp_path / "large.npy", directions)
    centroids = ["--centroids", str(save_model(tmp_path))]
    return {"isotropic": centroids, "fitted": [], "large": ["--centroids", str(tmp_path / "large.npy")]}


def watch(argv: list[str]) -> tuple[int, dict[str, object]]:
    """Run a command; return the largest size of its process tree, in bytes, and its report."""
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with PeakSampler(process.pid, INTERVAL_S) as sampler:
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    return sampler.peak_bytes, json.loads(output)


def generate(law: list[str], *flags: str) -> list[str]:
    return [*MODULE, *law, "--output", "/dev/null", "-q", "--json", *flags]


def least_budget(law: list[str], *flags: str) -> str:
    """Return what the error asks for where the budget holds not one worker."""
    refused = finish(generate(law, "--count", "1000", "--memory-budget", "10MB", *flags))
    assert refused.returncode == 3 and refused.stderr.count("\n") == 1, refused.stderr
    assert refused.stderr.startswith("synthgen: --memory-budget: a limit of 10 MB holds not one worker; give")
    [least] = re.findall(r"give at least (\w+)$", refused.stderr)
    return str(least)


@pytest.mark.skipif(sys.platform != "linux", reason="sizes are PSS")
@pytest.mark.parametrize(
    ("law", "format_"),
    [
        *itertools.product(["isotropic", "fitted"], ["jsonl", "npy", "parquet", "jsonl.zst"]),
        ("large", "jsonl"),
    ],
)
def test_the_least_budget_that_is_named_works_and_holds(
    law: str, format_: str, laws: dict[str, list[str]]
) -> None:
    if format_ == "jsonl.zst":
        pytest.importorskip("zstandard")
    flags = ["--format", format_, "--workers", "64"]
    least = least_budget(laws[law], *flags)
    peak_bytes, report = watch(generate(laws[law], *flags, "--count", "20000", "--memory-budget", least))
    assert report["workers"] == 1
    assert peak_bytes < parse_size(least)
    assert peak_bytes > 0.45 * parse_size(least), "asks for more than twice what it takes"


def test_a_stream_has_the_same_least_budget(laws: dict[str, list[str]]) -> None:
    refused = finish([*MODULE, *laws["fitted"], "--output", "-", "-q", "--memory-budget", "10MB"])
    assert (refused.returncode, refused.stdout) == (3, "")
    assert refused.stderr.endswith(f"give at least {least_budget(laws['fitted'])}\n")


@pytest.mark.skipif(sys.platform != "linux", reason="sizes are PSS")
@pytest.mark.parametrize(("law", "budget"), [("isotropic", "800MB"), ("fitted", "400MB")])
def test_however_many_workers_are_asked_for_the_budget_holds(
    law: str, budget: str, laws: dict[str, list[str]]
) -> None:
    argv = generate(laws[law], "--workers", "64", "--memory-budget", budget, "--count", "100000")
    peak_bytes, report = watch(argv)
    assert 2 <= report["workers"] <= 64  # type: ignore[operator]
    assert peak_bytes < parse_size(budget)
    assert report["peak_bytes"] < parse_size(budget)  # type: ignore[operator]
    assert report["peak_bytes"] <= peak_bytes * 1.5  # type: ignore[operator]  # which is seen at other moments


ENTER = """
import os, sys
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


def inside(group: Path, argv: list[str]) -> list[str]:
    """Return a command that runs ``argv`` in a control group."""
    return [sys.executable, "-c", ENTER, str(group), *argv]


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("law", ["isotropic", "fitted"])
def test_it_finishes_in_a_control_group_far_smaller_than_its_budget(
    name: str, law: str, laws: dict[str, list[str]], tmp_path: Path
) -> None:
    """With the default budget of 4 GB and 64 workers asked for, it would be killed."""
    output = tmp_path / "x.jsonl"
    with real_group(name) as group:
        (group / name).write_text(str(350 * MB))
        flags = [*laws[law], "--workers", "64", "--count", "30000", "-q", "--json"]
        done = finish(inside(group, [*MODULE, "--output", str(output), *flags]))
        assert done.returncode == 0, done.stderr
        assert n_kills(group) == 0
    assert 1 <= json.loads(done.stdout)["workers"] < 16
    assert output.stat().st_size == json.loads(done.stdout)["bytes"]


@pytest.mark.parametrize("name", LIMITS)
def test_a_control_group_too_small_is_named_with_a_limit_that_works(
    name: str, laws: dict[str, list[str]], tmp_path: Path
) -> None:
    argv = generate(laws["fitted"], "--count", "20000", "--workers", "64")
    with real_group(name) as group:
        (group / name).write_text(str(170 * MB))
        refused = finish(inside(group, argv))
        assert refused.returncode == 3, refused.stderr
        assert refused.stderr.startswith(
            f"synthgen: memory limit of the control group {group}: a limit of 170 MB"
        )
        [least] = re.findall(r"give at least (\w+)\n$", refused.stderr)
        (group / name).write_text(str(parse_size(least) + MB))
        done = finish(inside(group, argv))
        assert done.returncode == 0, done.stderr
        assert n_kills(group) == 0


HOLD = """
import sys, time
held = bytearray(b"x") * int(sys.argv[1])
print("ready", flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("name", LIMITS)
def test_what_others_hold_of_a_control_group_is_left_to_them(name: str, laws: dict[str, list[str]]) -> None:
    argv = generate(laws["isotropic"], "--count", "30000", "--workers", "64")
    with real_group(name) as group:
        (group / name).write_text(str(500 * MB))
        holder = [sys.executable, "-c", HOLD, str(300 * MB)]
        with subprocess.Popen(inside(group, holder), stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"ready\n"
            shared = finish(inside(group, argv))
            other.kill()
        alone = finish(inside(group, argv))
        assert n_kills(group) == 0
    assert shared.returncode == alone.returncode == 0, shared.stderr
    n_shared, n_alone = (json.loads(done.stdout)["workers"] for done in (shared, alone))
    assert n_shared < n_alone / 2


TOO_GREEDY = """
from synthgen.runtime.pool import Pool
from tests.phases.test_generate_memory import take_too_much
if __name__ == "__main__":
    with Pool(take_too_much, (), 1) as pool:
        list(pool.run(["chunk 7"]))
"""


def take_too_much(channel: object) -> None:
    held = bytearray(b"x") * 1_000_000_000
    channel.done(channel.get().number, len(held))  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", LIMITS)
def test_a_worker_that_the_kernel_kills_again_and_again_is_an_error_that_names_its_chunk(
    name: str, tmp_path: Path
) -> None:
    script = tmp_path / "greedy.py"
    script.write_text(TOO_GREEDY)
    with real_group(name) as group:
        (group / name).write_text(str(300 * MB))
        environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
        done = finish(inside(group, [sys.executable, str(script)]), environment)
        assert n_kills(group) == 4
    last = done.stderr.splitlines()[-1]
    assert re.search(r"WorkerDied: chunk 7: 4 workers died over it, the last with exit code -9", last)
    assert "out-of-memory killer: lower --memory-budget or --workers" in last


def parent_bytes(output: Path, n_chunks: int) -> int:
    """Return the most that the parent's Python objects take over ``n_chunks``, in bytes."""
    output.parent.mkdir(exist_ok=True)
    dataset = make_dataset(n_chunks * 1_000, model=make_model(dimension=1))
    tracemalloc.start()
    try:
        generate_file(dataset, output, GenerateOptions(workers=1, quiet=True))
        peak_bytes = tracemalloc.get_traced_memory()[1]
        # Names that pathlib interns may make the interpreter's table of them grow: once, and not ours.
        interned = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, pathlib.__file__)])
        return peak_bytes - sum(trace.size for trace in interned.traces)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("name", "a_chunk"), [("/dev/null", 1), ("x.npy", 100)])
def test_the_parent_stays_small_at_a_hundred_times_the_count(
    name: str, a_chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What grows is a digest a chunk where a manifest needs it: 100 MB for a thousand million rows."""
    monkeypatch.setattr("synthgen.phases.making._write_chunks", make_nothing)
    few, many = (parent_bytes(tmp_path / str(n) / name, n) for n in (200, 20_000))
    assert many - few < 20_000 * a_chunk + 300_000, (few, many)
