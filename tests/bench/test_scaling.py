"""The question of scaling: its arithmetic, and a small run of all of it."""

from pathlib import Path

import pytest

from bench.scaling import serial_fraction
from tests.bench.test_bench import bench


@pytest.mark.parametrize(("serial", "n"), [(0.0, 2), (0.1, 2), (0.5, 8), (1.0, 64)])
def test_the_serial_share_is_that_of_amdahls_law(serial: float, n: int) -> None:
    speedup = 1 / (serial + (1 - serial) / n)
    assert serial_fraction(speedup, n) == pytest.approx(serial)


def test_scaling(tmp_path: Path) -> None:
    printed, document = bench(tmp_path, "scaling", "--rows", "8000")
    [scaling, parent] = document["tables"]
    assert scaling["title"] in printed and parent["title"] in printed
    assert [row[0] for row in scaling["rows"]] == list(range(1, len(scaling["rows"]) + 1))
    assert "what limits" in printed or "nothing to compare" in printed
    runs = [found for found in document["measurements"] if "parent_cpu_s" in found]
    outputs = {"null", "rows.jsonl", "saturated null", "saturated rows.npy"}
    assert {run["output"] for run in runs} == outputs
    assert [row[0] for row in parent["rows"]][-2:] == ["to nowhere, always busy", "to a file, always busy"]
    probes = [found for found in document["measurements"] if "copied_bytes_per_s" in found]
    assert all(min(probe["cached_bytes_per_s"], probe["copied_bytes_per_s"]) > 0 for probe in probes)
