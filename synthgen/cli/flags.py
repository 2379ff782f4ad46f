"""Flags that several commands share, and what every command has."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from synthgen.specs import DEFAULT_COUNT, DEFAULT_SEED, FORMATS

EXIT_CODES = """exit codes: 0 done and proven; 1 done, but something failed or is missing; 2 wrong usage;
3 target or input unusable; 4 done, but unproven (--no-verify); 130 interrupted, the same command continues"""

Command = Callable[[argparse.Namespace], int]


def named_path(text: str) -> Path:
    """Return the path that a flag names; a blank one, of an unset variable, would mean this folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("names no file or folder")
    return Path(text)


class CommandParser(argparse.ArgumentParser):
    """Parser of one command, which refuses unknown flags itself: else the usage shown is that of all."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse flags; there are none that are unknown."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown


def add_command(
    parsers: Any, name: str, help_: str, example: str, command: Command
) -> argparse.ArgumentParser:
    """Add a command to ``parsers``, with the flags that every command has, and return its parser."""
    parser: argparse.ArgumentParser = parsers.add_parser(
        name,
        help=help_,
        description=help_[0].upper() + help_[1:] + ".",
        epilog=f"example: {example}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command)
    common = parser.add_argument_group("common")
    common.add_argument(
        "--config", type=named_path, metavar="FILE.toml", help=f"defaults, in a table [{name}]"
    )
    common.add_argument("--json", action="store_true", help="print the final report as JSON")
    common.add_argument("-q", "--quiet", action="store_true", help="no progress")
    common.add_argument("-v", "--verbose", action="store_true", help="tracebacks with errors")
    return parser


def add_dataset_flags(
    parser: argparse.ArgumentParser, count: int = DEFAULT_COUNT, what: str = "synthetic memories"
) -> None:
    """Add what a dataset depends on, and who makes it."""
    parser.add_argument("--count", type=int, default=count, help=f"{what} (%(default)s)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="(%(default)s)")
    parser.add_argument(
        "--std-dev", type=float, metavar="X", help="of the isotropic law: noise a component (0.1)"
    )
    parser.add_argument("--confidence", type=float, default=0.7, help="centre of confidences (%(default)s)")
    parser.add_argument("--decimals", type=int, default=6, help="digits of a component, 4 to 7 (%(default)s)")
    add_worker_flags(parser)


def add_worker_flags(parser: argparse.ArgumentParser) -> None:
    """Add how many processes make rows, and what they may hold."""
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes (as many as cores)")
    parser.add_argument("--memory-budget", default="4GB", help="for the whole process tree (%(default)s)")


def add_law_flags(parser: argparse.ArgumentParser) -> None:
    """Add the choice of a law of geometry, and its knobs."""
    law = parser.add_argument_group(
        "geometry", "--centroids chooses the isotropic law, else --model, else the built-in model"
    )
    law.add_argument(
        "--centroids", type=named_path, metavar="FILE.npy", help="(k, d) float32: the isotropic law"
    )
    law.add_argument("--model", type=named_path, metavar="FILE.npz", help="of `synthgen fit`: the fitted law")
    law.add_argument("--tightness", type=float, metavar="X", help="fitted law: rows stray less (1)")
    law.add_argument("--zipf", type=float, metavar="S", help="fitted law: weights by rank**-S (0)")
    law.add_argument("--near-duplicate-rate", type=float, metavar="P", help="fitted law: share (as fitted)")
    law.add_argument("--outlier-rate", type=float, metavar="P", help="fitted law: share in no cluster (0)")


def add_delivery_flags(parser: argparse.ArgumentParser) -> None:
    """Add how memories are sent."""
    parser.add_argument("--concurrent", type=int, default=20, help="connections in all (%(default)s)")
    parser.add_argument(
        "--batch-size", type=int, default=1000, help="rows acknowledged together (%(default)s)"
    )
    parser.add_argument("--processes", type=int, default=0, metavar="N", help="connection groups (by cores)")
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="do not read back; exit 4")


def add_space_flags(parser: argparse.ArgumentParser) -> None:
    """Add where in the database they go."""
    parser.add_argument("--space", metavar="NAME", help="memory space (the server's default)")
    parser.add_argument(
        "--spaces", type=int, metavar="N", help="spread rows over N spaces, NAME-0 to NAME-<N-1>"
    )


def add_file_flags(parser: argparse.ArgumentParser, output: str) -> None:
    """Add the file that is made."""
    parser.add_argument("--output", default=output, help="a file, or - (%(default)s)")
    parser.add_argument("--format", choices=FORMATS, help="(by the suffix of the file, else jsonl)")
    parser.add_argument("--overwrite", action="store_true", help="replace what has the name")
    parser.add_argument("--dry-run", action="store_true", help="show the plan, touch nothing")


def add_source_flags(parser: argparse.ArgumentParser) -> None:
    """Add the rows: of a file, or of a spec."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", type=named_path, metavar="FILE", help="JSON lines, or such as .jsonl.zst")
    source.add_argument(
        "--spec", type=named_path, metavar="FILE.json", help="a spec or manifest: rows are made here"
    )
