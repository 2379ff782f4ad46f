"""Phase 1 from a source to a database or a file: nothing missing, nothing twice, nothing paid for twice."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pyarrow
import pytest
from pyarrow import parquet

from synthgen.cli import main
from synthgen.errors import InputError, SynthgenError, UsageError
from synthgen.formats.vectors import open_vectors
from synthgen.phases import storing
from synthgen.phases.articles import ArticleSource, Reading, open_source
from synthgen.phases.wikipedia import store_articles
from synthgen.phases.wikipedia_options import WikipediaOptions
from synthgen.wiki.articles import Page
from synthgen.wiki.foundation import load_foundation
from tests.phases.wikirun import BATCH, HashEmbedder, store, vectors_of
from tests.server.client import Client
from tests.serverproc import ServerProcess, running_server
from tests.wiki.dumps import make_page, make_pages, write_dump


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("served") / "data") as running:
        yield running


@pytest.fixture
def space(request: pytest.FixtureRequest) -> str:
    return f"test-{abs(hash(request.node.name)) % 10**8}"


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def mixed_pages() -> list[Page]:
    """Articles, and one page for each reason to leave one out."""
    pages = make_pages(60)
    pages[10] = make_page(11, "#REDIRECT [[Page 1]]", redirect="Page 1")
    pages[20] = make_page(
        21, "'''Twenty''' may refer to:\n* [[Page 1]]\n* [[Page 2]]\n{{disambiguation}}" + " x" * 40
    )
    pages[30] = make_page(31, "Too short.")
    pages[40] = make_page(41, namespace=1)
    return [*pages, make_page(5)]


SKIPPED = {"redirect": 1, "disambiguation": 1, "short": 1, "namespace": 1, "duplicate": 1}


def listed(server: ServerProcess, space: str) -> dict[str, dict[str, object]]:
    with Client(server.port) as client:
        found = client.get("/api/v1/memories", space=space, limit=1000, include_embeddings="true").json
    return {memory["id"]: memory for memory in found["memories"]}


@pytest.mark.parametrize("compression", ["plain", "multistream"])
def test_articles_are_stored_and_proven_and_stored_once(
    compression: str, server: ServerProcess, tmp_path: Path
) -> None:
    dump = write_dump(tmp_path / "a.xml", mixed_pages(), compression, pages_per_stream=7)
    space, log = f"stored-{compression}", tmp_path / "log"
    report = store(dump, tmp_path / "cache", HashEmbedder(log), endpoint=server.endpoint, spaces=(space,))
    assert report.exit_code == 0 and report.n_memories == 56 and dict(report.skipped) == SKIPPED
    found = listed(server, space)
    expected = [f"wiki-{n}" for n in range(1, 61) if n not in (11, 21, 31, 41)]
    assert sorted(found) == sorted(expected)
    content = str(found["wiki-7"]["content"])
    assert content.startswith("Page 7\nPage 7 is a page & more, word")
    assert np.array_equal(
        np.array(found["wiki-7"]["embedding"], np.float32),
        vectors_of([content[: len("Page 7\n") + 1_000]])[0],
    )
    again = store(dump, tmp_path / "cache", HashEmbedder(log), endpoint=server.endpoint, spaces=(space,))
    assert again.exit_code == 0 and again.n_made == 0 and again.ingest and again.ingest.stats.n_sent == 0
    assert max(Counter(log.read_text().splitlines()).values()) == 1


def test_a_limit_far_above_what_there_is_asks_for_no_room(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "a.xml", make_pages(6))
    report = store(dump, tmp_path / "cache", output=tmp_path / "a.jsonl", limit=10**12)
    assert report.n_memories == 6


def test_a_limit_is_a_beginning_that_a_larger_one_goes_on_from(tmp_path: Path) -> None:
    dump, log = write_dump(tmp_path / "a.xml", mixed_pages()), tmp_path / "log"
    for limit, n in ((30, 30), (10, 10), (50, 50), (None, 56)):
        output = tmp_path / f"{limit}.jsonl"
        for named in (output, tmp_path / "grows.jsonl"):
            if limit == 10 and named != output:
                with pytest.raises(InputError, match="already holds 30 memories of this source"):
                    store(dump, tmp_path / "cache", HashEmbedder(log), output=named, limit=limit)
                continue
            report = store(dump, tmp_path / "cache", HashEmbedder(log), output=named, limit=limit)
            assert report.n_memories == len(named.read_bytes().splitlines()) == n
    assert (tmp_path / "None.jsonl").read_bytes().startswith((tmp_path / "30.jsonl").read_bytes())
    assert dict(report.skipped) == SKIPPED
    assert len(log.read_text().splitlines()) == 56


def test_both_kinds_of_file_hold_the_same_and_tell_where_it_is_from(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "a.xml", mixed_pages())
    lines, table = tmp_path / "real.jsonl", tmp_path / "real.parquet"
    for output in (lines, table):
        store(dump, tmp_path / "cache", output=output)
    rows = [orjson.loads(line) for line in lines.read_bytes().splitlines()]
    columns = parquet.read_table(table)
    assert columns.column("id").to_pylist() == [row["id"] for row in rows]
    assert columns.column("title").to_pylist()[6] == "Page 7"
    assert rows[0]["timestamp"] == "2026-01-01T12:00:00Z" and rows[0]["tags"] == ["wikipedia", "en"]
    everything = np.arange(56)
    assert np.array_equal(open_vectors(lines).gather(everything), open_vectors(table).gather(everything))
    about = json.loads((tmp_path / "real.json").read_bytes())
    assert about["licence"]["name"] == "CC BY-SA 4.0" and about["n_memories"] == 56
    assert store(dump, tmp_path / "cache", output=lines).n_made == 0  # it is what would be written
    os.truncate(table, 100)
    with pytest.raises(InputError, match="is there already"):
        store(dump, tmp_path / "cache", output=table)
    with pytest.raises(InputError, match="is there already"):
        store(dump, tmp_path / "cache", output=lines, max_characters=200)
    with pytest.raises(InputError, match="already holds 56 memories"):
        store(dump, tmp_path / "cache", output=lines, limit=20)


def test_what_is_before_damage_is_kept_and_not_paid_for_again(
    server: ServerProcess, space: str, tmp_path: Path
) -> None:
    whole = write_dump(tmp_path / "whole.xml", make_pages(40), "multistream", pages_per_stream=10)
    cut, log = tmp_path / "cut.xml", tmp_path / "log"
    cut.write_bytes(whole.read_bytes()[:-700])
    with pytest.raises(InputError, match=r"byte [\d,]+.*Page \d+.*\d+ articles before are stored"):
        store(cut, tmp_path / "cache", HashEmbedder(log), endpoint=server.endpoint, spaces=(space,))
    n_before = len(listed(server, space))
    assert 30 <= n_before < 40
    report = store(whole, tmp_path / "cache", HashEmbedder(log), endpoint=server.endpoint, spaces=(space,))
    assert report.n_memories == 40 and report.counts.hits == n_before
    assert len(log.read_text().splitlines()) == 40
    with pytest.raises(InputError, match="articles before are kept"):
        store(cut, tmp_path / "cache", HashEmbedder(log), output=tmp_path / "cut.jsonl")
    assert not (tmp_path / "cut.jsonl").exists()


def test_each_space_is_filled_by_itself(server: ServerProcess, tmp_path: Path) -> None:
    dump, log = write_dump(tmp_path / "a.xml", make_pages(6)), tmp_path / "log"
    for space in ("one-space", "another-space"):
        report = store(dump, tmp_path / "cache", HashEmbedder(log), endpoint=server.endpoint, spaces=(space,))
        assert report.exit_code == 0 and len(listed(server, space)) == 6
    assert len(log.read_text().splitlines()) == 6


@pytest.mark.parametrize("pages", [[], [make_page(1, "#REDIRECT [[X]]", redirect="X")]])
def test_a_dump_without_articles_says_so(pages: list[Page], server: ServerProcess, tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "a.xml", pages)
    for where in ({"endpoint": server.endpoint}, {"output": tmp_path / "a.jsonl"}):
        with pytest.raises(InputError, match=r"holds no articles \(left out: 1 redirect\)|without pages"):
            store(dump, tmp_path / "cache", **where)
    assert not (tmp_path / "a.jsonl").exists()


@pytest.mark.parametrize("name", ["real.txt", "no/folder/real.jsonl"])
def test_a_file_that_cannot_be_is_told_of_before_the_model_is_loaded(name: str, tmp_path: Path) -> None:
    dump, log = write_dump(tmp_path / "a.xml", make_pages(6)), tmp_path / "log"
    with pytest.raises(SynthgenError):
        store(dump, tmp_path / "cache", HashEmbedder(log), output=tmp_path / name)
    assert not log.exists()


def test_what_the_database_lost_or_changed_is_sent_again(server: ServerProcess, tmp_path: Path) -> None:
    """The same ids, by another limit of characters: the first run's ledger speaks of what is no longer so."""
    pages = [make_page(n, f"Page {n} is long. " * 60) for n in range(1, 9)]
    dump = write_dump(tmp_path / "a.xml", pages)
    where = {"endpoint": server.endpoint, "spaces": ("changing",)}
    for max_characters in (4_000, 200, 4_000):
        report = store(dump, tmp_path / "cache", max_characters=max_characters, **where)
        assert report.exit_code == 0 and report.ingest and report.ingest.n_rows == 8
        contents = [str(memory["content"]) for memory in listed(server, "changing").values()]
        assert len(contents) == 8 and all(
            (len(content) > 200) == (max_characters > 200) for content in contents
        )


def test_a_database_that_is_away_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes when the first window is made, and comes back when the run waits for it."""
    monkeypatch.setattr(storing, "PART_INTERVAL_S", 0.05)
    dump, data = write_dump(tmp_path / "a.xml", make_pages(60)), tmp_path / "data"
    with contextlib.ExitStack() as servers:
        first = servers.enter_context(running_server(data))
        port = first.port
        said: list[str] = []

        def say(self: storing.Storing, text: str) -> None:
            said.append(text)
            servers.enter_context(running_server(data, port=port))

        monkeypatch.setattr(storing.Storing, "_say", say)

        class Killing(HashEmbedder):
            def embed(self, prepared: list[str]) -> Any:
                first.kill()
                time.sleep(0.3)  # some parts are due meanwhile
                return super().embed(prepared)

        report = store(dump, tmp_path / "cache", Killing(), endpoint=f"http://127.0.0.1:{port}")
    assert report.exit_code == 0 and report.n_memories == 60 and len(said) == 1 and "waiting" in said[0]


def test_a_folder_with_vectors_is_not_embedded_anew(tmp_path: Path) -> None:
    dump, log = write_dump(tmp_path / "a.xml", make_pages(6)), tmp_path / "log"
    (tmp_path / "shards").mkdir()
    store(dump, tmp_path / "cache", output=tmp_path / "shards" / "a.parquet")
    table = parquet.read_table(tmp_path / "shards" / "a.parquet").rename_columns(
        ["id", "title", "text", "timestamp", "tags", "confidence", "embedding"]
    )
    parquet.write_table(table, tmp_path / "shards" / "a.parquet")
    with pytest.raises(InputError, match=r"one file.*a\.parquet"):
        store(tmp_path / "shards", tmp_path / "other", HashEmbedder(log), output=tmp_path / "b.jsonl")
    whole = store(
        tmp_path / "shards" / "a.parquet", tmp_path / "other", HashEmbedder(log), output=tmp_path / "b.jsonl"
    )
    assert whole.n_memories == 6 and whole.lengths is not None and not log.exists()


def test_a_vector_that_is_none_ends_ready_embeddings_with_its_row(tmp_path: Path) -> None:
    titles, steps = load_foundation()
    vectors = steps[:1_100].astype(np.float32)
    (tmp_path / "v.txt").write_text("".join(f"{title}\n" for title in titles[:1_100]))
    np.save(tmp_path / "v.npy", vectors)
    assert store(tmp_path / "v.npy", tmp_path / "cache", output=tmp_path / "out.jsonl").n_memories == 1_100
    vectors[1_050, 3] = np.nan
    np.save(tmp_path / "v.npy", vectors)
    with pytest.raises(InputError, match=r"row 1,050.*the 1,050 articles before are kept"):
        store(tmp_path / "v.npy", tmp_path / "cache", output=tmp_path / "w.jsonl")


def test_titles_that_were_mended_are_read_again(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", vectors_of([f"{i}" for i in range(20)]))
    for word in ("Old", "New"):
        (tmp_path / "v.txt").write_text("".join(f"{word} {i}\n" for i in range(20)))
        store(tmp_path / "v.npy", tmp_path / "cache", output=tmp_path / f"{word}.jsonl")
    assert orjson.loads((tmp_path / "New.jsonl").read_bytes().splitlines()[7])["content"] == "New 7"
    again = store(tmp_path / "v.npy", tmp_path / "cache", output=tmp_path / "New.jsonl")
    json.dumps(again.to_document(), allow_nan=False)  # no lengths of vectors, since none were read


def test_ready_embeddings_of_one_article_take_no_memory(tmp_path: Path) -> None:
    """All but the first are duplicates, whose vectors nobody asks for."""
    n, dimension = 30_000, 256
    vectors = np.ones((n, dimension), np.float32)
    columns = {"id": ["one"] * n, "title": ["One"] * n, "embedding": list(vectors)}
    parquet.write_table(pyarrow.table(columns), tmp_path / "v.parquet")
    tracemalloc.start()
    try:
        report = store(tmp_path / "v.parquet", tmp_path / "cache", output=tmp_path / "a.jsonl")
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert report.n_memories == 1 and dict(report.skipped) == {"duplicate": n - 1}
    assert peak_bytes < vectors.nbytes / 2


@pytest.mark.parametrize("compression", ["plain", "gz"])
def test_damage_behind_all_that_is_wanted_does_no_harm(compression: str, tmp_path: Path) -> None:
    whole, cut = write_dump(tmp_path / "whole.xml", make_pages(400), compression), tmp_path / "cut.xml"
    cut.write_bytes(whole.read_bytes()[:-700])
    assert store(cut, tmp_path / "cache", output=tmp_path / "a.jsonl", limit=5).n_memories == 5
    with pytest.raises(InputError, match="damaged at byte"):
        store(cut, tmp_path / "cache", output=tmp_path / "b.jsonl")


def test_a_reading_that_is_stopped_ends_wherever_it_is(tmp_path: Path) -> None:
    """Of a source without end, of which the first million units are passed over."""
    parquet.write_table(
        pyarrow.table({name: ["x" * 60] for name in ("id", "title", "text")}), tmp_path / "a.parquet"
    )
    source = open_source(tmp_path / "a.parquet")
    assert isinstance(source, ArticleSource)
    unit = next(source.units())
    endless = SimpleNamespace(units=lambda: itertools.repeat(unit))
    for first in (0, 10**15):
        reading = Reading(dataclasses.replace(source, held=endless), first, 1)  # type: ignore[arg-type]
        threading.Timer(0.5, reading.stop).start()
        assert all(step.number >= first for step in reading) and reading.damage is None


@pytest.mark.parametrize(
    "wrong",
    [{"concurrent": 0}, {"batch_size": 0}, {"spaces": ("No Space",)}],
    ids=["concurrent", "batch", "space"],
)
def test_flags_that_no_ingest_takes_are_refused_before_the_model_is_loaded(
    wrong: dict[str, Any], server: ServerProcess, tmp_path: Path
) -> None:
    dump = write_dump(tmp_path / "a.xml", make_pages(5))
    options = WikipediaOptions(dump, cache_dir=tmp_path, endpoint=server.endpoint, quiet=True, **wrong)
    with pytest.raises(UsageError):
        store_articles(options, lambda _: pytest.fail("was loaded"))


def test_vectors_that_the_database_refuses_are_told_of_before_any_work(
    server: ServerProcess, tmp_path: Path
) -> None:
    dump = write_dump(tmp_path / "a.xml", make_pages(5))
    log = tmp_path / "log"
    with pytest.raises(UsageError, match="768 components, these have 384"):
        store(dump, tmp_path / "cache", HashEmbedder(log, dimension=384), endpoint=server.endpoint)
    assert not log.exists()
    report = store(dump, tmp_path / "cache", HashEmbedder(dimension=384), output=tmp_path / "a.jsonl")
    assert report.n_memories == 5


def test_killed_at_any_time_it_goes_on_and_pays_for_nothing_twice(
    server: ServerProcess, tmp_path: Path
) -> None:
    """Kills come at random times, at least three; each may cost the batch that was in the model."""
    n, rng = 400, random.Random(7)
    dump = write_dump(tmp_path / "a.xml", make_pages(n), "multistream", pages_per_stream=9)
    log, n_kills = tmp_path / "log", 0
    command = [sys.executable, "-m", "tests.phases.wikirun", str(dump), str(tmp_path / "cache")]
    command += [server.endpoint, str(log), "0.03"]
    while True:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        before = n_logged(log)
        wanted = before + rng.randrange(1, 150)
        while process.poll() is None and (n_kills >= 5 or n_logged(log) < wanted):
            time.sleep(0.005)
        if process.poll() is not None:
            break
        time.sleep(rng.random() * 0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        n_kills += 1
    assert process.communicate()[1] == "" and process.returncode == 0
    assert n_kills >= 3
    assert len(listed(server, "default")) == n
    paid = Counter(log.read_text().splitlines())
    assert len(paid) == n and sum(paid.values()) <= n + BATCH * n_kills


def n_logged(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


def test_the_command_takes_the_built_in_articles_without_a_model(
    server: ServerProcess, space: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--cache-dir", str(tmp_path / "cache"), "--limit", "50", "-q"]
    assert main(["wikipedia", "--endpoint", server.endpoint, "--space", space, *common]) == 0
    assert "proven: 50 of 50" in capsys.readouterr().out
    assert main(["wikipedia", "--output", str(tmp_path / "b.parquet"), *common, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_memories"] == 50
    assert len(parquet.read_table(tmp_path / "b.parquet")) == 50


def test_a_dry_run_counts_and_shows_and_stores_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = write_dump(tmp_path / "a.xml", mixed_pages(), "gz")
    flags = ["wikipedia", "--dump-path", str(dump), "--dry-run", "-q", "--cache-dir", str(tmp_path / "cache")]
    assert main(flags) == 0
    told = capsys.readouterr().out
    assert "56 articles of 61" in told and "[1] Page 1\nPage 1 is a page" in told and "1 redirect" in told
    assert main([*flags, "--json", "--limit", "3"]) == 0
    assert json.loads(capsys.readouterr().out)["n_articles"] == 3
    assert not (tmp_path / "cache").exists()
    dump.write_bytes(dump.read_bytes()[:-50])
    assert main(flags) == 3 and "it ends early" in capsys.readouterr().out


@pytest.mark.usefixtures("in_folder")
@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--dump-path", "nowhere.xml"], 3, "no such file"),
        (["--dump-path", "page.html"], 3, "HTML"),
        (["--dump-path", "empty.xml"], 3, "empty"),
        (["--limit", "0"], 2, "--limit"),
        (["--download", "--dump-path", "x"], 2, "choose"),
        (["--titles", "x"], 2, "--titles"),
        (["--output", "real.txt"], 2, ".parquet"),
        (["--output", "no/such/folder/real.jsonl"], 3, "folder"),
        (["--endpoint", "http://127.0.0.1:9"], 3, "127.0.0.1:9"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_a_code(
    flags: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("page.html").write_text("<!DOCTYPE html><html><body>Not here</body></html>")
    Path("empty.xml").touch()
    output = [] if "--output" in flags or "--endpoint" in flags else ["--output", "x.jsonl"]
    assert main(["wikipedia", *flags, *output, "--cache-dir", "cache", "-q"]) == code
    error = capsys.readouterr().err.strip()
    assert said in error and "\n" not in error and "Traceback" not in error


def test_the_seeds_script_is_the_command(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "scripts" / "ingest.py"
    command = [sys.executable, str(script), "--output", str(tmp_path / "a.jsonl"), "--limit", "3", "-q"]
    subprocess.run([*command, "--resume", "checkpoint.json"], check=True, cwd=script.parents[1])
    assert len((tmp_path / "a.jsonl").read_bytes().splitlines()) == 3
