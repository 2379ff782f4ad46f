"""What holds for all tests, and for the processes that they start."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Tests run a process a core: more threads in each would only wait for one another, and spin meanwhile.
# Set before numpy is imported; tests of threads name their number.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
# Thousands of processes are started: none of them is to compile again what another has compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# No example has to be quick, since the machine may stall; and they are the same ones each time:
# ``--hypothesis-profile=default`` makes others.
settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")
