"""`bench server` on few memories, and whether it finds out what a server gets wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench import server
from bench.nearest import unit
from bench.probes import Probes, as_json, first_right_s, make_probes, open_rows, recall_by_kind, recall_rows
from bench.process import folder_bytes, status_bytes
from bench.served import Served
from bench.server import FIGURES, Stay, make_table, sizes_of
from bench.settings import Settings
from bench.vectorset import SHIFT, law_queries
from synthgen.errors import ResourceError, SynthgenError, TargetError, UsageError
from tests.bench.test_bench import bench

pytest.importorskip("uvloop")

N_ROWS = 150


@pytest.fixture(scope="module")
def probes() -> Probes:
    return make_probes(N_ROWS, 6, 4)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with Served(folder / "data", folder / "log") as started:
        started.start()
        server._ingest(started, folder, N_ROWS)
        assert [path.name for path in folder.iterdir() if path.is_file()] == ["log"]
        yield started


def test_end_to_end(tmp_path: Path) -> None:
    printed, document = bench(tmp_path / "out", "server", "--rows", "120,300")
    assert [one["rows"] for one in document["measurements"]] == [120, 300]
    for one in document["measurements"]:
        figures = one["figures"]
        assert figures.keys() >= FIGURES.keys()
        assert [figures[f"exact_{kind}"] for kind in ("law", "shifted")] == [1, 1]
        assert figures["recall_queries"] == 200 and figures["recall_law"] > 0.9
        timed = [figures[name] for name in FIGURES if name.endswith(("_ms", "_s")) and name != "zero_s"]
        assert None not in timed and min(timed) > 0
        assert figures["disk_bytes_a_row"] > 3_072
    [table] = document["tables"]
    assert table["columns"] == ["what", "120", "300"] and table["title"] in printed


def test_probes_are_held_out_and_their_neighbours_true(probes: Probes) -> None:
    rows = unit(open_rows(N_ROWS).embeddings())
    queries = np.array([json.loads(text) for text in probes.queries], np.float32)
    assert np.array_equal(queries[::2], law_queries(3, 0.0)) and np.array_equal(
        queries[1::2], law_queries(3, SHIFT)
    )
    assert probes.true == np.argsort(-(queries @ rows.T), axis=1)[:, :10].tolist()
    assert probes.stored.keys() == {0, 75, 149}
    assert json.loads(probes.stored[149]) == pytest.approx(open_rows(N_ROWS)[149].embedding.tolist())
    assert len(probes.words) == 4 and all(word.isalpha() for word in probes.words)


def test_numbers_travel_exactly() -> None:
    vector = np.random.default_rng(1).standard_normal(768).astype(np.float32)
    assert np.array_equal(np.array(json.loads(as_json(vector)), np.float32), vector)


def test_recalls_of_a_server_are_those_of_comparing_with_all(served: Served, probes: Probes) -> None:
    found = [recall_rows(served, query, mode="exact")[1] for query in probes.queries]
    assert found == probes.true
    assert recall_by_kind(found, probes) == {"law": 1, "shifted": 1}
    found[1] = found[1][:5]
    assert recall_by_kind(found[:2], probes) == {"law": 1, "shifted": 0.5}


def test_the_last_row_has_to_be_found(served: Served, probes: Probes) -> None:
    assert first_right_s(served, probes, limit_s=600) is not None
    wrong = Probes([], [], {**probes.stored, 148: probes.stored[149]}, [])
    assert first_right_s(served, wrong, limit_s=served.running_s() + 0.2) is None


def test_a_lost_memory_is_found_out(tmp_path: Path, probes: Probes) -> None:
    with Served(tmp_path / "data", tmp_path / "log") as losing:
        losing.start()
        server._ingest(losing, tmp_path, N_ROWS)
        losing.kill()
        assert server._restart(losing, probes, N_ROWS, "killed")["killed_right_s"]
        losing.kill()
        with pytest.raises(SynthgenError, match=r"killed and started again, it has 150 of 151 acknowledged"):
            server._restart(losing, probes, N_ROWS + 1, "killed")


def test_a_refusal_is_told(served: Served) -> None:
    with pytest.raises(TargetError, match="answered 400 to GET /api/v1/memories/recall"):
        served.get("/api/v1/memories/recall", embedding="[1,2]")


def test_a_server_that_cannot_start_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(ResourceError, match="the server did not start"):
        Served(tmp_path / "data", tmp_path / "log").start()


def test_a_lag_that_nobody_tells_is_not_known(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    lags = iter([{"index_lag": 7}, {"index_lag": 3}, {"index_lag": 0}])
    monkeypatch.setattr(served, "get", lambda path: (0.0, next(lags)))
    found = server._settle(served)
    assert found["lag"] == 7 and (found["zero_s"] or 0) > 0
    monkeypatch.setattr(served, "get", lambda path: (0.0, {}))
    assert server._settle(served) == {"lag": None, "zero_s": None}


def test_sizes_are_those_asked_for(tmp_path: Path) -> None:
    assert sizes_of(Settings(tmp_path, "quick")) == [2_000]
    assert sizes_of(Settings(tmp_path, rows=700)) == [700]
    assert sizes_of(Settings(tmp_path, rows=700, sizes=(700, 500))) == [500, 700]
    with pytest.raises(UsageError, match="at least 100"):
        server.run(Settings(tmp_path, sizes=(99, 200)))


def test_the_table_has_a_column_for_each_size() -> None:
    known = dict.fromkeys(FIGURES, 2.0) | {"recall_queries": 200, "exact_queries": 20, "lag": None}
    table = make_table([Stay(100, known), Stay(100, known | {"recall_law": 1.0}), Stay(200, known)])
    assert table.columns == ("what", "100", "200")
    cells = {row[0]: row[1:] for row in table.rows}
    assert cells["recall@10, queries of the law"] == ("1.500", "2.000")
    assert [str(cell) for cell in cells["index_lag after ingest"]] == ["-", "-"]


def test_sizes_of_processes_and_folders(served: Served, tmp_path: Path) -> None:
    resident, peak = status_bytes("VmRSS", served.pid), status_bytes("VmHWM", served.pid)
    if resident is not None and peak is not None:
        assert 10e6 < resident <= peak < 1e9
    assert status_bytes("VmRSS", 2**30) is None
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(bytes(range(1, 101)) * 1_000)
    assert 100_000 <= folder_bytes(tmp_path) < 200_000
