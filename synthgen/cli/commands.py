"""What each command does with its flags: options for a phase, the phase, a report.

Rooms are imported by the command that needs them, so that generating loads neither scikit-learn nor requests.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthgen.errors import EXIT_OK, UsageError
from synthgen.specs import IngestSpec, ServeSpec

if TYPE_CHECKING:
    from synthgen.phases.generate import GenerateOptions


def run_all(flags: argparse.Namespace) -> int:
    """All phases."""
    from synthgen.phases.run import run
    from synthgen.phases.run_options import RunOptions
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


def run_serve(flags: argparse.Namespace) -> int:
    """The embedded server."""
    from synthgen.phases.serve import serve

    spec = ServeSpec(
        flags.data_dir,
        flags.host,
        flags.port,
        flags.stop_on_stdin_eof,
        flags.json,
        quirks=flags.quirks,
        require_key=flags.require_key,
    )
    return serve(spec)


def run_wikipedia(flags: argparse.Namespace) -> int:
    """Phase 1."""
    from synthgen.phases.real import bring_articles
    from synthgen.phases.report import print_report
    from synthgen.phases.wikipedia_options import WikipediaOptions

    options = WikipediaOptions(
        source=flags.dump_path,
        titles=flags.titles,
        download=flags.download,
        download_only=flags.download_only,
        endpoint=flags.endpoint,
        output=flags.output,
        limit=flags.limit,
        cache_dir=flags.cache_dir,
        max_characters=flags.max_characters,
        batch_size=flags.batch_size,
        concurrent=flags.concurrent,
        spaces=(flags.space,) if flags.space else (),
        verify=flags.verify,
        workers=flags.workers,
        quiet=flags.quiet,
        **({"model": flags.embedding_model} if flags.embedding_model else {}),
    )
    return print_report(bring_articles(options, dry_run=flags.dry_run), as_json=flags.json)


def run_centroids(flags: argparse.Namespace) -> int:
    """Phase 2, centroids."""
    from synthgen.phases.centroids import CentroidOptions, extract_centroids
    from synthgen.phases.report import print_centroids

    spaces = tuple(flags.space or ())
    options = CentroidOptions(
        flags.endpoint, flags.output, spaces, flags.num_centroids, flags.seed, flags.quiet
    )
    print_centroids(extract_centroids(options), flags.output, as_json=flags.json)
    return EXIT_OK


def run_fit(flags: argparse.Namespace) -> int:
    """Phase 2, the fitted law."""
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


def run_generate(flags: argparse.Namespace) -> int:
    """Phase 3: memories, or queries."""
    from synthgen.phases.datasets import choose_model, make_dataset, warn_of_noise
    from synthgen.phases.generate import GenerateOptions, generate
    from synthgen.phases.plan import plan_generate
    from synthgen.phases.report import print_generated, print_plan
    from synthgen.runtime.memory import parse_size

    output = None if flags.output == "-" else Path(flags.output)
    options = GenerateOptions(
        flags.workers, parse_size(flags.memory_budget), flags.overwrite, flags.quiet, flags.format
    )
    model = choose_model(flags.centroids, flags.std_dev, flags.model)
    dataset = make_dataset(model, (output or Path("x")).parent, **_dataset_parameters(flags))
    if not flags.quiet:
        warn_of_noise(dataset)
    if flags.dry_run:
        print_plan(plan_generate(dataset, output, options), as_json=flags.json)
        return EXIT_OK
    print_generated(generate(dataset, output, options), as_json=flags.json)
    return EXIT_OK


def _dataset_parameters(flags: argparse.Namespace) -> dict[str, Any]:
    """Return the parameters of a spec that were given; the others keep the spec's defaults."""
    names = ["count", "seed", "std_dev", "confidence", "decimals"]
    names += ["tightness", "zipf", "near_duplicate_rate", "outlier_rate", "role", "shift"]
    return {name: getattr(flags, name) for name in names if getattr(flags, name, None) is not None}


def run_verify_dataset(flags: argparse.Namespace) -> int:
    """A file against its manifest."""
    from synthgen.phases.report import print_report
    from synthgen.phases.verify_dataset import verify_dataset

    report = verify_dataset(flags.file or flags.input, recompute=flags.recompute, options=_making(flags))
    return print_report(report, as_json=flags.json)


def run_regenerate(flags: argparse.Namespace) -> int:
    """A file mended, or some rows alone."""
    from synthgen.phases.excerpt import Excerpt, write_excerpt
    from synthgen.phases.mend import mend
    from synthgen.phases.report import print_report

    if flags.rows is None:
        for name in ("spec", "output", "format"):
            if getattr(flags, name) is not None:
                raise UsageError(f"--{name} goes with --rows; without them FILE is mended in its place")
        return print_report(mend(flags.file, _making(flags), recompute=flags.recompute), as_json=flags.json)
    output = None if flags.output in (None, "-") else Path(flags.output)
    excerpt = Excerpt(flags.spec or flags.file, flags.rows, output, flags.format)
    report = write_excerpt(excerpt, quiet=flags.quiet)
    return print_report(report, as_json=flags.json, stream=sys.stderr if output is None else None)


def _making(flags: argparse.Namespace) -> GenerateOptions:
    from synthgen.phases.generate import GenerateOptions
    from synthgen.runtime.memory import parse_size

    return GenerateOptions(flags.workers, parse_size(flags.memory_budget), quiet=flags.quiet)


def run_ingest(flags: argparse.Namespace) -> int:
    """Phase 4, the delivery."""
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


def run_verify(flags: argparse.Namespace) -> int:
    """Phase 4, the proof."""
    from synthgen.phases.deliver import open_named, resolve_spaces, verify_rows
    from synthgen.phases.report import print_report

    rows = open_named(flags.input, flags.spec, None)
    spaces = resolve_spaces(flags.space, flags.spaces)
    options = {"sample": flags.sample, "processes": flags.processes, "quiet": flags.quiet}
    return print_report(verify_rows(rows, flags.endpoint, spaces, options), as_json=flags.json)


def run_fidelity(flags: argparse.Namespace) -> int:
    """Synthetic geometry against real."""
    from synthgen.phases.fidelity import FidelityOptions, compare_sets
    from synthgen.phases.report import print_report

    options = FidelityOptions(
        flags.real, flags.synthetic, flags.output, flags.seed, flags.max_rows, flags.quiet
    )
    return print_report(compare_sets(options), as_json=flags.json)
