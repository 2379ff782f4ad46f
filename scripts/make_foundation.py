"""Make the built-in foundation: titles and embeddings of 7,533 real Wikipedia articles, as package data.

    python scripts/make_foundation.py ARTICLES.jsonl.zst EMBEDDINGS.npy

ARTICLES: a line a row with "row" and "title" (its text is not read into the package); EMBEDDINGS: (n, 768)
of all-mpnet-base-v2, unit length, row = line. Components are rounded to multiples of 2**-12 and stored as
two byte planes, a column after the other, which deflate packs to 9.3 bits a component. The error is
measured here and stated beside the data. Needs the ``zstd`` command.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parent.parent / "synthgen" / "wiki" / "data"
STEP_BITS = 12


def read_titles(path: Path) -> list[str]:
    """Return the titles in row order."""
    text = subprocess.run(["zstd", "-dc", str(path)], check=True, capture_output=True).stdout
    articles = [json.loads(line) for line in text.splitlines()]
    assert [article["row"] for article in articles] == list(range(len(articles)))
    return [article["title"] for article in articles]


def quantise(embeddings: NDArray[Any]) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Return the embeddings in steps of 2**-12, and the cosine of each row to its original."""
    exact = embeddings.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    steps = np.rint(exact * 2**STEP_BITS).astype(np.int16)
    cosines = (exact * steps).sum(axis=1) / np.linalg.norm(steps.astype(np.float64), axis=1)
    return steps, cosines


def main() -> None:
    """Write foundation.npz and foundation.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("articles", type=Path, metavar="ARTICLES.jsonl.zst")
    parser.add_argument("embeddings", type=Path, metavar="EMBEDDINGS.npy")
    files = parser.parse_args()
    titles = read_titles(files.articles)
    steps, cosines = quantise(np.load(files.embeddings))
    assert len(titles) == len(steps)
    columns = np.ascontiguousarray(steps.T)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        high=(columns >> 8).astype(np.int8),
        low=(columns & 255).astype(np.uint8),
        titles=np.frombuffer("\n".join(titles).encode(), np.uint8),
    )
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "foundation.npz").write_bytes(buffer.getvalue())
    about = {
        "what": "titles and embeddings of English Wikipedia's vital articles",
        "rows": len(titles),
        "dimension": int(steps.shape[1]),
        "embedded_text": "title, newline, summary; the texts themselves are not in the package",
        "embedding_model": "sentence-transformers/all-mpnet-base-v2, float32, mean pooling, unit length",
        "encoding": f"component = (high * 256 + low) / {2**STEP_BITS}, column after column",
        "cosine_to_original": {
            "mean": round(float(cosines.mean()), 7),
            "min": round(float(cosines.min()), 7),
        },
        "original": "float16, unit length, sha256 "
        + hashlib.sha256(files.embeddings.read_bytes()).hexdigest(),
        "sha256": hashlib.sha256(steps.astype("<i2").tobytes() + "\n".join(titles).encode()).hexdigest(),
        "attribution": "Wikipedia contributors, https://en.wikipedia.org/wiki/Wikipedia:Vital_articles",
        "license": "CC BY-SA 4.0, https://creativecommons.org/licenses/by-sa/4.0/",
    }
    (FOLDER / "foundation.json").write_text(json.dumps(about, indent=2) + "\n")
    print(json.dumps(about, indent=2), f"\n{len(buffer.getvalue()):,} bytes")


if __name__ == "__main__":
    main()
