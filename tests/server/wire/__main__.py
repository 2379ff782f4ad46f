"""``python -m tests.server.wire http://localhost:7432 [--all]``: what differs from Engram's wire."""

from __future__ import annotations

import argparse
import sys

from tests.server.wire import OURS, WIRE, is_ours, run_checks, table


def main() -> int:
    """Print the table; return 0 if nothing differs that must not, 1 otherwise, 3 without a server."""
    parser = argparse.ArgumentParser(prog="python -m tests.server.wire", description=__doc__)
    parser.add_argument("endpoint", help="such as http://localhost:7432")
    parser.add_argument("--all", action="store_true", help="print also what is as expected")
    flags = parser.parse_args()
    try:
        required = {WIRE, OURS} if is_ours(flags.endpoint) else {WIRE}
    except (OSError, ValueError) as error:
        print(f"{flags.endpoint}: no server answers there ({error}); start one", file=sys.stderr)
        return 3
    outcomes = run_checks(flags.endpoint)
    differences = [outcome for outcome in outcomes if outcome.differs]
    if differences or flags.all:
        print(table(outcomes if flags.all else differences), end="\n\n")
    for group, what in ((WIRE, "as Engram answers"), (OURS, "better than Engram")):
        n_checks = sum(outcome.check.group == group for outcome in outcomes)
        n_different = sum(outcome.check.group == group for outcome in differences)
        note = "" if group in required else ", which this server need not be"
        print(f"{group}: {n_different} of {n_checks} differ ({what}{note})")
    return int(any(outcome.check.group in required for outcome in differences))


if __name__ == "__main__":
    sys.exit(main())
