"""``python -m bench``: measure, print tables, keep JSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import (
    delivery,
    embedding,
    formats,
    generation,
    indexes,
    knobs,
    memory,
    normals,
    queries,
    realism,
    scaling,
    server,
    wikitext,
)
from bench.host import describe_host
from bench.settings import Scale, Settings
from bench.table import Result, keep
from synthgen.errors import EXIT_INTERRUPTED, SynthgenError

QUESTIONS: dict[str, Callable[[Settings], Result]] = {
    "generation": generation.run,
    "formats": formats.run,
    "delivery": delivery.run,
    "memory": memory.run,
    "server": server.run,
    "indexes": indexes.run,
    "realism": realism.run,
    "knobs": knobs.run,
    "queries": queries.run,
    "normals": normals.run,
    "scaling": scaling.run,
    "embedding": embedding.run,
    "wikitext": wikitext.run,
}
#: Asked only by name: it needs a model, articles and packages that others do without.
_ONLY_NAMED = {"embedding", "wikitext"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer the named questions, or all; return the exit code."""
    flags = _make_parser().parse_args(arguments)
    scale: Scale = "quick" if flags.quick else "full" if flags.full else "normal"
    settings = Settings(
        output=flags.output,
        scale=scale,
        rows=max(flags.rows, default=None),
        repetitions=flags.repetitions,
        workers=flags.workers,
        processes=flags.processes,
        connections=flags.connections,
        real=tuple(flags.real),
        sizes=flags.rows,
        candidates=flags.candidates,
        model=flags.model,
        articles=flags.articles,
        embeddings=flags.embeddings,
        dump=flags.dump,
    )
    try:
        for name in dict.fromkeys(flags.questions or [name for name in QUESTIONS if name not in _ONLY_NAMED]):
            _answer(name, settings)
    except SynthgenError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def _answer(name: str, settings: Settings) -> None:
    settings.output.mkdir(parents=True, exist_ok=True)
    host, started_at = describe_host(settings.output), datetime.now(UTC)
    result = QUESTIONS[name](settings)
    path = keep(result, settings.output, host, started_at)
    cores, busy = host["cores_available"], host["load_average"][0]
    print("\n".join(result.lines()))
    print(f"  {host['cpu_model']}, {cores} cores, load {busy:.1f} before, {host['filesystem']}; kept: {path}")
    sys.stdout.flush()


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measurements side by side in one run; figures hold for the machine they name.",
        epilog="example: python -m bench generation --quick",
    )
    parser.add_argument(
        "questions", nargs="*", type=_question, metavar="QUESTION", help=f"of {', '.join(QUESTIONS)} (all)"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="small counts, few repetitions")
    size.add_argument(
        "--full", action="store_true", help="up to 1,000,000 rows; needs 20 GB of disk and time"
    )
    parser.add_argument("--output", type=Path, default=Path("tmp/bench"), metavar="DIR", help="(%(default)s)")
    parser.add_argument(
        "--rows",
        type=_naturals,
        default=(),
        metavar="N,...",
        help="largest number of rows, in place of the scale's; server: each of several",
    )
    parser.add_argument(
        "--repetitions",
        "--splits",
        type=_natural,
        metavar="N",
        help="of each case, in place of the scale's; realism: splits",
    )
    parser.add_argument(
        "--workers", type=_naturals, default=(), metavar="N,...", help="generation: processes"
    )
    parser.add_argument("--processes", type=_naturals, default=(), metavar="N,...", help="delivery: groups")
    parser.add_argument("--connections", type=_naturals, default=(), metavar="N,...", help="delivery: in all")
    _add_inputs(parser)
    return parser


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    """Add what single questions are asked about."""
    parser.add_argument(
        "--real",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="realism: real vectors, .npy or .parquet; repeatable (the built-in foundation)",
    )
    parser.add_argument(
        "--candidates",
        type=_names,
        default=(),
        metavar="NAME,...",
        help="indexes: only those with one of these in their names, beside the exact scan (all)",
    )
    parser.add_argument("--dump", type=Path, metavar="FILE", help="wikitext: a MediaWiki XML dump")
    parser.add_argument("--model", metavar="FOLDER", help="embedding: a sentence-transformers model")
    parser.add_argument(
        "--articles",
        type=Path,
        metavar="FILE",
        help="embedding: .jsonl or .jsonl.zst, lines with title and text",
    )
    parser.add_argument(
        "--embeddings",
        type=Path,
        metavar="FILE",
        help="embedding: .npy of the same articles (title, newline, 1,000 characters of text)",
    )


def _question(text: str) -> str:
    if text not in QUESTIONS:
        raise argparse.ArgumentTypeError(f"no such question; there are {', '.join(QUESTIONS)}")
    return text


def _natural(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _naturals(text: str) -> tuple[int, ...]:
    return tuple(_natural(part) for part in text.split(","))


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
