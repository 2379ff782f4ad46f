"""The parser of all commands: one function a command."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from synthgen import __version__
from synthgen.cli import commands
from synthgen.cli.flags import (
    EXIT_CODES,
    CommandParser,
    add_command,
    add_dataset_flags,
    add_delivery_flags,
    add_file_flags,
    add_law_flags,
    add_source_flags,
    add_space_flags,
    add_worker_flags,
    named_path,
)
from synthgen.specs import DEFAULT_ENDPOINT, DEFAULT_PORT, DEFAULT_QUERIES, DEFAULT_SEED, FORMATS


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="synthgen",
        description="From real Wikipedia to a million realistic memories in a running database, bit for bit.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"synthgen {__version__}")
    parsers = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=CommandParser
    )
    parser.set_defaults(commands=parsers)
    _add_run(parsers)
    _add_serve(parsers)
    _add_wikipedia(parsers)
    _add_centroids(parsers)
    _add_fit(parsers)
    _add_generate(parsers)
    _add_queries(parsers)
    _add_verify_dataset(parsers)
    _add_regenerate(parsers)
    _add_ingest(parsers)
    _add_verify(parsers)
    _add_fidelity(parsers)
    return parser


def _add_run(parsers: Any) -> None:
    example = "synthgen run --count 50000 --output-dir demo"
    parser = add_command(
        parsers,
        "run",
        "all phases: real memories, centroids, synthetic memories, proof",
        example,
        commands.run_all,
    )
    add_dataset_flags(parser)
    parser.add_argument("--num-centroids", type=int, default=100, help="(%(default)s)")
    parser.add_argument("--output-dir", type=named_path, default=Path("synthgen-run"), help="(%(default)s)")
    parser.add_argument("--data-dir", type=named_path, help="of the embedded server (OUTPUT_DIR/server)")
    parser.add_argument(
        "--endpoint", help="an Engram that runs already (else the embedded server is started)"
    )
    parser.add_argument("--space", metavar="NAME", help="memory space (the server's default)")
    add_delivery_flags(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the plan, touch nothing")


def _add_serve(parsers: Any) -> None:
    example = "synthgen serve --data-dir demo/server"
    parser = add_command(
        parsers, "serve", "the embedded, Engram-compatible server", example, commands.run_serve
    )
    parser.add_argument("--host", default="127.0.0.1", help="(%(default)s)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one (%(default)s)")
    parser.add_argument(
        "--data-dir", type=named_path, required=True, help="the database's folder, made if missing"
    )
    parser.add_argument(
        "--require-key",
        action="store_true",
        help="answer only who sends the key in the environment variable SYNTHGEN_API_KEY",
    )
    parser.add_argument("--stop-on-stdin-eof", action="store_true", help="stop when standard input ends")
    parser.add_argument(
        "--quirks",
        metavar="NAME[,NAME]",
        help="misbehave on purpose, as Engram was measured to: engram for all of it; a wrong name lists them",
    )


def _add_wikipedia(parsers: Any) -> None:
    example = "synthgen wikipedia --dump-path simplewiki-latest-pages-articles-multistream.xml.bz2"
    parser = add_command(
        parsers,
        "wikipedia",
        "real articles with real embeddings, into a database or a file",
        example,
        commands.run_wikipedia,
    )
    source = parser.add_argument_group("source", "the built-in articles, unless one of these says otherwise")
    source.add_argument(
        "--dump-path",
        type=named_path,
        metavar="FILE",
        help="a dump (.xml, .gz, .bz2), Parquet of articles (file or folder), or embeddings (.npy, .parquet)",
    )
    source.add_argument("--titles", type=named_path, metavar="FILE", help="of a .npy (the file beside it)")
    source.add_argument("--download", action="store_true", help="fetch the Simple English dump, and take it")
    source.add_argument("--download-only", action="store_true", help="fetch it, and stop")
    source.add_argument("--limit", type=int, metavar="N", help="no more articles than these")
    parser.add_argument("--endpoint", help="(http://127.0.0.1:7432, unless there is --output)")
    parser.add_argument("--space", metavar="NAME", help="memory space (the server's default)")
    parser.add_argument("--output", type=named_path, metavar="FILE", help="a .jsonl or .parquet file")
    parser.add_argument(
        "--embedding-model", metavar="NAME_OR_FOLDER", help="(sentence-transformers/all-mpnet-base-v2)"
    )
    parser.add_argument("--max-characters", type=int, default=4000, help="of title and text (%(default)s)")
    parser.add_argument("--cache-dir", type=named_path, metavar="DIR", help="(~/.cache/synthgen)")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes that parse (by cores)")
    parser.add_argument("--concurrent", type=int, default=20, help="connections in all (%(default)s)")
    parser.add_argument(
        "--batch-size", type=int, default=1000, help="memories acknowledged together (%(default)s)"
    )
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="do not read back; exit 4")
    parser.add_argument(
        "--resume", nargs="?", const="", metavar="FILE", help="accepted: the same command always goes on"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="read the source, count, show samples; store nothing"
    )


def _add_centroids(parsers: Any) -> None:
    example = "synthgen centroids --endpoint http://127.0.0.1:7432 --output centroids.npy"
    parser = add_command(
        parsers, "centroids", "centroids of the real memories of a database", example, commands.run_centroids
    )
    parser.add_argument("--endpoint", default=DEFAULT_ENDPOINT, help="(%(default)s)")
    parser.add_argument("--space", action="append", metavar="NAME", help="memory space; repeatable")
    parser.add_argument("--num-centroids", type=int, default=100, help="(%(default)s)")
    parser.add_argument("--output", type=named_path, default=Path("centroids.npy"), help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="(%(default)s)")


def _add_fit(parsers: Any) -> None:
    example = "synthgen fit --endpoint http://127.0.0.1:7432 --output model.npz"
    parser = add_command(
        parsers, "fit", "a model of the geometry of real embeddings", example, commands.run_fit
    )
    parser.add_argument("--input", type=named_path, metavar="FILE", help=".npy, .fbin, .parquet or .jsonl")
    parser.add_argument("--endpoint", default=DEFAULT_ENDPOINT, help="without --input (%(default)s)")
    parser.add_argument("--space", action="append", metavar="NAME", help="memory space; repeatable")
    parser.add_argument("--output", type=named_path, default=Path("model.npz"), help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="(%(default)s)")


def _add_generate(parsers: Any) -> None:
    example = "synthgen generate --count 950000 --output synthetic.jsonl"
    parser = add_command(
        parsers, "generate", "synthetic memories into a file", example, commands.run_generate
    )
    add_file_flags(parser, "synthetic_memories.jsonl")
    add_dataset_flags(parser)
    add_law_flags(parser)


def _add_queries(parsers: Any) -> None:
    example = "synthgen queries --count 10000 --shift 0.6 --output queries.jsonl"
    help_ = "queries of the law of a dataset, held out of it, into a file: give its seed and its flags"
    parser = add_command(parsers, "queries", help_, example, commands.run_generate)
    parser.set_defaults(role="queries")
    parser.add_argument(
        "--shift", type=float, default=0.0, metavar="S", help="out of distribution, 0 to 1 (0)"
    )
    add_file_flags(parser, "queries.jsonl")
    add_dataset_flags(parser, DEFAULT_QUERIES, "queries")
    add_law_flags(parser)


def _add_verify_dataset(parsers: Any) -> None:
    example = "synthgen verify-dataset synthetic.jsonl"
    help_ = "a generated file of any format against its manifest, byte by byte"
    parser = add_command(parsers, "verify-dataset", help_, example, commands.run_verify_dataset)
    file = parser.add_mutually_exclusive_group(required=True)
    file.add_argument("file", type=named_path, nargs="?", metavar="FILE", help="or its manifest")
    file.add_argument("--input", type=named_path, metavar="FILE", help="the same")
    parser.add_argument(
        "--recompute", action="store_true", help="make all rows again, and compare with the seed as well"
    )
    add_worker_flags(parser)


def _add_regenerate(parsers: Any) -> None:
    example = "synthgen regenerate synthetic.jsonl --rows 5000:6000 --output some.parquet"
    help_ = "mend a generated file, or (with --rows) write some of its rows alone"
    parser = add_command(parsers, "regenerate", help_, example, commands.run_regenerate)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "file", type=named_path, nargs="?", metavar="FILE", help="what synthgen generate wrote"
    )
    source.add_argument(
        "--spec", type=named_path, metavar="FILE.json", help="with --rows: a spec or manifest"
    )
    parser.add_argument(
        "--rows",
        metavar="A:B",
        help="rows A to B-1; :B, A: to the last one; beyond it those of a larger count",
    )
    parser.add_argument("--output", metavar="FILE", help="with --rows: a new file, or - (-)")
    parser.add_argument(
        "--format", choices=FORMATS, help="with --rows: (by the suffix of --output, else jsonl)"
    )
    parser.add_argument(
        "--recompute", action="store_true", help="without --rows: mend what the manifest has wrong, too"
    )
    add_worker_flags(parser)


def _add_ingest(parsers: Any) -> None:
    example = "synthgen ingest --input synthetic.jsonl --endpoint http://127.0.0.1:7432"
    parser = add_command(
        parsers, "ingest", "memories of a file or a spec into a database", example, commands.run_ingest
    )
    add_source_flags(parser)
    parser.add_argument("--endpoint", default=DEFAULT_ENDPOINT, help="(%(default)s)")
    parser.add_argument("--limit", type=int, help="only the first so many rows")
    add_space_flags(parser)
    add_delivery_flags(parser)
    parser.add_argument("--ledger", type=named_path, help="file of acknowledgements (beside the input)")
    parser.add_argument("--max-errors", metavar="N|N%", help="stop when more rows are refused")
    parser.add_argument("--plan", action="store_true", help="show what would be sent, and stop")


def _add_verify(parsers: Any) -> None:
    example = "synthgen verify --input synthetic.jsonl --endpoint http://127.0.0.1:7432"
    parser = add_command(
        parsers, "verify", "a database against a dataset, row by row", example, commands.run_verify
    )
    add_source_flags(parser)
    parser.add_argument("--endpoint", default=DEFAULT_ENDPOINT, help="(%(default)s)")
    add_space_flags(parser)
    parser.add_argument("--sample", type=int, metavar="N", help="check N random rows only")
    parser.add_argument("--processes", type=int, default=0, metavar="N", help="(by cores)")


def _add_fidelity(parsers: Any) -> None:
    example = "synthgen fidelity real.npy synthetic.jsonl --output page.html"
    parser = add_command(
        parsers, "fidelity", "does an index see real data in a synthetic set", example, commands.run_fidelity
    )
    parser.add_argument("real", type=named_path, metavar="REAL", help=".npy, .fbin, .parquet or .jsonl")
    parser.add_argument(
        "synthetic", type=named_path, metavar="SYNTH", help="likewise; sets are cut to one size"
    )
    parser.add_argument("--output", type=named_path, metavar="PAGE.html", help="a page with charts")
    parser.add_argument("--max-rows", type=int, default=50_000, help="of each set (%(default)s)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="(%(default)s)")
