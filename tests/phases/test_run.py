"""The main job: killed in every phase, run again, and proven against the seed."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests

from synthgen.formats.manifest import manifest_path
from synthgen.ingest import iter_listing
from synthgen.phases.datasets import load_dataset, source_of
from synthgen.phases.embedded import EmbeddedServer
from synthgen.wiki.foundation import Foundation
from tests.processes import status_of, still_running

COUNT = 2_500
TIMEOUT_S = 100


def start(folder: Path, *more: str, law: tuple[str, ...] = ("--std-dev", "0.1")) -> subprocess.Popen[str]:
    """Start a run; by default of the isotropic law, which needs no fit and no verdict."""
    command = [sys.executable, "-m", "synthgen", "run", "--count", str(COUNT), "--output-dir", str(folder)]
    return subprocess.Popen(
        [*command, *law, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


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
    process.kill()
    process.wait()
    watchdog.cancel()
    process.stdout.close()
    process.stderr.close()
    workers = [p for p in family if status_of(p) != psutil.STATUS_ZOMBIE and "serve" not in p.cmdline()]
    assert not still_running(workers, 2), "orphans after the parent's death"
    return reached


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose run was killed once in each phase and then ran to its end."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    for number, delay_s in ((1, 0.3), (2, 0.3), (3, 0.15), (4, 0.1)):
        assert kill_in_phase(folder, number, delay_s)
    exit_code, out, err = finish(start(folder))
    assert exit_code == 0, err
    assert "all read back and equal" in out
    return folder


def listed(folder: Path) -> dict[str, bytes]:
    with EmbeddedServer(folder / "server", folder / "server.log") as server:
        found: dict[str, bytes] = {}
        for page in iter_listing(server.endpoint, embeddings=True):
            for id_, content, vector in zip(page.ids, page.contents, page.embeddings, strict=True):
                assert id_ not in found, "stored twice"
                found[id_] = content.encode() + vector.tobytes()
        counts = requests.get(f"{server.endpoint}/api/v1/memories?limit=0", timeout=10).json()["tier_counts"]
        assert counts["total"] == len(found)
        return found


def test_killed_in_every_phase_it_ends_with_exactly_the_input(finished: Path) -> None:
    found = listed(finished)
    dataset = load_dataset(manifest_path(finished / "synthetic.jsonl"))
    expected = {dataset.spec.memory_id(row) for row in range(COUNT)}
    expected |= {f"wiki-vital-{row:04d}" for row in range(Foundation().n_rows)}
    assert found.keys() == expected


def test_a_random_memory_is_the_one_that_the_seed_says(finished: Path) -> None:
    found = listed(finished)
    dataset = load_dataset(manifest_path(finished / "synthetic.jsonl"))
    reader = source_of(dataset).open()
    for row in random.Random(7).sample(range(COUNT), 20):
        memory = json.loads(reader.read(row, row + 1)[0])
        vector = np.array(memory["embedding"], np.float32)
        assert found[memory["id"]] == memory["content"].encode() + vector.tobytes()


def test_kills_change_nothing_in_the_result(finished: Path, tmp_path: Path) -> None:
    exit_code, _, err = finish(start(tmp_path / "run"))
    assert exit_code == 0, err
    for name in ("synthetic.jsonl", "centroids.npy"):
        assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes(), name


def test_again_it_says_what_is_there_and_stores_nothing(finished: Path) -> None:
    before = (finished / "centroids.npy").stat().st_mtime_ns
    exit_code, out, err = finish(start(finished, "--json"))
    assert exit_code == 0, err
    report = json.loads(out)
    assert report["centroids"]["already_there"] and report["generated"]["rows_made"] == 0
    for part, count in (("foundation", 7_533), ("ingested", COUNT)):
        assert report[part]["n_acked_before"] == report[part]["n_acked"] == count
        assert report[part]["n_sent"] == 0
        assert report[part]["verification"]["is_proven"]
    assert (finished / "centroids.npy").stat().st_mtime_ns == before
    assert report["centroids"]["num_source_embeddings"] == 7_533


def test_phase_2_never_fits_on_synthetic_rows(finished: Path, tmp_path: Path) -> None:
    with EmbeddedServer(finished / "server", finished / "server.log") as server:
        command = [
            sys.executable,
            "-m",
            "synthgen",
            "centroids",
            "--endpoint",
            server.endpoint,
            "--json",
            "-q",
        ]
        command += ["--output", str(tmp_path / "c.npy")]
        about = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert (about["num_source_embeddings"], about["num_synthetic_left_out"]) == (7_533, COUNT)
    assert (tmp_path / "c.npy").read_bytes() == (finished / "centroids.npy").read_bytes()


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
    exit_code, _, err = finish(start(finished, *flags))
    assert exit_code == 3 and message in err, err
    assert {path: path.stat().st_mtime_ns for path in finished.iterdir()} == before


def test_a_folder_that_another_server_holds_is_refused(finished: Path) -> None:
    with EmbeddedServer(finished / "server", finished / "server.log"):
        exit_code, _, err = finish(start(finished))
    assert exit_code == 3 and "uses this folder" in err, err


def test_a_database_made_anew_is_filled_again(finished: Path, tmp_path: Path) -> None:
    exit_code, out, err = finish(start(finished, "--data-dir", str(tmp_path / "server"), "--json"))
    assert exit_code == 0, err
    report = json.loads(out)
    assert report["ingested"]["n_acked_before"] == 0 and report["ingested"]["verification"]["is_proven"]


def test_ctrl_c_once_is_resumable(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(folder)
    assert wait_for_phase(process, 1)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)
    exit_code, _, err = finish(process)
    assert exit_code == 130, err
    assert "Traceback" not in err


def test_the_fitted_law_is_judged_against_memories_that_the_fit_never_saw(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    exit_code, out, err = finish(start(folder, "--json", law=()))
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


def test_a_server_that_dies_ends_the_run_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(folder)
    assert wait_for_phase(process, 1)
    servers = [p for p in psutil.Process(process.pid).children() if "serve" in p.cmdline()]
    servers[0].kill()
    exit_code, _, err = finish(process)
    assert exit_code == 3 and "the embedded server ended unasked" in err, err
    assert finish(start(folder))[0] == 0


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
    exit_code, _, err = finish(start(tmp_path / "run", *flags))
    assert exit_code == 2 and not (tmp_path / "run").exists(), err
