"""The ``synthgen`` command: flags -> specs -> phases. No logic of its own.

entry.py ──> config.py (TOML defaults) ──> parser.py (flags.py) ──> commands.py ──> phases
"""

from synthgen.cli.entry import main
from synthgen.cli.parser import make_parser

__all__ = ["main", "make_parser"]
