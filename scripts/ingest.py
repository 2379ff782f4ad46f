"""The seed's name for ``synthgen wikipedia``: the same flags, the same defaults, the same exit codes."""

import sys

from synthgen.cli import main

if __name__ == "__main__":
    sys.exit(main(["wikipedia", *sys.argv[1:]]))
