"""The ``synthgen`` command: flags -> specs -> phases. No logic of its own.

entry.py ──> config.py (TOML defaults) ──> parser.py (flags.py) ──> commands.py ──> phases
"""

import argparse
from collections.abc import Sequence

from synthgen.errors import EXIT_INTERRUPTED

__all__ = ["main", "make_parser"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that ``arguments`` (default: those of the process) name; return its exit code."""
    try:
        from synthgen.cli import entry
    except KeyboardInterrupt:  # loading takes a tenth of a second
        return EXIT_INTERRUPTED
    return entry.main(arguments)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    from synthgen.cli import parser

    return parser.make_parser()
