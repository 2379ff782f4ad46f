"""Fixtures of the tests of phases."""

from tests.generated import folder, whole_files

__all__ = ["folder", "whole_files"]
