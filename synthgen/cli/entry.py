"""One call of the program: flags, command, exit code; whatever goes wrong becomes one line."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import traceback
from collections.abc import Sequence

from synthgen.cli.config import parse
from synthgen.cli.flags import Command
from synthgen.cli.parser import make_parser
from synthgen.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_UNUSABLE, SynthgenError
from synthgen.runtime.streams import explained_output, mute


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
        with explained_output():
            return command(flags)
    except BrokenPipeError:
        mute(sys.stdout)  # nobody reads: no second error
        return EXIT_FAILED
    except (Exception, KeyboardInterrupt) as error:
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # no second error from within this one
        try:
            return _tell(error, with_trace=getattr(flags, "verbose", False))
        finally:
            signal.signal(signal.SIGINT, previous)


def _tell(error: BaseException, *, with_trace: bool) -> int:
    """Write what went wrong to standard error, as one line; return the exit code."""
    from synthgen.runtime.progress import end_living_line

    exit_code, text = _explain(error)
    with contextlib.suppress(OSError):  # the terminal is gone
        if with_trace:
            traceback.print_exception(error)
        end_living_line()
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
