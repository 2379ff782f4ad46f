"""The built-in foundation: real titles, real embeddings, their stated error."""

import hashlib
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from synthgen.wiki.foundation import Foundation, about, load_foundation

#: The original that the package data was made from; an extra, where a checkout has it.
ORIGINAL = Path(__file__).parents[3] / "shared" / "data" / "wiki_en_mpnet_7533.npy"


def test_it_is_whole_and_small() -> None:
    titles, steps = load_foundation()
    assert len(titles) == len(set(titles)) == 7_533 and steps.shape == (7_533, 768)
    digest = hashlib.sha256(steps.astype("<i2").tobytes() + "\n".join(titles).encode()).hexdigest()
    assert digest == about()["sha256"] == Foundation().digest
    folder = files("synthgen.wiki") / "data"
    assert sum(len(item.read_bytes()) for item in folder.iterdir()) < 8_000_000
    assert "CC BY-SA 4.0" in about()["license"] and "CC BY-SA 4.0" in (folder / "LICENSE.txt").read_text()


def test_rows_are_unit_vectors_with_their_titles() -> None:
    foundation = Foundation()
    blocks = list(foundation.blocks(0, 7_533))
    embeddings = np.concatenate([rows.embeddings for rows in blocks]) / 1e6
    assert np.abs(np.linalg.norm(embeddings, axis=1) - 1).max() < 1e-5
    contents = [json.loads(row.tobytes()) for rows in blocks for row in rows.contents]
    assert tuple(contents) == load_foundation()[0]
    ids = [row.tobytes().decode() for rows in blocks for row in rows.ids]
    assert len(set(ids)) == 7_533 and ids[17] == "wiki-vital-0017"


def test_neighbours_are_of_the_same_topic() -> None:
    titles, steps = load_foundation()
    x = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    row = titles.index("Mars")
    nearest = [titles[i] for i in np.argsort(-(x @ x[row]))[1:6]]
    assert {"Venus", "Saturn"} <= set(nearest), nearest


@pytest.mark.skipif(not ORIGINAL.exists(), reason="the original embeddings are not at hand")
def test_the_stated_error_is_the_real_one() -> None:
    original = np.load(ORIGINAL).astype(np.float64)
    stored = np.concatenate([rows.embeddings for rows in Foundation().blocks(0, 7_533)]).astype(np.float64)
    cosines = (original * stored).sum(axis=1)
    cosines /= np.linalg.norm(original, axis=1) * np.linalg.norm(stored, axis=1)
    stated = about()["cosine_to_original"]
    assert cosines.mean() >= 0.9999 and cosines.min() >= 0.9998
    assert abs(cosines.mean() - stated["mean"]) < 1e-6 and abs(cosines.min() - stated["min"]) < 1e-6
