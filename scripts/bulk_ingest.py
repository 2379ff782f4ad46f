"""The seed's name for ``synthgen ingest``: the same flags, the same defaults, the same exit codes."""

import sys

from synthgen.cli import main

if __name__ == "__main__":
    sys.exit(main(["ingest", *sys.argv[1:]]))
