"""The embedded server as a command."""

from __future__ import annotations

from synthgen.errors import UsageError
from synthgen.specs import ServeSpec


def serve(spec: ServeSpec) -> int:
    """Run the embedded server until it is told to stop; return the exit code."""
    try:
        import uvloop  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "the embedded server needs the extra `server`",
            where="synthgen serve",
            next_step="install it: pip install 'synthgen-memories[server]'",
        ) from error
    from synthgen.server import serve as serve_forever

    return serve_forever(spec)
