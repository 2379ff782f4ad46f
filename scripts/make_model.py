"""Make the built-in model: the mixture law fitted to the built-in foundation, as package data.

    python scripts/make_model.py

Writes synthgen/model/data/builtin.npz and LICENSE.txt beside it. The same machine makes the same model again;
another one may make another, since k-means differs in last bits: then the datasets of the default model
differ, and GENERATOR_VERSION must rise.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from synthgen.model.mixture import load_mixture, save_mixture
from synthgen.model.mixture_fit import ArraySource, fit_mixture
from synthgen.specs import DEFAULT_SEED
from synthgen.wiki import foundation

FOLDER = Path(__file__).parent.parent / "synthgen" / "model" / "data"
LICENSE = """\
builtin.npz is a statistical model fitted to the embeddings of 7,533 articles of the English Wikipedia (the
built-in foundation of synthgen.wiki): made-up vectors, cluster centres, and the titles of those articles. It
holds no article text and no article's embedding.

Titles and the texts behind the embeddings: (c) Wikipedia contributors, licensed under the Creative Commons
Attribution-ShareAlike 4.0 International licence (CC BY-SA 4.0),
https://creativecommons.org/licenses/by-sa/4.0/. Changes: summaries were replaced by their embeddings, and
these by a model fitted to them (scripts/make_model.py). The data in this folder is shared under the same
licence; the code of synthgen is under the Apache License 2.0.

Article histories and authors: https://en.wikipedia.org/wiki/<title>?action=history
"""


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def main() -> None:
    """Fit, write, and say what was made."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    titles, steps = foundation.load_foundation()
    units = steps.astype(np.float32) / 2**12
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    model = fit_mixture(
        ArraySource(units, titles), DEFAULT_SEED, note=lambda text: print(text, file=sys.stderr)
    )
    about = {
        "source": "built-in foundation: embeddings of 7,533 articles of the English Wikipedia",
        "source_sha256": foundation.about()["sha256"],
        "embedding_model": foundation.about()["embedding_model"],
        "attribution": foundation.about()["attribution"],
        "license": foundation.about()["license"],
    }
    model = replace(model, about={**about, **model.about})
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / "builtin.npz"
    save_mixture(path, model)
    (FOLDER / "LICENSE.txt").write_text(LICENSE)
    assert load_mixture(path).digest == model.digest
    print(json.dumps({**model.about, "digest": model.digest, "bytes": path.stat().st_size}, indent=2))


if __name__ == "__main__":
    main()
