"""Fixtures of the tests of phases."""

from pathlib import Path

import pytest

from tests.datasets import save_model
from tests.generated import folder, whole_files

__all__ = ["folder", "whole_files"]


@pytest.fixture
def centroids(tmp_path: Path) -> Path:
    """A small model's file."""
    return save_model(tmp_path)
