"""The ``synthgen`` command: flags -> specs -> phases. No logic of its own.

Rooms are imported by the command that needs them, so that generating loads neither scikit-learn nor requests.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from synthgen import __version__
from synthgen.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_UNUSABLE, SynthgenError, UsageError
from synthgen.specs import (
    DEFAULT_COUNT,
    DEFAULT_ENDPOINT,
    DEFAULT_PORT,
    DEFAULT_SEED,
    IngestSpec,
    ServeSpec,
)

_EXIT_CODES = """exit codes: 0 done and proven; 1 done, but something failed or is missing; 2 wrong usage;
3 target or input unusable; 4 done, but unproven (--no-verify); 130 interrupted, the same command continues"""

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that ``arguments`` (default: those of the process) name; return its exit code."""
    if sys.platform == "win32":
        print("synthgen runs on Linux and macOS; on Windows use WSL", file=sys.stderr)
        return EXIT_UNUSABLE
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, where no phase says otherwise
    flags = argparse.Namespace()
    try:
        flags = _parse(make_parser(), arguments)
        command: Command = flags.command
        return command(flags)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads: no second error
        return EXIT_FAILED
    except (Exception, KeyboardInterrupt) as error:
        if getattr(flags, "verbose", False):
            traceback.print_exception(error)
        from synthgen.runtime.progress import end_living_line

        end_living_line()
        exit_code, text = _explain(error)
        print(f"synthgen: {' '.join(text.split())}", file=sys.stderr)
        return exit_code


def _explain(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the line for a person."""
    if isinstance(error, SynthgenError):
        return error.exit_code, str(error)
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED, "interrupted; the same command continues"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return EXIT_UNUSABLE, f"{where}{error.strerror or error}"
    text = f"unexpected {type(error).__name__}: {error}; a defect: run again with -v and report it"
    return EXIT_FAILED, text


def _parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse flags over the defaults of ``--config``: a flag wins."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", type=Path)
    found, rest = finder.parse_known_args(arguments)
    commands: dict[str, argparse.ArgumentParser] = parser.get_default("commands").choices
    name = next((word for word in rest if not word.startswith("-")), None)
    if found.config is not None and name in commands:
        defaults = _read_config(found.config, name, commands[name])
        commands[name].set_defaults(**defaults)
        for action in commands[name]._actions:
            action.required = action.required and action.dest not in defaults
        for group in commands[name]._mutually_exclusive_groups:
            named = {action.dest for action in group._group_actions}
            group.required = group.required and not named & defaults.keys()
    return parser.parse_args(arguments)


def _read_config(path: Path, name: str, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Return the defaults that a TOML file holds in the table of the command, typed as flags are."""
    import tomllib

    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise UsageError("no such file", where=str(path), next_step="check --config") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"not a TOML file ({error})", where=str(path), next_step="check --config") from error
    table = document.get(name, {})
    loose = [key for key, value in document.items() if not isinstance(value, dict)]
    if loose:
        raise UsageError(f"{loose[0]!r} stands in no table", where=str(path), next_step=f"put it in [{name}]")
    actions = {action.dest: action for action in parser._actions if action.option_strings}
    values: dict[str, Any] = {}
    for key, value in table.items():
        action = actions.get(key.replace("-", "_"))
        if action is None:
            raise UsageError(f"[{name}] has no setting {key!r}", where=str(path), next_step="see --help")
        values[action.dest] = _typed(action, value, f"{path}: [{name}] {key}")
    return values


def _typed(action: argparse.Action, value: Any, where: str) -> Any:
    if action.nargs == 0:  # a switch
        if not isinstance(value, bool):
            raise UsageError(f"must be true or false, not {value!r}", where=where)
        return value if action.const is not False else not value
    values = value if isinstance(value, list) else [value]
    convert: Callable[[str], Any] = action.type if callable(action.type) else str
    try:
        typed = [convert(str(item)) for item in values]
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise UsageError(f"not usable: {value!r}", where=where) from error
    if action.choices is not None and not set(typed) <= set(action.choices):
        raise UsageError(f"must be one of {', '.join(action.choices)}, not {value!r}", where=where)
    return typed if isinstance(value, list) else typed[0]


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="synthgen",
        description="From real Wikipedia to a million realistic memories in a running database, bit for bit.",
        epilog=_EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"synthgen {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    parser.set_defaults(commands=commands)
    _add_run(commands)
    _add_serve(commands)
    _add_centroids(commands)
    _add_fit(commands)
    _add_generate(commands)
    _add_ingest(commands)
    _add_verify(commands)
    _add_fidelity(commands)
    return parser


def _add(commands: Any, name: str, help_: str, example: str, command: Command) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_,
        description=help_[0].upper() + help_[1:] + ".",
        epilog=f"example: {example}\n\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command)
    common = parser.add_argument_group("common")
    common.add_argument("--config", type=Path, metavar="FILE.toml", help=f"defaults, in a table [{name}]")
    common.add_argument("--json", action="store_true", help="print the final report as JSON")
    common.add_argument("-q", "--quiet", action="store_true", help="no progress")
    common.add_argument("-v", "--verbose", action="store_true", help="tracebacks with errors")
    return parser


def _add_dataset_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=int, default=DEFAULT_COUNT, help="synthetic memories (%(default)s)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="(%(default)s)")
    parser.add_argument("--std-dev", type=float, metavar="X", help="isotropic law: noise a component (0.1)")
    parser.add_argument("--confidence", type=float, default=0.7, help="centre of confidences (%(default)s)")
    parser.add_argument("--decimals", type=int, default=6, help="digits of a component, 4 to 7 (%(default)s)")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes (as many as cores)")
    parser.add_argument("--memory-budget", default="4GB", help="for the whole process tree (%(default)s)")


def _add_law_flags(parser: argparse.ArgumentParser) -> None:
    law = parser.add_argument_group(
        "geometry", "--centroids or --std-dev choose the isotropic law, else --model, else the built-in model"
    )
    law.add_argument("--centroids", type=Path, metavar="FILE.npy", help="(k, d) float32: the isotropic law")
    law.add_argument("--model", type=Path, metavar="FILE.npz", help="of `synthgen fit`: the fitted law")
    law.add_argument("--tightness", type=float, metavar="X", help="fitted law: rows stray less (1)")
    law.add_argument("--zipf", type=float, metavar="S", help="fitted law: weights by rank**-S (0)")
    law.add_argument("--near-duplicate-rate", type=float, metavar="P", help="fitted law: share (as fitted)")
    law.add_argument("--outlier-rate", type=float, metavar="P", help="fitted law: share in no cluster (0)")


def _add_delivery_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--concurrent", type=int, default=20, help="connections in all (%(default)s)")
    parser.add_argument(
        "--batch-size", type=int, default=1000, help="rows acknowledged together (%(default)s)"
    )
    parser.add_argument("--processes", type=int, default=0, metavar="N", help="connection groups (by cores)")
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="do not read back; exit 4")


def _add_space_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--space", metavar="NAME", help="memory space (the server's default)")
    parser.add_argument(
        "--spaces", type=int, metavar="N", help="spread rows over N spaces, NAME-0 to NAME-<N-1>"
    )


def _add_run(commands: Any) -> None:
    example = "synthgen run --count 50000 --output-dir demo"
    parser = _add(
        commands, "run", "all phases: real memories, centroids, synthetic memories, proof", example, _run
    )
    _add_dataset_flags(parser)
    parser.add_argument("--num-centroids", type=int, default=100, help="(%(default)s)")
    parser.add_argument("--output-dir", type=Path, default=Path("synthgen-run"), help="(%(default)s)")
    parser.add_argument("--data-dir", type=Path, help="of the embedded server (OUTPUT_DIR/server)")
    parser.add_argument(
        "--endpoint", help="an Engram that runs already (else the embedded server is started)"
    )
    parser.add_argument("--space", metavar="NAME", help="memory space (the server's default)")
    _add_delivery_flags(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the plan, touch nothing")


def _add_serve(commands: Any) -> None:
    example = "synthgen serve --data-dir demo/server"
    parser = _add(commands, "serve", "the embedded, Engram-compatible server", example, _serve)
    parser.add_argument("--host", default="127.0.0.1", help="(%(default)s)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one (%(default)s)")
    parser.add_argument("--data-dir", type=Path, required=True, help="the database's folder, made if missing")
    parser.add_argument("--stop-on-stdin-eof", action="store_true", help="stop when standard input ends")


def _add_centroids(commands: Any) -> None:
    example = "synthgen centroids --endpoint http://127.0.0.1:7432 --output centroids.npy"
    parser = _add(commands, "centroids", "centroids of the real memories of a database", example, _centroids)
    parser.add_argument("--endpoint", default=DEFAULT_ENDPOINT, help="(%(default)s)")
    parser.add_argument("--space", action="append", metavar="NAME", help="memory space; repeatable")
    parser.add_argument("--num-centroids", type=int, default=100, help="(%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("centroids.npy"), help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="(%(default)s)")


def _add_fit(commands: Any) -> None:
    example = "synthgen fit --endpoint http://127.0.0.1:7432 --output model.npz"
    parser = _add(commands, "fit", "a model of the geometry of real embeddings", example, _fit)
    parser.add_argument("--input", type=Path, metavar="FILE", help=".npy or .parquet of embeddings")
    parser.add_argument("--endpoint", default=DEFAULT_ENDPOINT, help="without --input (%(default)s)")
    parser.add_argument("--space", action="append", metavar="NAME", help="memory space; repeatable")
    parser.add_argument("--output", type=Path, default=Path("model.npz"), help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="(%(default)s)")


def _add_generate(commands: Any) -> None:
    example = "synthgen generate --count 950000 --output synthetic.jsonl"
    parser = _add(commands, "generate", "synthetic memories into a file", example, _generate)
    parser.add_argument("--output", default="synthetic_memories.jsonl", help="a file, or - (%(default)s)")
    parser.add_argument("--format", choices=["jsonl"], default="jsonl", help="(%(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace what has the name")
    _add_dataset_flags(parser)
    _add_law_flags(parser)


def _add_ingest(commands: Any) -> None:
    example = "synthgen ingest --input synthetic.jsonl --endpoint http://127.0.0.1:7432"
    parser = _add(commands, "ingest", "memories of a file or a spec into a database", example, _ingest)
    _add_source_flags(parser)
    parser.add_argument("--endpoint", default=DEFAULT_ENDPOINT, help="(%(default)s)")
    parser.add_argument("--limit", type=int, help="only the first so many rows")
    _add_space_flags(parser)
    _add_delivery_flags(parser)
    parser.add_argument("--ledger", type=Path, help="file of acknowledgements (beside the input)")
    parser.add_argument("--max-errors", metavar="N|N%", help="stop when more rows are refused")
    parser.add_argument("--plan", action="store_true", help="show what would be sent, and stop")


def _add_verify(commands: Any) -> None:
    example = "synthgen verify --input synthetic.jsonl --endpoint http://127.0.0.1:7432"
    parser = _add(commands, "verify", "a database against a dataset, row by row", example, _verify)
    _add_source_flags(parser)
    parser.add_argument("--endpoint", default=DEFAULT_ENDPOINT, help="(%(default)s)")
    _add_space_flags(parser)
    parser.add_argument("--sample", type=int, metavar="N", help="check N random rows only")
    parser.add_argument("--processes", type=int, default=0, metavar="N", help="(by cores)")


def _add_fidelity(commands: Any) -> None:
    example = "synthgen fidelity real.npy synthetic.jsonl --output page.html"
    parser = _add(commands, "fidelity", "does an index see real data in a synthetic set", example, _fidelity)
    parser.add_argument("real", type=Path, metavar="REAL", help=".npy, .fbin, .parquet or .jsonl")
    parser.add_argument("synthetic", type=Path, metavar="SYNTH", help="likewise; sets are cut to one size")
    parser.add_argument("--output", type=Path, metavar="PAGE.html", help="a page with charts")
    parser.add_argument("--max-rows", type=int, default=50_000, help="of each set (%(default)s)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="(%(default)s)")


def _add_source_flags(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", type=Path, metavar="FILE", help="JSON lines")
    source.add_argument(
        "--spec", type=Path, metavar="FILE.json", help="a spec or manifest: rows are made here"
    )


def _run(flags: argparse.Namespace) -> int:
    from synthgen.phases.run import RunOptions, run
    from synthgen.runtime.memory import parse_size

    options = RunOptions(
        count=flags.count,
        seed=flags.seed,
        std_dev=flags.std_dev,
        confidence=flags.confidence,
        decimals=flags.decimals,
        workers=flags.workers,
        memory_budget_bytes=parse_size(flags.memory_budget),
        n_centroids=flags.num_centroids,
        output_dir=flags.output_dir,
        data_dir=flags.data_dir,
        endpoint=flags.endpoint,
        space=flags.space,
        concurrent=flags.concurrent,
        batch_size=flags.batch_size,
        processes=flags.processes,
        verify=flags.verify,
        quiet=flags.quiet,
    )
    return run(options, dry_run=flags.dry_run, as_json=flags.json)


def _serve(flags: argparse.Namespace) -> int:
    from synthgen.phases.serve import serve

    return serve(ServeSpec(flags.data_dir, flags.host, flags.port, flags.stop_on_stdin_eof, flags.json))


def _centroids(flags: argparse.Namespace) -> int:
    from synthgen.phases.centroids import CentroidOptions, extract_centroids
    from synthgen.phases.report import print_centroids

    spaces = tuple(flags.space or ())
    options = CentroidOptions(
        flags.endpoint, flags.output, spaces, flags.num_centroids, flags.seed, flags.quiet
    )
    print_centroids(extract_centroids(options), flags.output, as_json=flags.json)
    return EXIT_OK


def _fit(flags: argparse.Namespace) -> int:
    from synthgen.phases.fit import FitOptions, fit
    from synthgen.phases.report import print_fit

    options = FitOptions(
        output=flags.output,
        input=flags.input,
        endpoint=flags.endpoint,
        spaces=tuple(flags.space or ()),
        seed=flags.seed,
        quiet=flags.quiet,
    )
    print_fit(fit(options), as_json=flags.json)
    return EXIT_OK


def _generate(flags: argparse.Namespace) -> int:
    from synthgen.phases.datasets import choose_model, make_dataset, warn_of_noise
    from synthgen.phases.generate import GenerateOptions, generate
    from synthgen.phases.report import print_generated
    from synthgen.runtime.memory import parse_size

    output = None if flags.output == "-" else Path(flags.output)
    if output is not None and output.suffix in {".parquet", ".npy", ".fbin", ".zst"}:
        raise UsageError(f"{output.suffix} files cannot be written yet: JSON lines only", where=str(output))
    options = GenerateOptions(flags.workers, parse_size(flags.memory_budget), flags.overwrite, flags.quiet)
    model = choose_model(flags.centroids, flags.std_dev, flags.model)
    dataset = make_dataset(model, (output or Path("x")).parent, **_dataset_parameters(flags))
    if not flags.quiet:
        warn_of_noise(dataset)
    print_generated(generate(dataset, output, options), as_json=flags.json)
    return EXIT_OK


def _dataset_parameters(flags: argparse.Namespace) -> dict[str, Any]:
    """Return the parameters of a spec that were given; the others keep the spec's defaults."""
    names = ["count", "seed", "std_dev", "confidence", "decimals"]
    names += ["tightness", "zipf", "near_duplicate_rate", "outlier_rate"]
    return {name: getattr(flags, name) for name in names if getattr(flags, name, None) is not None}


def _ingest(flags: argparse.Namespace) -> int:
    from synthgen.phases.deliver import deliver, open_named, plan_text, resolve_spaces
    from synthgen.phases.report import print_report

    rows = open_named(flags.input, flags.spec, flags.limit)
    spec = IngestSpec(
        endpoint=flags.endpoint,
        ledger=flags.ledger or rows.default_ledger,
        concurrent=flags.concurrent,
        batch_size=flags.batch_size,
        processes=flags.processes,
        spaces=resolve_spaces(flags.space, flags.spaces),
        verify=flags.verify,
        quiet=flags.quiet,
        **_max_errors(flags.max_errors),
    )
    if flags.plan:
        print(plan_text(rows, spec))
        return EXIT_OK
    return print_report(deliver(rows, spec), as_json=flags.json)


def _max_errors(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        if text.endswith("%"):
            share = float(text[:-1]) / 100
            if 0 <= share <= 1:
                return {"max_error_share": share}
        elif int(text) >= 0:
            return {"max_errors": int(text)}
    except ValueError:
        pass
    raise UsageError(f"--max-errors must be a number of rows or a percentage like 1%, not {text!r}")


def _verify(flags: argparse.Namespace) -> int:
    from synthgen.phases.deliver import open_named, resolve_spaces, verify_rows
    from synthgen.phases.report import print_report

    rows = open_named(flags.input, flags.spec, None)
    spaces = resolve_spaces(flags.space, flags.spaces)
    options = {"sample": flags.sample, "processes": flags.processes, "quiet": flags.quiet}
    return print_report(verify_rows(rows, flags.endpoint, spaces, options), as_json=flags.json)


def _fidelity(flags: argparse.Namespace) -> int:
    from synthgen.phases.fidelity import FidelityOptions, compare_sets
    from synthgen.phases.report import print_report

    options = FidelityOptions(
        flags.real, flags.synthetic, flags.output, flags.seed, flags.max_rows, flags.quiet
    )
    return print_report(compare_sets(options), as_json=flags.json)
