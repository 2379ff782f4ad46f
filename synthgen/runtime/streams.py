"""Standard output that nobody reads, or that cannot be written."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from synthgen.errors import ResourceError


def mute(stream: TextIO) -> None:
    """Send what is left in ``stream``, and what comes, nowhere: else the end of the process fails on it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@contextlib.contextmanager
def explained_output() -> Iterator[None]:
    """Have all that is printed in the block written by its end; what cannot be is a ResourceError.

    A reader that has gone stays a BrokenPipeError.
    """
    if sys.stdout is None:  # closed: what is printed goes nowhere
        yield
        return
    with contextlib.redirect_stdout(cast(TextIO, _Explained(sys.stdout))):
        yield
        sys.stdout.flush()


class _Explained:
    """A stream whose errors say that they are its own: an OSError of a write does not."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._explain():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._explain():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _explain(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            mute(self._stream)
            raise output_error(error) from error


def output_error(error: OSError) -> ResourceError:
    """Return the ResourceError that tells a person that standard output cannot be written."""
    return ResourceError(
        f"cannot be written ({error.strerror or error})",
        where="standard output",
        next_step="free some room where it goes, or send it elsewhere, and run the same command again",
    )
