"""The command as a user meets it: help, defaults from a file, one-line errors, exit codes."""

import argparse
import json
import socket
from pathlib import Path

import numpy as np
import pytest

from synthgen.cli import main, make_parser
from synthgen.specs import DatasetSpec
from tests.datasets import make_model, save_model

COMMANDS = ["run", "serve", "centroids", "fit", "generate", "queries", "verify-dataset", "regenerate"]
COMMANDS += ["ingest", "verify", "fidelity", "wikipedia"]


@pytest.fixture
def centroids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return str(save_model(tmp_path))


def error_of(capfd: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capfd.readouterr().err.splitlines() if "warning" not in line]
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"example: synthgen {command}" in text and "--json" in text and "exit codes" in text


@pytest.mark.parametrize(
    ("flags", "exit_code", "message"),
    [
        (["--count", "0"], 2, "--count must be a whole number"),
        (["--count", "-1"], 2, "--count must be a whole number"),
        (["--count", str(10**15)], 2, "--count must be a whole number"),
        (["--std-dev", "0"], 2, "--std-dev must be a number"),
        (["--std-dev", "-1"], 2, "--std-dev must be a number"),
        (["--std-dev", "nan"], 2, "--std-dev must be a number"),
        (["--confidence", "7"], 2, "--confidence must be a number"),
        (["--decimals", "3"], 2, "--decimals must be a whole number"),
        (["--seed", "-1"], 2, "--seed must be a whole number"),
        (["--memory-budget", "lots"], 2, "--memory-budget must be a size"),
        (["--output", "nowhere/x.jsonl"], 3, "no such folder"),
        (["--output", "x.fbin", "--count", "5000000000"], 2, "at most 4,294,967,295 rows"),
        (["--workers", "-3"], 2, "--workers must be"),
        (["--model", "m.npz"], 2, "isotropic law's"),
        (["--zipf", "2"], 2, "no parameter of the isotropic law"),
        (["--centroids", "missing.npy"], 3, "missing.npy: no such file"),
        (["--centroids", "text.npy"], 3, "not a .npy file"),
        (["--centroids", "integers.npy"], 3, "floating-point"),
    ],
)
def test_bad_input_is_one_line_and_touches_nothing(
    centroids: str, capfd: pytest.CaptureFixture[str], flags: list[str], exit_code: int, message: str
) -> None:
    Path("text.npy").write_text("hello")
    np.save("integers.npy", np.ones((3, 4), np.int32))
    before = sorted(Path().iterdir())
    assert main(["generate", "--centroids", centroids, "--count", "10", "--quiet", *flags]) == exit_code
    assert message in error_of(capfd)
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize("command", ["centroids", "ingest", "verify"])
def test_no_server_is_one_line(centroids: str, capfd: pytest.CaptureFixture[str], command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    main(["generate", "--centroids", centroids, "--count", "10", "--output", "x.jsonl", "--quiet"])
    capfd.readouterr()
    source = [] if command == "centroids" else ["--input", "x.jsonl"]
    assert main([command, "--endpoint", f"http://127.0.0.1:{port}", "--quiet", *source]) == 3
    assert f"127.0.0.1:{port}: no server there" in error_of(capfd)


def test_unknown_flags_and_commands_are_usage_errors(capfd: pytest.CaptureFixture[str]) -> None:
    for arguments in (["generate", "--nonsense"], ["nonsense"], []):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_flag_shows_the_usage_of_its_command(
    command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    needed = {"serve": ["--data-dir=x"], "fidelity": ["a", "b"], "verify-dataset": ["x"], "regenerate": ["x"]}
    needed |= {"ingest": ["--input=x"], "verify": ["--input=x"]}
    with pytest.raises(SystemExit) as stop:
        main([command, *needed.get(command, []), "--prot=7701", "more"])
    said = capfd.readouterr().err
    assert stop.value.code == 2 and said.startswith(f"usage: synthgen {command} [-h] ")
    assert said.endswith(f"synthgen {command}: error: unrecognized arguments: --prot=7701 more\n")


@pytest.mark.parametrize(
    "flags",
    [
        ["serve", "--data-dir", ""],
        ["run", "--output-dir", " "],
        ["ingest", "--input", ""],
        ["ingest", "--input", "x", "--ledger", ""],
        ["verify", "--spec", ""],
        ["fit", "--output", ""],
    ],
)
def test_a_blank_name_does_not_mean_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(flags)
    assert stop.value.code == 2 and f"argument {flags[-2]}: names no file or folder" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_config_file_gives_defaults_and_a_flag_wins(
    centroids: str, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("c.toml").write_text(f'[generate]\ncount = 12\nseed = 3\nquiet = true\ncentroids = "{centroids}"\n')
    common = ["generate", "--config", "c.toml", "--std-dev", "0.001", "--json"]
    assert main([*common, "--output", "a.jsonl"]) == 0
    a = json.loads(capfd.readouterr().out)
    assert main([*common, "--output", "b.jsonl", "--seed", "4"]) == 0
    b = json.loads(capfd.readouterr().out)
    assert a["rows"] == b["rows"] == 12 and a["fingerprint"] != b["fingerprint"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[generate]\nwrong = 1", "has no setting 'wrong'"),
        ("[generate]\ncount = 'many'", "not usable"),
        ("[generate]\nquiet = 3", "must be true or false"),
        ("not toml", "not a TOML file"),
        ("count = 3", "stands in no table"),
        ("generate = 3", "stands in no table"),
        ("[generate]\nformat = 'csv'", "must be one of jsonl, jsonl.zst"),
    ],
)
def test_a_bad_config_is_one_line(
    centroids: str, capfd: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    Path("c.toml").write_text(text)
    assert main(["generate", "--config", "c.toml", "--centroids", centroids]) == 2
    assert message in error_of(capfd)


def parse(*words: str) -> argparse.Namespace:
    return make_parser().parse_args(words)


def test_the_seeds_command_names_take_the_seeds_flags() -> None:
    endpoint = ["--endpoint", "http://localhost:7432"]
    centroids = parse(
        "centroids", *endpoint, "--num-centroids=50", "--output=c.npy", "--seed=42", "--verbose"
    )
    assert (centroids.num_centroids, centroids.output.name) == (50, "c.npy")
    generate = parse(
        "generate", "--centroids", "c.npy", "--std-dev=0.2", "--confidence=0.8", "--seed=1", "-v"
    )
    assert (generate.std_dev, generate.confidence, generate.seed) == (0.2, 0.8, 1)
    ingest = parse("ingest", *endpoint, "--input=o.jsonl", "--concurrent=9", "--batch-size=10", "--limit=9")
    assert (ingest.concurrent, ingest.batch_size, ingest.limit) == (9, 10, 9)
    defaults = parse("generate", "--centroids", "c.npy")
    assert (defaults.count, defaults.seed, defaults.confidence) == (950_000, 42, 0.7)
    assert defaults.std_dev is None and DatasetSpec(make_model().reference("c.npy")).std_dev == 0.1
    assert (parse("ingest", "--input=x").concurrent, parse("ingest", "--input=x").batch_size) == (20, 1_000)


def test_dry_run_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--dry-run"]) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["x", "-1", "101%", "-5%", "1.5", "%"])
def test_max_errors_must_make_sense(centroids: str, capfd: pytest.CaptureFixture[str], text: str) -> None:
    main(["generate", "--centroids", centroids, "--count", "10", "--output", "x.jsonl", "--quiet"])
    capfd.readouterr()
    assert main(["ingest", "--input", "x.jsonl", f"--max-errors={text}"]) == 2
    assert "--max-errors" in error_of(capfd)
