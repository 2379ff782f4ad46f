"""``python -m synthgen.server``: the embedded server without the rest of the program."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from synthgen.errors import SynthgenError
from synthgen.server import serve
from synthgen.specs import DEFAULT_PORT, ServeSpec


def main() -> int:
    """Parse the flags and serve; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m synthgen.server", description=__doc__)
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="folder of the database, made if missing"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one")
    parser.add_argument("--require-key", action="store_true", help="the one in SYNTHGEN_API_KEY")
    parser.add_argument("--stop-on-stdin-eof", action="store_true", help="stop when standard input ends")
    parser.add_argument("--json", action="store_true", dest="as_json")
    parser.add_argument("--quirks", metavar="NAME[,NAME]", help="misbehave as Engram was measured to")
    flags = parser.parse_args()
    try:
        return serve(
            ServeSpec(
                flags.data_dir,
                flags.host,
                flags.port,
                flags.stop_on_stdin_eof,
                flags.as_json,
                flags.quirks,
                flags.require_key,
            )
        )
    except SynthgenError as error:
        print(f"synthgen serve: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
