"""The files of an embedding model: a folder, or a name on the Hugging Face hub; and what identifies them."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from synthgen.errors import InputError, ResourceError

DEFAULT_MODEL = "sentence-transformers/all-mpnet-base-v2"
FLAG = "--embedding-model"

#: Left out of a download: other frameworks' weights, and what training left.
_NEEDLESS = [
    "onnx/*",
    "openvino/*",
    "*.h5",
    "*.ot",
    "*.msgpack",
    "*.onnx",
    "train_script.py",
    "data_config.json",
]
_OLD_WEIGHTS = "pytorch_model.bin"
#: What a vector depends on: weights, tokenizer, and the settings of both; not what people read.
_SETTINGS = (
    "config.json",
    "config_sentence_transformers.json",
    "merges.txt",
    "modules.json",
    "sentence_*config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.*",
    "*.model",
)
_PIECE_BYTES = 1 << 22


def find_model(name: str) -> Path:
    """Return the folder of the model ``name``: a folder, or a hub name (downloaded where it is not yet).

    The hub is asked once, for what the name stands for now; where it cannot be reached, the copy of an
    earlier run is taken. Raises InputError (no model there), ResourceError (neither network nor copy).
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(folder)
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or not name.strip():
        raise InputError("no such folder", where=f"{FLAG} {name}", next_step="name the folder of a model")
    return _download(name)


def digest_model(folder: Path) -> str:
    """Return SHA-256 (hex) of names and contents of what vectors depend on in the model's ``folder``."""
    whole = sha256()
    for path in sorted(_files_that_count(folder), key=lambda path: path.relative_to(folder).as_posix()):
        piece = sha256()
        with path.open("rb") as file:
            while data := file.read(_PIECE_BYTES):
                piece.update(data)
        whole.update(f"{path.relative_to(folder).as_posix()} {piece.hexdigest()}\n".encode())
    return whole.hexdigest()


def _files_that_count(folder: Path) -> Iterator[Path]:
    for place in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        if place.name in ("onnx", "openvino"):
            continue
        for pattern in _SETTINGS:
            yield from place.glob(pattern)
        # Where both kinds of weights lie side by side, the safe ones are loaded.
        yield from sorted(place.glob("*.safetensors")) or place.glob("*.bin")


def _checked(folder: Path) -> Path:
    if not (folder / "modules.json").is_file() and not (folder / "config.json").is_file():
        raise InputError(
            "is no folder of a sentence-transformers model (no modules.json, no config.json)",
            where=str(folder),
            next_step=f"name another by {FLAG}",
        )
    return folder


def _download(name: str) -> Path:
    """Return the folder of the hub's copy of ``name`` on this disk."""
    hub, errors = import_extra("huggingface_hub"), import_extra("huggingface_hub.errors")
    try:
        folder = Path(hub.snapshot_download(name, ignore_patterns=[*_NEEDLESS, _OLD_WEIGHTS]))
        if not any(folder.glob("*.safetensors")):
            folder = Path(hub.snapshot_download(name, ignore_patterns=_NEEDLESS))
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            "the hub has no such model",
            where=f"{FLAG} {name}",
            next_step="name another, or the folder of a model",
        ) from error
    except errors.HFValidationError as error:
        raise InputError(
            "is neither a folder nor the name of a model on the hub",
            where=f"{FLAG} {name}",
            next_step=f"name a folder, or a model as {DEFAULT_MODEL}",
        ) from error
    except Exception as error:  # whatever the client's layers raise: no network, cut off, a full disk
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ResourceError(
            f"the model {name} is not on this machine and could not be downloaded ({reason[:160]})",
            next_step=f"connect to the network, or name a folder that has it: {FLAG} FOLDER",
        ) from error
    return _checked(folder)


def import_extra(module: str) -> Any:
    """Import a module of the extra ``wikipedia``; raise InputError where it is missing.

    Before the first one, what these libraries would print and tell others by themselves is turned off.
    """
    for name in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS", "DO_NOT_TRACK"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _missing(module) from error


def require_extra(module: str) -> None:
    """Raise InputError where ``module`` of the extra ``wikipedia`` is missing; nothing is imported."""
    try:
        found = find_spec(module) is not None
    except ValueError:  # what find_spec makes of a module that was ruled out
        found = False
    if not found:
        raise _missing(module)


def _missing(module: str) -> InputError:
    return InputError(
        f"embedding articles needs the package {module.partition('.')[0]}",
        next_step="install it: pip install 'synthgen-memories[wikipedia]' (without a GPU first the smaller "
        "torch: pip install torch --index-url https://download.pytorch.org/whl/cpu)",
    )
