"""One call of the program: flags, command, exit code; whatever goes wrong becomes one line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence

from synthgen.cli.config import parse
from synthgen.cli.flags import Command
from synthgen.cli.parser import make_parser
from synthgen.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_UNUSABLE, SynthgenError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that ``arguments`` (default: those of the process) name; return its exit code."""
    if sys.platform == "win32":
        print("synthgen runs on Linux and macOS; on Windows use WSL", file=sys.stderr)
        return EXIT_UNUSABLE
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, where no phase says otherwise
    flags = argparse.Namespace()
    try:
        flags = parse(make_parser(), arguments)
        command: Command = flags.command
        return command(flags)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads: no second error
        return EXIT_FAILED
    except (Exception, KeyboardInterrupt) as error:
        if getattr(flags, "verbose", False):
            traceback.print_exception(error)
        from synthgen.runtime.progress import end_living_line

        end_living_line()
        exit_code, text = _explain(error)
        print(f"synthgen: {' '.join(text.split())}", file=sys.stderr)
        return exit_code


def _explain(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the line for a person."""
    if isinstance(error, SynthgenError):
        return error.exit_code, str(error)
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED, "interrupted; the same command continues"
    if isinstance(error, OSError):
        from synthgen.runtime.files import advice_on

        where = f"{error.filename}: " if error.filename else ""
        return EXIT_UNUSABLE, f"{where}{error.strerror or error}; {advice_on(error)}"
    text = f"unexpected {type(error).__name__}: {error}; a defect: run again with -v and report it"
    return EXIT_FAILED, text
