"""The same datasets made by another process: on other vector code, another BLAS core, other threads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def run_elsewhere(module: str, environment: dict[str, str], check: str = "pass") -> dict[str, str]:
    """Return ``golden_digests()`` of ``module`` as a process with ``environment`` finds them."""
    code = f"import json; {check}; from {module} import golden_digests; print(json.dumps(golden_digests()))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    digests: dict[str, str] = json.loads(result.stdout)
    return digests


def run_without_vector_code(module: str) -> dict[str, str]:
    """Return the digests with the dispatched CPU features of numpy and ours off, which is checked there."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    switchable = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
    if not switchable:
        pytest.skip("this CPU has none of numpy's dispatched features")
    check = (
        "from synthgen.generate import _rows; from synthgen.formats import _lines; "
        "assert not _rows.is_wide and not _lines.is_wide, 'wide code is still on'; "
        "from numpy._core._multiarray_umath import __cpu_features__ as f; "
        f"assert not any(f[name] for name in {switchable!r}), 'vector code is still on'"
    )
    environment = {"NPY_DISABLE_CPU_FEATURES": " ".join(switchable), "SYNTHGEN_BASELINE_CODE": "1"}
    return run_elsewhere(module, environment, check)
