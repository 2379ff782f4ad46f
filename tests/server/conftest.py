from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that `tests.serverproc` can be imported

from tests.serverproc import ServerProcess, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for a module; tests keep apart by spaces and ids of their own."""
    with running_server(tmp_path_factory.mktemp("server") / "data") as running:
        yield running
        assert running.stop() == 0
        assert running.errors.read_text() == ""
