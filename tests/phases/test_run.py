"""The main job: killed in every phase, run again, and proven against the seed."""

import json
import os
import random
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests

from synthgen.formats.manifest import manifest_path
from synthgen.ingest import iter_listing
from synthgen.phases.datasets import load_dataset, make_dataset, source_of
from synthgen.phases.embedded import EmbeddedServer
from synthgen.wiki.foundation import Foundation
from tests.outputs import encode
from tests.phases.generating import MODULE, finish_here
from tests.processes import command_line_of, still_running

COUNT = 2_500
TIMEOUT_S = 250
ISOTROPIC = ("--std-dev", "0.1")


def command(folder: Path, *more: str, law: tuple[str, ...] = ISOTROPIC) -> list[str]:
    """Return the command of a run; by default of the isotropic law, which needs no fit and no verdict."""
    return [*MODULE[:3], "run", "--count", str(COUNT), "--output-dir", str(folder), *law, *more]


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(command(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_here(folder: Path, *more: str, law: tuple[str, ...] = ISOTROPIC) -> tuple[int, str, str]:
    """Do a run in this process: where nothing is killed, what its start takes can be saved."""
    done = finish_here(command(folder, *more, law=law))
    return done.returncode, done.stdout, done.stderr


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, out, err


def wait_for_phase(process: subprocess.Popen[str], number: int) -> bool:
    """Read what the run says until it announces phase ``number``; return whether it did."""
    assert process.stderr is not None
    return any(line.startswith(f"phase {number}:") for line in process.stderr)


def kill_in_phase(folder: Path, number: int, delay_s: float) -> bool:
    """Start a run, kill it ``delay_s`` after it announced phase ``number``; return whether it came so far."""
    process = start(folder)
    watchdog = threading.Timer(TIMEOUT_S, process.kill)
    watchdog.start()
    assert process.stderr is not None and process.stdout is not None
    reached = wait_for_phase(process, number)
    time.sleep(delay_s if reached else 0)
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    workers = [member for member in family if "serve" not in command_line_of(member)]
    process.kill()
    process.wait()
    watchdog.cancel()
    process.stdout.close()
    process.stderr.close()
    assert not still_running(workers, 2), "orphans after the parent's death"
    return reached


@dataclass(frozen=True)
class Stopped:
    """A folder whose run stopped twice, and how: its exit code and what it printed of errors."""

    folder: Path
    by_its_server: tuple[int, str]
    by_ctrl_c: tuple[int, str]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """A run whose server died, and that was interrupted when it ran again."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    process = start(folder)
    assert wait_for_phase(process, 1)
    servers = [p for p in psutil.Process(process.pid).children() if "serve" in command_line_of(p)]
    servers[0].kill()
    by_its_server = finish(process)
    process = start(folder)
    assert wait_for_phase(process, 1)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)
    by_ctrl_c = finish(process)
    return Stopped(folder, *((code, err) for code, _, err in (by_its_server, by_ctrl_c)))


@pytest.fixture(scope="module")
def finished(stopped: Stopped) -> Path:
    """The same folder: its run was then killed once in each phase, and then ran to its end."""
    folder = stopped.folder
    for number, delay_s in ((1, 0.3), (2, 0.3), (3, 0.15), (4, 0.1)):
        assert kill_in_phase(folder, number, delay_s)
    exit_code, out, err = finish(start(folder))
    assert exit_code == 0, err
    assert "all read back and equal" in out
    return folder


@dataclass(frozen=True)
class Database:
    """What is stored: content and vector by id; and phase 2 done again on it, undisturbed."""

    stored: dict[str, bytes]
    centroids: Path
    about: dict[str, Any]


@pytest.fixture(scope="module")
def database(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Database:
    centroids = tmp_path_factory.mktemp("undisturbed") / "centroids.npy"
    with EmbeddedServer(finished / "server", finished / "server.log") as server:
        stored = read_all(server)
        flags = ["--endpoint", server.endpoint, "--json", "-q", "--output", str(centroids)]
        done = finish_here([*MODULE[:3], "centroids", *flags])
    assert done.returncode == 0, done.stderr
    return Database(stored, centroids, json.loads(done.stdout))


def read_all(server: EmbeddedServer) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for page in iter_listing(server.endpoint, embeddings=True):
        for id_, content, vector in zip(page.ids, page.contents, page.embeddings, strict=True):
            assert id_ not in found, "stored twice"
            found[id_] = content.encode() + vector.tobytes()
    counts = requests.get(f"{server.endpoint}/api/v1/memories?limit=0", timeout=60).json()["tier_counts"]
    assert counts["total"] == len(found)
    return found


def test_killed_in_every_phase_it_ends_with_exactly_the_input(finished: Path, database: Database) -> None:
    found = database.stored
    dataset = load_dataset(manifest_path(finished / "synthetic.jsonl"))
    expected = {dataset.spec.memory_id(row) for row in range(COUNT)}
    expected |= {f"wiki-vital-{row:04d}" for row in range(Foundation().n_rows)}
    assert found.keys() == expected


def test_a_random_memory_is_the_one_that_the_seed_says(finished: Path, database: Database) -> None:
    found = database.stored
    dataset = load_dataset(manifest_path(finished / "synthetic.jsonl"))
    reader = source_of(dataset).open()
    for row in random.Random(7).sample(range(COUNT), 20):
        memory = json.loads(reader.read(row, row + 1)[0])
        vector = np.array(memory["embedding"], np.float32)
        assert found[memory["id"]] == memory["content"].encode() + vector.tobytes()


def test_kills_change_nothing_in_the_result(finished: Path, database: Database) -> None:
    """Each phase's result is the one that it has undisturbed, from what the phases before should give."""
    centroids = database.centroids
    assert centroids.read_bytes() == (finished / "centroids.npy").read_bytes()
    undisturbed = make_dataset(centroids, centroids.parent, count=COUNT, std_dev=0.1)
    assert encode(undisturbed, "jsonl").data == (finished / "synthetic.jsonl").read_bytes()


def test_again_it_says_what_is_there_and_stores_nothing(finished: Path) -> None:
    before = (finished / "centroids.npy").stat().st_mtime_ns
    exit_code, out, err = run_here(finished, "--json")
    assert exit_code == 0, err
    report = json.loads(out)
    assert report["centroids"]["already_there"] and report["generated"]["rows_made"] == 0
    for part, count in (("foundation", 7_533), ("ingested", COUNT)):
        assert report[part]["n_acked_before"] == report[part]["n_acked"] == count
        assert report[part]["n_sent"] == 0
        assert report[part]["verification"]["is_proven"]
    assert (finished / "centroids.npy").stat().st_mtime_ns == before
    assert report["centroids"]["num_source_embeddings"] == 7_533


def test_phase_2_never_fits_on_synthetic_rows(finished: Path, database: Database) -> None:
    about = database.about
    assert (about["num_source_embeddings"], about["num_synthetic_left_out"]) == (7_533, COUNT)
    assert database.centroids.read_bytes() == (finished / "centroids.npy").read_bytes()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seed", "43"], "seed 42 -> 43"),
        (["--num-centroids", "50"], "num_centroids 100 -> 50"),
        (["--std-dev", "0.2"], "std_dev 0.1 -> 0.2"),
        (["--count", "100"], "count 2,500 -> 100"),
    ],
)
def test_other_flags_on_the_folder_are_refused(finished: Path, flags: list[str], message: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.iterdir()}
    exit_code, _, err = run_here(finished, *flags)
    assert exit_code == 3 and message in err, err
    assert {path: path.stat().st_mtime_ns for path in finished.iterdir()} == before


def test_a_folder_that_another_server_holds_is_refused(finished: Path) -> None:
    with EmbeddedServer(finished / "server", finished / "server.log"):
        exit_code, _, err = run_here(finished)
    assert exit_code == 3 and "uses this folder" in err, err


def test_a_database_made_anew_is_filled_again(finished: Path, tmp_path: Path) -> None:
    exit_code, out, err = run_here(finished, "--data-dir", str(tmp_path / "server"), "--json")
    assert exit_code == 0, err
    report = json.loads(out)
    assert report["ingested"]["n_acked_before"] == 0 and report["ingested"]["verification"]["is_proven"]


def test_ctrl_c_once_is_resumable(stopped: Stopped, finished: Path) -> None:
    exit_code, err = stopped.by_ctrl_c
    assert exit_code == 130, err
    assert "Traceback" not in err
    assert (finished / "run.json").exists()


@pytest.mark.usefixtures("few_splits")
def test_the_fitted_law_is_judged_against_memories_that_the_fit_never_saw(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    exit_code, out, err = run_here(folder, "--json", law=())
    assert exit_code == 0, err
    report = json.loads(out)
    assert err.count("read memories: 7,533 real") == 1, "the listing serves both fits"
    assert report["fit"]["n_source_rows"] == 6_000 and report["fit"]["n_held_out"] == 1_533
    assert np.load(folder / "heldout.npy").shape == (1_533, 768)
    assert report["ingested"]["verification"]["is_proven"] and report["spec"]["model"]["law"] == "mixture"
    statistics = {line["key"]: line for line in report["fidelity"]["statistics"]}
    assert report["fidelity"]["is_low_power"]
    gap = abs(statistics["hnsw_10"]["difference"])
    assert gap < 0.1 < statistics["hnsw_10"]["real"] - statistics["hnsw_10"]["recipe"]
    assert (folder / "fidelity.html").read_text().lower().startswith("<!doctype html>")


def test_a_server_that_dies_ends_the_run_at_once(stopped: Stopped, finished: Path) -> None:
    exit_code, err = stopped.by_its_server
    assert exit_code == 3 and "the embedded server ended unasked" in err, err
    assert (finished / "run.json").exists(), "the same command did not go on"


@pytest.mark.parametrize(
    "flags",
    [
        ["--space", "A B"],
        ["--space", ""],
        ["--endpoint", "nonsense"],
        ["--endpoint", ""],
        ["--workers", "-1"],
        ["--memory-budget", "x"],
    ],
)
def test_usage_errors_touch_nothing(tmp_path: Path, flags: list[str]) -> None:
    exit_code, _, err = run_here(tmp_path / "run", *flags)
    assert exit_code == 2 and not (tmp_path / "run").exists(), err
