"""What a server of rows of the fitted law is asked, and what is true by comparing with all of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

import synthgen
from bench.nearest import Nearest, Vectors, recall_of, unit
from bench.served import Served
from bench.vectorset import SHIFT, law_queries
from synthgen.formats.memories import MemoryDataset
from synthgen.specs import DEFAULT_SEED

RECALL, COMPLETE = "/api/v1/memories/recall", "/api/v1/complete"
#: Kinds of queries, in turn.
KINDS = ("law", "shifted")
_BLOCK_ROWS = 8_192
_WORD = re.compile(r"[^\W\d_]{3,}")


@dataclass(frozen=True)
class Probes:
    """Queries as JSON (``queries[i]`` is of ``KINDS[i % 2]``) with the true 10 rows of each; ``stored``: some
    rows, the last among them, with their own vectors as JSON; ``words`` that some contents hold.
    """

    queries: list[str]
    true: list[list[int]]
    stored: dict[int, str]
    words: list[str]


def open_rows(n_rows: int) -> MemoryDataset:
    """Return the memories that ``synthgen generate --count N`` writes."""
    return synthgen.open_dataset(count=n_rows, seed=DEFAULT_SEED)


def make_probes(n_rows: int, n_queries: int, n_words: int) -> Probes:
    """Return probes of the first ``n_rows`` rows; compares with all of them in float32."""
    rows = open_rows(n_rows)
    asked = [law_queries(-(-n_queries // len(KINDS)), shift) for shift in (0.0, SHIFT)]
    queries = np.stack(asked, axis=1).reshape(-1, asked[0].shape[1])[:n_queries]
    nearest = Nearest(queries)
    for start in range(0, n_rows, _BLOCK_ROWS):
        nearest.show(start, unit(rows.embeddings(start, start + _BLOCK_ROWS)))
    stored = {row: as_json(rows[row].embedding) for row in sorted({0, n_rows // 2, n_rows - 1})}
    spread = np.linspace(0, n_rows - 1, n_words).astype(int).tolist()
    words = [_WORD.findall(rows[row].content)[-1] for row in spread]
    return Probes([as_json(query) for query in queries], nearest.rows.tolist(), stored, words)


def as_json(vector: Vectors) -> str:
    """Return ``vector`` (d,) as a JSON array, each number exact as float32."""
    return f"[{','.join(f'{value:.9g}' for value in vector)}]"


def recall_rows(server: Served, vector: str, **query: str) -> tuple[float, list[int]]:
    """Recall 10 memories by ``vector``; return the seconds, and their rows, the best first."""
    took_s, document = server.get(RECALL, embedding=vector, max_results=10, **query)
    found = [item for part in document["memories"].values() for item in part]
    return took_s, [int(item["id"].rpartition("-")[2]) for item in found]


def complete(server: Served, vector: str) -> float:
    """Have ``vector`` completed of which every other component is known; return the seconds."""
    values = vector[1:-1].split(",")
    values[::2] = ["null"] * len(values[::2])
    cue = f'{{"partial_embedding":[{",".join(values)}]}}'
    return server.post(COMPLETE, f'{{"partial_episode":{cue},"config":{{"ca1_threshold":0}}}}')[0]


def first_right_s(server: Served, probes: Probes, limit_s: float) -> float | None:
    """Return the seconds since the start until each stored row is the first that its own vector recalls; None
    when that is not so after ``limit_s``.
    """
    while server.running_s() < limit_s:
        if all(recall_rows(server, vector)[1][:1] == [row] for row, vector in probes.stored.items()):
            return server.running_s()
    return None


def recall_by_kind(found: list[list[int]], probes: Probes) -> dict[str, float | None]:
    """Return recall@10 of the first queries, which ``found`` answers, by kind."""
    true = probes.true[: len(found)]
    step = len(KINDS)
    return {kind: recall_of(found[at::step], true[at::step]) for at, kind in enumerate(KINDS)}
