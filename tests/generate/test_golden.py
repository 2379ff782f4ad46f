"""Recorded digests of both laws and of queries: here, without vector code, on another BLAS core."""

import json
from importlib import import_module
from pathlib import Path

import pytest

from tests.generate.elsewhere import run_elsewhere, run_without_vector_code

FOLDER = Path(__file__).parent.parent / "golden"
#: By the name of the file of digests: the module whose ``golden_digests`` makes them.
MODULES = {
    "isotropic": "tests.generate.test_dataset",
    "mixture": "tests.generate.test_mixture",
    "queries": "tests.generate.test_queries",
}


def golden(name: str) -> dict[str, str]:
    digests: dict[str, str] = json.loads((FOLDER / f"{name}.json").read_text())
    return digests


@pytest.mark.parametrize("name", MODULES)
def test_golden_digests(name: str) -> None:
    assert import_module(MODULES[name]).golden_digests() == golden(name)


@pytest.mark.parametrize("name", MODULES)
def test_same_bits_without_vector_code(name: str) -> None:
    assert run_without_vector_code(MODULES[name]) == golden(name)


@pytest.mark.parametrize("threads", ["1", "4"])
@pytest.mark.parametrize("name", MODULES)
def test_same_bits_on_another_blas_core(name: str, threads: str) -> None:
    environment = {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": threads}
    assert run_elsewhere(MODULES[name], environment) == golden(name)
