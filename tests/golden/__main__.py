"""Make recorded digests anew: ``python -m tests.golden NAME ...`` of those below."""

import json
import sys
from importlib import import_module
from pathlib import Path

from tests.generate.test_golden import MODULES

if not set(sys.argv[1:]) <= MODULES.keys() or not sys.argv[1:]:
    sys.exit(f"name what to make anew: {', '.join(MODULES)}")
for name in sys.argv[1:]:
    digests = import_module(MODULES[name]).golden_digests()
    path = Path(__file__).with_name(f"{name}.json")
    path.write_text(json.dumps(digests, indent=2) + "\n")
