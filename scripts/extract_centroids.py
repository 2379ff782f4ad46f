"""The seed's name for ``synthgen centroids``: the same flags, the same defaults, the same exit codes."""

import sys

from synthgen.cli import main

if __name__ == "__main__":
    sys.exit(main(["centroids", *sys.argv[1:]]))
