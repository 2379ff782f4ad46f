"""One tree of errors; every message says what happened, where, and what to do next, on one line.

Errors travel between processes, so each can be pickled whole. The exit code of a command is the
``exit_code`` of the error that ended it (documented in README.md, "Exit codes").
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNUSABLE = 3
EXIT_UNPROVEN = 4
EXIT_INTERRUPTED = 130


class SynthgenError(Exception):
    """Base of all errors that a user is meant to read.

    ``what`` happened, ``where`` (a file, an address, a row; may be empty) and ``next_step``, what to
    do about it (may be empty). ``str(error)`` is ``where: what; next_step`` on one line.
    """

    exit_code = EXIT_FAILED

    def __init__(self, what: str, *, where: str = "", next_step: str = "") -> None:
        super().__init__(what, where, next_step)
        self.what = what
        self.where = where
        self.next_step = next_step

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.next_step:
            text = f"{text}; {self.next_step}"
        # What a file is called, or a database answers, is not to command the terminal.
        return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.next_step)


def _rebuild(
    kind: type[SynthgenError], what: str, where: str, next_step: str
) -> SynthgenError:  # keyword-only arguments do not survive Exception's own pickling
    return kind(what, where=where, next_step=next_step)


class UsageError(SynthgenError):
    """Flags or settings that make no sense; nothing was touched."""

    exit_code = EXIT_USAGE


class InputError(SynthgenError):
    """A file or its content cannot be used."""

    exit_code = EXIT_UNUSABLE


class TargetError(SynthgenError):
    """The database cannot be reached, or is not one that can be used."""

    exit_code = EXIT_UNUSABLE


class ResourceError(SynthgenError):
    """The machine lacks something: disk space, memory, a port, a lock that somebody else holds."""

    exit_code = EXIT_UNUSABLE


class WorkerDied(SynthgenError):
    """A worker process ended without having been asked to, more often than is bearable."""


class Interrupted(SynthgenError):
    """Stopped by the user; the same command continues."""

    exit_code = EXIT_INTERRUPTED
