"""The fitted model: virtual anchors, the clusters that they share, and tables of integers; and its file.

A row of the law (generate/mixture.py) is an anchor, drawn towards mixtures of its neighbours. Everything that
a row depends on is an integer here, so that every machine makes the same rows from one file. No real vector
is in it. Reading needs numpy alone; fitting is in mixture_fit.py.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import InputError
from synthgen.runtime.files import check_parent_folder, write_whole
from synthgen.specs import ModelRef, canonical_json

FORMAT_VERSION = 2
LAW = "mixture"
#: By how many bits the middle is finer than anchors: it is the same in all rows, and so would be its error.
MIDDLE_BITS = 4
_HINT = "make a model with `synthgen fit`"


@dataclass(frozen=True)
class MixtureModel:
    """V virtual anchors in d dimensions, K overlapping clusters in T clusterings.

    ``anchors`` (V, d) and ``centroids`` (K, d) int8, components of (near) unit vectors less ``middle``, in
    units of 2**-``unit_bits``, 127 at most in size; ``middle`` (d,) int32, in units of 2**-(``unit_bits`` +
    4): what all rows have in common, however large beside what they differ by;
    ``labels`` (V, T, 2) int32, nearest and second nearest cluster of
    each anchor in each clustering; ``members`` (M,) int32 anchors by cluster, those of cluster c at
    ``starts[c]:starts[c + 1]`` (``starts`` (K + 1,) int64, no cluster empty); ``popularity`` (V,) uint32,
    ascending: anchor u is drawn by a 32-bit word below popularity[u] and not below popularity[u - 1] (the
    last one by what is left, too); ``tightness`` (V,) int32 in 2**-16: how far rows stray from the anchor, 1
    on average; ``spread`` (K,) int32 in 2**-24: standard deviation per component of cluster c; ``stay``
    (4096,) int32 in 2**-16: equally likely values of b in own = 1 - min(1, b x tightness); ``simplex`` (4096,
    4) int32 in 2**-16: equally likely square roots of weights that sum to 1; ``stretch`` (16, 256) int32 in
    2**-16: factors of the distance from the centroid, by tightness (sixteenths, clipped at 1) and equally
    likely values; ``lengths`` (V,) int32 in 2**-16 of ``scale``, or empty where all vectors have the length
    ``scale``; ``settings``: numbers of the law, by name (tau, iso, pool, gain, first, second); ``titles``: a
    real title for each anchor, or none; ``about``: provenance, no part of the digest.
    """

    anchors: NDArray[np.int8]
    centroids: NDArray[np.int8]
    middle: NDArray[np.int32]
    labels: NDArray[np.int32]
    members: NDArray[np.int32]
    starts: NDArray[np.int64]
    popularity: NDArray[np.uint32]
    tightness: NDArray[np.int32]
    spread: NDArray[np.int32]
    stay: NDArray[np.int32]
    simplex: NDArray[np.int32]
    stretch: NDArray[np.int32]
    lengths: NDArray[np.int32]
    unit_bits: int
    scale: float
    settings: dict[str, float]
    titles: tuple[str, ...]
    about: dict[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 over all numbers and titles; equal digests make equal datasets."""
        hasher = hashlib.sha256(canonical_json(self._scalars()).encode())
        for name, array in self._arrays().items():
            hasher.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            hasher.update(np.ascontiguousarray(array).tobytes())
        return hasher.hexdigest()

    def reference(self, source: str) -> ModelRef:
        """Return how a spec names this model; ``source`` says where it lies."""
        return ModelRef(LAW, self.digest, int(self.anchors.shape[1]), source)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays = {}
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                arrays[name] = value.astype(value.dtype.newbyteorder("<"), copy=False)
        return arrays

    def _scalars(self) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "unit_bits": self.unit_bits,
            "scale": self.scale,
            "settings": self.settings,
            "titles": list(self.titles),
        }


def save_mixture(path: Path, model: MixtureModel) -> None:
    """Write ``model`` to ``path`` (.npz), whole."""
    check_parent_folder(path)
    document = {**model._scalars(), "digest": model.digest, "about": model.about}
    text = np.frombuffer(json.dumps(document, ensure_ascii=False).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, document=text, **model._arrays())  # type: ignore[arg-type]
    write_whole(path, buffer.getvalue())


def load_mixture(path: Path) -> MixtureModel:
    """Read a model; raise InputError when it is none, damaged, or of another version."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            parts: dict[str, Any] = {name: data[name] for name in data.files}
        document = json.loads(parts.pop("document").tobytes())
        stated, about = document.pop("digest"), document.pop("about")
        version = document.pop("format_version")
    except FileNotFoundError as error:
        raise InputError("no such file", where=str(path), next_step=_HINT) from error
    except Exception as error:  # zipfile, zlib, numpy and json each have their own
        raise InputError("not a model file, or a damaged one", where=str(path), next_step=_HINT) from error
    if version != FORMAT_VERSION:
        raise InputError(
            f"a model of format version {version}, this program reads {FORMAT_VERSION}",
            where=str(path),
            next_step="fit it again with `synthgen fit`",
        )
    try:
        model = MixtureModel(**parts, **{**document, "titles": tuple(document["titles"])}, about=about)
    except (TypeError, KeyError) as error:
        raise InputError("a damaged model file", where=str(path), next_step=_HINT) from error
    if not (math.isfinite(model.scale) and model.scale > 0):
        raise InputError("a damaged model file", where=str(path), next_step=_HINT)
    if model.digest != stated:
        raise InputError("damaged (its digest does not match)", where=str(path), next_step=_HINT)
    return model
