from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from synthgen.errors import ResourceError
from synthgen.server import store, texts
from synthgen.server.requests import Memory
from synthgen.server.store import prepare_database
from synthgen.server.writer import Writer
from tests.server.client import LIST, Client
from tests.server.older import take_back
from tests.serverproc import ServerProcess, running_server


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.port) as client:
        yield client


def _search(client: Client, space: str, query: str, **more: Any) -> list[str]:
    reply = client.get(f"{LIST}/search", space=space, query=query, **more)
    assert reply.status == 200
    assert reply.json["total"] == len(reply.json["memories"])
    return [memory["id"] for memory in reply.json["memories"]]


def test_what_was_just_stored_is_found_at_once(client: Client) -> None:
    for number in range(30):
        client.remember("fresh", id=f"m{number}", content=f"a plain sentence with the word walrus{number}")
        assert _search(client, "fresh", f"walrus{number}") == [f"m{number}"]


def test_more_and_rarer_words_come_first(client: Client) -> None:
    contents = ["apple banana", "apple cherry", "apple", "durian", "apple durian"]
    for number, content in enumerate(contents):
        client.remember("ranked", id=str(number), content=content)
    assert _search(client, "ranked", "apple durian")[:2] == ["4", "3"]
    assert len(_search(client, "ranked", "apple", limit=2)) == 2
    assert _search(client, "ranked", "elderberry") == []


@pytest.mark.parametrize(
    "query", ['"', "AND", "a* OR (", "content:x", "-", "", "ü\u0000", "NEAR(", "x" * 5_000]
)
def test_no_query_breaks_the_search(client: Client, query: str) -> None:
    client.remember("odd", id="only", content="nothing of the kind")
    assert client.get(f"{LIST}/search", space="odd", query=query).status == 200


def test_replaced_words_are_forgotten(client: Client) -> None:
    client.remember("forgetful", id="x", content="walrus")
    assert _search(client, "forgetful", "walrus") == ["x"]
    client.remember("forgetful", id="x", content="penguin")
    assert _search(client, "forgetful", "walrus") == []
    assert _search(client, "forgetful", "penguin") == ["x"]


def test_recall_by_words(client: Client) -> None:
    client.remember("words", id="x", content="the quick brown fox")
    found = client.get(f"{LIST}/recall", space="words", query="brown fox").json["memories"]
    assert [memory["id"] for memory in [*found["vivid"], *found["associated"]]] == ["x"]


def test_a_search_needs_a_query(client: Client) -> None:
    assert client.get(f"{LIST}/search").status == 400


def test_the_index_goes_on_after_a_kill(tmp_path: Any) -> None:
    data = tmp_path / "data"
    with running_server(data) as server, Client(server.port) as client:
        client.remember(id="before", content="walrus")
        assert _search(client, "default", "walrus") == ["before"]
        client.remember(id="between", content="walrus")
        server.kill()
    with running_server(data) as server, Client(server.port) as client:
        client.remember(id="after", content="walrus")
        assert sorted(_search(client, "default", "walrus")) == ["after", "before", "between"]


TEXTS = {
    "french": "résumé",
    "vietnamese": "Tiếng Việt",
    "greek": "τῆς ᾠδῆς",
    "korean": "한국어",
    "japanese": "が",
    "hindi": "हिन्दी क़लम",
    "thai": "ที่นี่",
    "chinese": "你好",
    "arabic": "العَرَبِيَّة",
    "hebrew": "שָׁלוֹם",
    "private": "\ue000\ue001",
    "turkish": "İstanbul",
    "numbers": "Ⅷ",
    "joined": "snake_case",
    "nul": "walrus\x00penguin",
}


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("sought", ["NFC", "NFD"])
def test_a_text_finds_itself_in_either_form(client: Client, stored: str, sought: str) -> None:
    space = f"{stored}-{sought}".lower()
    for name, content in TEXTS.items():
        client.remember(space, id=name, content=unicodedata.normalize(stored, content))
    for name, content in TEXTS.items():
        assert _search(client, space, unicodedata.normalize(sought, content))[:1] == [name]


def test_words_are_found_without_their_marks(client: Client) -> None:
    client.remember("marks", id="x", content="Tiếng Việt")
    assert _search(client, "marks", "tieng") == _search(client, "marks", "VIÊT") == ["x"]


@pytest.mark.parametrize("text", ["हिन्दी", "தமிழ்", "বাংলা", "עִבְרִית", "العَرَبِيَّة"])
def test_vowel_signs_are_of_the_word(text: str) -> None:
    assert texts.words_of(text) == list(dict.fromkeys([text, unicodedata.normalize("NFC", text)]))


def test_how_a_sign_is_drawn_is_no_word() -> None:
    assert texts.words_of("\u0301 \u0323\u0301") == []
    assert texts.words_of("heart\ufe0f \u2764\ufe0f \u2764\ufe0e") == ["heart"]


def test_a_text_of_any_character_finds_itself() -> None:
    """What FTS5 makes of a word it makes of what it made, too: no character is lost on the way to it."""
    codes = [*range(1, 0x3400), *range(0x3400, 0xD800, 64), *range(0xE000, 0x110000, 64)]
    text = " ".join(f"a{chr(code)}b {chr(code)}" for code in codes)
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(store._WORDS)

        def indexed(text: str) -> set[str]:
            connection.execute("INSERT INTO memory_text (memory_text) VALUES ('delete-all')")
            connection.execute("INSERT INTO memory_text (rowid, content) VALUES (1, ?)", (text,))
            return {word for (word,) in connection.execute("SELECT term FROM memory_word") if word}

        words = texts.words_of(text)
        assert len(indexed(text)) > 10_000 and indexed(text) <= set(words)
        assert indexed(" ".join(words)) == set(words)


def test_of_a_long_query_the_rarest_words_count(client: Client) -> None:
    common = [f"common{number}" for number in range(texts.MAX_QUERY_WORDS)]
    for number in range(3):
        client.remember("long", id=str(number), content=" ".join(common))
    client.remember("long", id="rare", content="okapi")
    assert "rare" in _search(client, "long", " ".join([*common, "okapi"]))
    absent = " ".join(f"absent{number}" for number in range(texts.MAX_QUERY_WORDS))
    assert _search(client, "long", f"{absent} okapi") == ["rare"]
    assert "rare" in _search(client, "long", f"{'common0 ' * 100} okapi"), "each word counts once"


def test_a_long_text_finds_itself(client: Client) -> None:
    rng = random.Random(1)
    contents = [" ".join(f"w{rng.randrange(9_000)}" for _ in range(5_000)) for _ in range(5)]
    for row, content in enumerate(contents):
        client.remember("texts", id=str(row), content=content)
    assert [_search(client, "texts", content)[0] for content in contents] == list("01234")


def test_an_upgrade_that_ends_early_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / "memories.db"
    prepare_database(database)
    take_back(database, 1)
    before = database.read_bytes()
    with monkeypatch.context() as patch:
        patch.setitem(store._UPGRADES, 3, f"{store._UPGRADES[3]}; SELECT * FROM nowhere")
        with pytest.raises(ResourceError, match="nowhere"):
            prepare_database(database)
    assert database.read_bytes() == before
    prepare_database(database)
    assert int.from_bytes(database.read_bytes()[60:64], "big") == store.SCHEMA_VERSION


@pytest.mark.parametrize("version", [1, 2])
def test_of_an_older_database_the_texts_are_indexed_anew(tmp_path: Path, version: int) -> None:
    database = tmp_path / "data" / "memories.db"
    database.parent.mkdir()
    prepare_database(database)
    contents = ["Tiếng Việt", "walrus"]

    async def fill() -> None:
        writer = Writer(database, asyncio.get_running_loop())
        writer.start()
        for space in ("old", "older"):
            for number, content in enumerate(contents):
                memory = Memory(space, str(number), content, 0.5, 0, 0, "semantic", None, None)
                await writer.store(memory)
            await writer.index_texts(writer.spaces[space])
        writer.close()

    asyncio.run(fill())
    take_back(database, version)
    with running_server(database.parent) as server, Client(server.port) as client:
        for space in ("old", "older"):
            assert _search(client, space, "tieng") == ["0"]
            client.remember(space, id="0", content="penguin")
            assert _search(client, space, "tieng") == []
            assert _search(client, space, "walrus") == ["1"]
