"""Generating loads neither scikit-learn, pyarrow nor requests."""

import subprocess
import sys


def test_generating_imports_little() -> None:
    code = (
        "import sys, synthgen.cli, synthgen.phases.generate, synthgen.phases.datasets; "
        "heavy = {'sklearn', 'scipy', 'pyarrow', 'requests', 'uvloop'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
