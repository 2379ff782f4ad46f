"""Look at what scripts/demo left: whole files, a proven report, the right memories in the database."""

import json
import random
import sys
from pathlib import Path

import numpy as np
import orjson
import requests

from synthgen.formats.manifest import manifest_path, read_manifest
from synthgen.ingest import iter_listing
from synthgen.phases.datasets import load_dataset, open_input, source_of
from synthgen.phases.embedded import EmbeddedServer

COUNT, REAL = 50_000, 7_533


def main() -> None:
    """Raise AssertionError where something is not as promised."""
    folder = Path(sys.argv[1])
    report = json.loads((folder / "run.json").read_text())
    assert report["exit_code"] == 0, report
    for part, count in (("foundation", REAL), ("ingested", COUNT)):
        assert report[part]["verification"]["is_proven"] and report[part]["n_acked"] == count, report[part]
    output = folder / "synthetic.jsonl"
    manifest = read_manifest(manifest_path(output))
    assert manifest.spec.count == COUNT and output.stat().st_size == manifest.n_bytes
    assert np.load(folder / "centroids.npy").shape == (100, 768)
    about = json.loads((folder / "centroids.json").read_text())
    assert about["num_source_embeddings"] == REAL and sum(about["cluster_sizes"]) == REAL
    made = source_of(load_dataset(manifest_path(output))).open()
    read = open_input(output).open()
    rows = random.sample(range(COUNT), 10)
    with EmbeddedServer(folder / "server", folder / "server.log") as server:
        for row in rows:
            memory = orjson.loads(made.read(row, row + 1)[0])
            assert orjson.loads(read.read(row, row + 1)[0]) == memory
            url = f"{server.endpoint}/api/v1/memories/{memory['id']}"
            stored = requests.get(url, timeout=10).json()
            assert stored["content"] == memory["content"], (stored, memory)
        ids = [id_ for page in iter_listing(server.endpoint, embeddings=False) for id_ in page.ids]
    assert len(ids) == len(set(ids)) == COUNT + REAL, len(ids)
    print(f"the demo left {REAL:,} real and {COUNT:,} synthetic memories; rows {rows} recomputed and equal")


if __name__ == "__main__":
    main()
