"""Small generated files of every format, and ways to damage them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synthgen.cli import main
from synthgen.formats.chunks import Digests
from synthgen.formats.manifest import Manifest, manifest_path, read_manifest
from synthgen.model.centroids import save_centroids
from synthgen.phases.datasets import make_dataset
from synthgen.phases.generate import GenerateOptions, generate
from synthgen.specs import FORMATS
from tests.datasets import make_model

#: Three chunks and a short one.
N_ROWS, N_CHUNKS = 3_300, 4
QUIET = GenerateOptions(workers=1, quiet=True)


def make_files(folder: Path, formats: tuple[str, ...] = FORMATS) -> None:
    """Write centroids of 64 components, and one dataset in each of ``formats``, x.jsonl and so on."""
    centroids = folder / "centroids.npy"
    save_centroids(centroids, make_model(7, 64), {})
    for format_ in formats:
        generate(make_dataset(centroids, folder, count=N_ROWS, seed=5), folder / f"x.{format_}", QUIET)


@pytest.fixture(scope="session")
def whole_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of all formats, not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    make_files(folder)
    return folder


@pytest.fixture
def folder(whole_files: Path, tmp_path: Path) -> Path:
    """Files of all formats, of the test's own."""
    return Path(shutil.copytree(whole_files, tmp_path / "files"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def state_of(folder: Path) -> dict[str, str]:
    """Return what is in ``folder``, by name, hidden files too."""
    return {path.name: sha256(path) for path in sorted(folder.iterdir())}


def flip(path: Path, at: int, bit: int = 0) -> None:
    """Turn one bit of byte ``at``."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))


def swap_chunks(path: Path, a: int, b: int) -> None:
    """Exchange the bytes of two chunks of one size."""
    manifest = read_manifest(manifest_path(path))
    data = bytearray(path.read_bytes())
    (a0, a1), (b0, b1) = manifest.byte_range(a), manifest.byte_range(b)
    data[a0:a1], data[b0:b1] = data[b0:b1], data[a0:a1]
    path.write_bytes(data)


def edit_manifest(path: Path, change: Callable[[dict[str, Any]], None], *, forge: bool = False) -> None:
    """Change the manifest of ``path``; ``forge``: so that it agrees with itself again."""
    beside = manifest_path(path)
    document = json.loads(beside.read_text())
    change(document)
    if forge:
        document["digest"] = Digests(chunk["xxh3_128"] for chunk in document["chunks"]).total
    beside.write_text(json.dumps(document))


def swap_digests(a: int, b: int) -> Callable[[dict[str, Any]], None]:
    """Return a change of a manifest: two chunks of one size have each other's digest."""

    def change(document: dict[str, Any]) -> None:
        chunks = document["chunks"]
        chunks[a]["xxh3_128"], chunks[b]["xxh3_128"] = chunks[b]["xxh3_128"], chunks[a]["xxh3_128"]

    return change


def manifest_of(path: Path) -> Manifest:
    return read_manifest(manifest_path(path))


def check_refusal(
    folder: Path, argv: list[str], exit_code: int, message: str, stderr: Callable[[], str]
) -> None:
    """Assert that a command in ``folder`` fails with one line that says ``message``, and touches nothing."""
    before = state_of(folder)
    with contextlib.chdir(folder):
        assert main(argv) == exit_code
    [line] = stderr().splitlines()
    assert message in line
    assert state_of(folder) == before
