"""Third-party packages of the extra ``fidelity``, imported where they are needed and only then."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from synthgen.errors import UsageError

INSTALL = "pip install 'synthgen-memories[fidelity]'"


def need(module: str) -> Any:
    """Import and return ``module``; raise UsageError naming the extra where it is not installed."""
    try:
        with (
            warnings.catch_warnings()
        ):  # SWIG's classes, faiss's among them, warn on import since Python 3.12
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UsageError(
            f"judging geometry needs the package {package}, which is not installed ({error})",
            next_step=f"run {INSTALL}",
        ) from error
