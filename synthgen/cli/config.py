"""Flags over the defaults of ``--config FILE.toml``, a table a command."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from synthgen.errors import UsageError


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
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
