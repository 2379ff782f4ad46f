"""A set of centroids with the titles that lie near them: the model of the isotropic law, and its files.

``centroids.npy``: (k, d) float32. ``centroids.json`` beside it: where they came from, and the titles of
the real memories nearest to each. Reading them needs numpy alone; making them is in fit.py.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import InputError
from synthgen.runtime.files import check_parent_folder, write_whole
from synthgen.specs import ModelRef, canonical_json

FORMAT_VERSION = 1
LAW = "isotropic"
#: Largest absolute component accepted; keeps lengths far from float32's overflow.
_LARGEST = 1e6
_HINT = "make centroids with `synthgen centroids`, or save a (k, d) float32 array with numpy.save"


@dataclass(frozen=True)
class CentroidModel:
    """``centroids`` (k, d) float32, finite, no row all zero; ``titles``: for each centroid the titles of
    the real memories nearest to it, nearest first, or nothing at all.
    """

    centroids: NDArray[np.float32]
    titles: tuple[tuple[str, ...], ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 over the numbers and titles; equal digests make equal datasets."""
        return hashlib.sha256(
            (centroids_digest(self.centroids) + canonical_json({"titles": self.titles})).encode()
        ).hexdigest()

    def reference(self, source: str) -> ModelRef:
        """Return how a spec names this model; ``source`` says where it lies."""
        return ModelRef(LAW, self.digest, int(self.centroids.shape[1]), source)


def centroids_digest(centroids: NDArray[np.float32]) -> str:
    """Return the SHA-256 of shape and little-endian float32 values."""
    head = f"centroids {centroids.shape[0]} {centroids.shape[1]}\n".encode()
    return hashlib.sha256(head + np.ascontiguousarray(centroids, "<f4").tobytes()).hexdigest()


def save_centroids(path: Path, model: CentroidModel, about: dict[str, Any]) -> None:
    """Write ``path`` (.npy) and, beside it, its .json with ``about``, digests and titles; each whole."""
    check_parent_folder(path)
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(model.centroids, "<f4"))
    document = {
        "format_version": FORMAT_VERSION,
        **about,
        "centroids_sha256": centroids_digest(model.centroids),
        "model_digest": model.digest,
        "titles": [list(titles) for titles in model.titles],
    }
    # The .json first: an .npy beside an older .json would be refused, one without any is not.
    path.with_suffix(".json").unlink(missing_ok=True)
    write_whole(path, buffer.getvalue())
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    write_whole(path.with_suffix(".json"), text.encode())


def load_centroids(path: Path) -> CentroidModel:
    """Read centroids, with titles where a .json of ours lies beside them; raise InputError on bad ones."""
    centroids = _read_array(path)
    _check_array(centroids, path)
    return CentroidModel(centroids, _read_titles(path.with_suffix(".json"), centroids))


def as_centroids(array: NDArray[Any]) -> CentroidModel:
    """Return the model of ``array`` (k, d), floats of any width; raise InputError where it is no such."""
    if array.dtype.kind != "f":
        raise InputError("not an array of floating-point numbers", where="centroids", next_step=_HINT)
    centroids = np.array(array, np.float32, order="C")  # of its own: the caller may change his
    _check_array(centroids, Path("centroids"))
    return CentroidModel(centroids)


def read_about(path: Path) -> dict[str, Any]:
    """Return the .json beside the centroids at ``path``, or nothing where there is none."""
    try:
        document = json.loads(path.with_suffix(".json").read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot be read ({error})",
            where=str(path.with_suffix(".json")),
            next_step="delete it (contents then name no titles) or make it again with `synthgen centroids`",
        ) from error
    return document if isinstance(document, dict) else {}


def _read_array(path: Path) -> NDArray[np.float32]:
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError("no such file", where=str(path), next_step=_HINT) from error
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise InputError("not a .npy file of numbers", where=str(path), next_step=_HINT) from error
    if array.dtype.kind != "f":
        raise InputError("not an array of floating-point numbers", where=str(path), next_step=_HINT)
    return np.ascontiguousarray(array, np.float32)


def _check_array(centroids: NDArray[np.float32], path: Path) -> None:
    if centroids.ndim != 2 or 0 in centroids.shape:
        raise InputError(f"shape {centroids.shape}, needs (k, d)", where=str(path), next_step=_HINT)
    good = np.isfinite(centroids).all(axis=1) & (np.abs(centroids).max(axis=1) < _LARGEST)
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise InputError(f"row {row} holds NaN, infinite or huge numbers", where=str(path), next_step=_HINT)
    if not centroids.any(axis=1).all():
        row = int(np.flatnonzero(~centroids.any(axis=1))[0])
        raise InputError(f"row {row} is all zeros, which is no direction", where=str(path), next_step=_HINT)


def _read_titles(path: Path, centroids: NDArray[np.float32]) -> tuple[tuple[str, ...], ...]:
    document = read_about(path)
    if "centroids_sha256" not in document:
        return ()  # none, or another tool's
    if document["centroids_sha256"] != centroids_digest(centroids):
        raise InputError(
            "describes other centroids than the .npy beside it",
            where=str(path),
            next_step="delete it (contents then name no titles) or make both again with `synthgen centroids`",
        )
    return tuple(tuple(str(title) for title in titles) for titles in document.get("titles", []))
