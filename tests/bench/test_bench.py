"""``python -m bench`` from end to end on tiny counts: tables are printed, and the JSON kept is whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import peer
from bench.commands import save_centroids
from bench.memory import row_counts
from bench.settings import Settings
from bench.sink import answer_to, body_length
from bench.table import Spread, Table, format_number

ROOT = Path(__file__).parents[2]
PEER = """
import argparse, pathlib
parser = argparse.ArgumentParser()
for name in ("--centroids", "--count", "--output"):
    parser.add_argument(name)
flags = parser.parse_args()
pathlib.Path(flags.output).write_text("{}" * int(flags.count))
"""
SINKS = ["/dev/null", "a file"]


def bench(output: Path, *flags: str) -> tuple[str, dict[str, Any]]:
    """Run one question, once and without a peer; return what it printed and what it kept."""
    command = [
        sys.executable,
        "-m",
        "bench",
        *flags,
        "--quick",
        "--repetitions",
        "1",
        "--output",
        str(output),
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SYNTHGEN_PEER")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [path] = output.iterdir()  # one JSON, and no scratch left behind
    assert path.name in done.stdout
    return done.stdout, json.loads(path.read_text())


def test_generation(tmp_path: Path) -> None:
    printed, document = bench(tmp_path / "out", "generation", "--rows", "2000", "--workers", "1")
    assert {"cpu_model", "cores", "memory_bytes", "kernel", "python", "packages"} <= document["host"].keys()
    assert document["host"]["packages"]["numpy"]
    assert document["question"] == "generation"
    configuration = document["configuration"]
    assert (configuration["rows"], configuration["repetitions"], configuration["peer"]) == (2_000, 1, None)
    for table in document["tables"]:
        assert table["title"] in printed
        assert all(len(row) == len(table["columns"]) for row in table["rows"])
    [found, steps, beside] = document["measurements"]
    assert found["workers"] == 1
    assert found["file_rows_per_s"] > 0
    assert found["disk_bytes_per_s"] > 0
    assert len(steps["cpu_ns_per_number"]) == 4
    assert all(spent > 0 for spent in beside["beside_cpu_ns_per_number"].values())


def test_a_peer_is_timed_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "peer.py"
    script.write_text(PEER)
    monkeypatch.setenv("SYNTHGEN_PEER_GENERATOR", str(script))
    settings = Settings(tmp_path, "quick", repetitions=2)
    centroids = save_centroids(tmp_path)
    monkeypatch.setattr(peer, "CASES", [case for case in peer.CASES if case.who == "peer"])
    slopes = peer.measure(settings, tmp_path, centroids, 4_000)
    assert [slope.case for slope in slopes] == [f"peer, to {sink}" for sink in SINKS + SINKS[::-1]]
    assert {slope.counts for slope in slopes} == {(20, 200)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["centroids.npy", "peer.py"]
    assert peer.describe(4_000)["peer"] == "peer.py"


def test_ratios_are_to_the_best_of_the_peer() -> None:
    times_s = {"ours, all cores, to a file": (1.0, 2.0), "peer, to /dev/null": (1.5, 10.5)}
    slopes = [peer.Slope(str(case), (100, 1_000), times_s.get(str(case), (2.0, 20.0))) for case in peer.CASES]
    rows = {row[0]: row for row in peer.make_table(slopes).rows}
    assert rows["peer, to /dev/null"][2:4] == (100.0, 1.0)
    assert rows["ours, all cores, to a file"][2:4] == (900.0, 9.0)
    assert rows["peer, to a file"][3] == 0.5


def test_delivery(tmp_path: Path) -> None:
    pytest.importorskip("uvloop")
    _, document = bench(tmp_path / "out", "delivery", "--rows", "300")
    by_target = {m["target"]: m for m in document["measurements"]}
    assert {target: m["rows"] for target, m in by_target.items()} == {"embedded": 300, "sink": 300}
    assert by_target["embedded"]["verified_rows_per_s"] > 0


def test_memory(tmp_path: Path) -> None:
    pytest.importorskip("uvloop")
    _, document = bench(tmp_path / "out", "memory", "--rows", "1")
    peaks = {m["part"]: m["peak_bytes"] for m in document["measurements"]}
    assert peaks.keys() == {"generate", "ingest", "verify", "server"}
    assert all(10e6 < peak < 1e9 for peak in peaks.values())


def test_memory_is_measured_at_two_counts() -> None:
    assert row_counts(Settings(Path("unused"), rows=3_000)) == [300, 3_000]


def test_an_unknown_question_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "luck"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "there are generation, " in done.stderr


def test_spread_leaves_out_what_could_not_be_measured() -> None:
    assert Spread.of([3.0, None, 1.0, 2.0]) == Spread(1.0, 2.0, 3.0, 3)
    assert str(Spread.of([])) == "-"


def test_a_table_lines_up() -> None:
    table = Table("title", ("what", "n"), [("a", 1_234), ("bc", None)], ("note",))
    assert table.lines() == ["title", "  what      n", "  a     1,234", "  bc        -", "  * note"]
    assert format_number(0.123) == "0.12"


def test_the_sink_reads_no_more_than_it_must() -> None:
    assert body_length(b"POST /x HTTP/1.1\r\nContent-Length: 17\r\nA: b") == 17
    assert body_length(b"GET /x HTTP/1.1\r\nA: b") == 0
    assert answer_to(b"POST /api/v1/memories/remember HTTP/1.1").startswith(b"HTTP/1.1 201")
    assert b'"memories": []' in answer_to(b"GET /api/v1/memories?limit=0 HTTP/1.1")
