"""Fixtures of the tests of phases."""

from functools import partial
from pathlib import Path

import pytest

from synthgen.fidelity import JudgeOptions
from tests.datasets import save_model
from tests.generated import folder, whole_files

__all__ = ["folder", "whole_files"]


@pytest.fixture
def centroids(tmp_path: Path) -> Path:
    """A small model's file."""
    return save_model(tmp_path)


@pytest.fixture
def few_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts of this process rest on three splits of the real rows instead of many: a third of the time."""
    monkeypatch.setattr("synthgen.phases.realism.JudgeOptions", partial(JudgeOptions, n_splits=3))
