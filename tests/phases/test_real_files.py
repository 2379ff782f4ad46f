"""Files of real memories, as `synthgen wikipedia --output` writes them, are what the later phases take."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from synthgen.cli import main
from synthgen.formats.memory_files import open_writer
from synthgen.formats.vectors import open_vectors
from synthgen.model.mixture import load_mixture
from synthgen.wiki.foundation import load_foundation
from synthgen.wiki.ready import open_ready
from synthgen.wiki.records import LICENCE, block_of
from tests.server.client import Client
from tests.serverproc import ServerProcess, running_server

N = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real titles and embeddings as ready ones, and the two files that they become."""
    made = tmp_path_factory.mktemp("real")
    titles, steps = load_foundation()
    np.save(made / "vital.npy", steps[:N].astype(np.float32))
    (made / "vital.txt").write_text("".join(f"{title}\n" for title in titles[:N]))
    for name in ("real.jsonl", "real.parquet"):
        ready = open_ready(made / "vital.npy")
        with open_writer(made / name, ready.dimension, ready.n_rows) as writer:
            for articles, embeddings in ready.blocks():
                writer.write(block_of(articles, embeddings, "en"))
            writer.finish({"source": str(ready.path), "licence": LICENCE})
    return made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("served") / "data") as running:
        yield running


def run(*argv: str | Path) -> int:
    return main([*map(str, argv), "-q"])


def test_a_model_is_fitted_to_such_a_table(folder: Path, tmp_path: Path) -> None:
    """Any kind of file of the same vectors gives the same model: tests/formats/test_vectors.py."""
    assert run("fit", "--input", folder / "real.parquet", "--output", tmp_path / "model.npz") == 0
    assert load_mixture(tmp_path / "model.npz").about["n_fit_rows"] == N


def test_either_file_is_read_to_be_judged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A verdict takes 1,000 rows and 10 seconds: what is read is compared, and that the command reads it."""
    lines, table = (open_vectors(folder / name) for name in ("real.jsonl", "real.parquet"))
    rows = np.arange(N)
    assert lines.dimension == 768 and np.array_equal(lines.gather(rows), table.gather(rows))
    for name in ("real.jsonl", "real.parquet"):
        assert run("fidelity", folder / name, folder / name) == 3
        assert f"{name}: {N} rows are too few to judge by" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["real.jsonl", "real.parquet"])
def test_either_file_is_sent_and_proven_and_gives_centroids(
    name: str, folder: Path, server: ServerProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = name.replace(".", "-")
    where = ("--endpoint", server.endpoint, "--space", space)
    ledger = ("--ledger", tmp_path / "ledger.jsonl")
    assert run("ingest", "--input", folder / name, *where, *ledger, "--processes", "1") == 0
    assert run("verify", "--input", folder / name, *where) == 0
    assert run("centroids", *where, "--num-centroids", "4", "--output", tmp_path / "c.npy") == 0
    assert np.load(tmp_path / "c.npy").shape == (4, 768)
    capsys.readouterr()
    with Client(server.port) as client:
        title = load_foundation()[0][7]
        answer = client.get("/api/v1/memories/wiki-vital-7", space=space)
        assert answer.status == 200 and answer.json["content"] == title
        assert answer.json["confidence"] == pytest.approx(0.8)


def test_a_row_that_was_changed_is_found_in_the_database(
    folder: Path, server: ServerProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One bit of one number, in a table: what verify reads it by is the table, and not the database."""
    where = ("--endpoint", server.endpoint, "--space", "changed")
    path = tmp_path / "real.parquet"
    table = parquet.read_table(folder / "real.parquet")
    parquet.write_table(table, path)
    assert run("ingest", "--input", path, *where, "--processes", "1") == 0
    vectors = np.array(table["embedding"].to_pylist(), np.float32)
    vectors[83, 45] = np.nextafter(vectors[83, 45], np.float32(1))
    column = pyarrow.FixedSizeListArray.from_arrays(vectors.reshape(-1), 768)
    parquet.write_table(
        table.set_column(table.schema.get_field_index("embedding"), "embedding", column), path
    )
    capsys.readouterr()
    assert run("verify", "--input", path, *where) == 1
    assert "wiki-vital-83" in "".join(capsys.readouterr())
