"""The seed's name for ``synthgen generate``: the same flags, the same defaults, the same exit codes."""

import sys

from synthgen.cli import main

if __name__ == "__main__":
    sys.exit(main(["generate", *sys.argv[1:]]))
