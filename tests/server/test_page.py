"""The page at GET /, in a real browser."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from numpy.typing import NDArray

from synthgen.specs import API_KEY_VARIABLE
from synthgen.wiki.foundation import Foundation, load_foundation
from tests.server.browser import NAMES, Browser, find_browser, running_browser
from tests.server.client import LIST, Client, numbers
from tests.serverproc import ServerProcess, running_server

N_ROWS = 230
PAGE_ROWS = 50
NO_BROWSER = f"needs a browser on the path: {', '.join(NAMES)} (Debian: apt install chromium)"

MARKUP = "<script>window.ran=1</script><img src=x onerror='window.ran=1'><b>bold</b></textarea></style>"
HOSTILE = {
    "<script>window.ran=1</script>": MARKUP,
    "right-to-left": "مرحبا بالعالم \u202e never closed",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈" * 300,
    "long": "x" * 100_000,
    "marks": "Z" + "\u0334\u0321\u031b\u0314" * 300,
    "unseen": "\u200b",
    "i" * 1_024: "an id of 1,024 characters",
    "ü/%41 \u0000x#&=+?'\"": "an odd id",
}


def _vectors() -> NDArray[np.float64]:
    blocks = Foundation().blocks(0, N_ROWS)
    return np.concatenate([rows.embeddings for rows in blocks]) / 1e6


def _fill(server: ServerProcess) -> None:
    titles, vectors = load_foundation()[0], _vectors()
    with Client(server.port) as client:
        for row in range(N_ROWS):
            client.remember(
                id=f"wiki-{row}", content=titles[row], embedding=numbers(vectors[row]), tags=["real", "<i>"]
            )
        for row, (memory_id, content) in enumerate(HOSTILE.items()):
            client.remember("hostile", id=memory_id, content=content, embedding=numbers(vectors[row]))
        client.remember("bare", id="bare", content="no vector")


@pytest.fixture(scope="module")
def chromium(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if find_browser() is None:
        pytest.skip(NO_BROWSER)
    _fill(server)
    with running_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The browser, wide and light; its console must have nothing to say in the end."""
    chromium.resize(1200)
    chromium.prefer("light")
    chromium.complaints.clear()
    chromium.call("Page.resetNavigationHistory")  # a full one loses entries that no person made
    yield chromium
    assert chromium.complaints == []


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.port) as client:
        yield client


def _address(server: ServerProcess, **parts: Any) -> str:
    return f"{server.endpoint}/#{urlencode(parts)}"


def _not_found(browser: Browser) -> bool:
    """Return whether the browser complained of a 404 alone, as of an id that is not there; and let it be."""
    complaints = browser.complaints.copy()
    browser.complaints.clear()
    return len(complaints) == 1 and "404" in complaints[0]


def _shown_ids(browser: Browser) -> list[str]:
    return browser.texts(".rows bdi.code")


def test_it_shows_spaces_and_figures(server: ServerProcess, client: Client, browser: Browser) -> None:
    browser.open(server.endpoint + "/")
    counts = client.get("/metrics").json["snapshot"]["memories_by_space"]
    assert browser.texts("#spaces a") == [f"{name}\n{count:,}" for name, count in counts.items()]
    assert browser.text("#memories") == f"{sum(counts.values())}"
    browser.wait("document.querySelector('#text-lag').innerText === '0 texts'")
    assert re.fullmatch(r"[\d.]+ [kM]B", browser.text("#disk"))
    assert client.get("/health").json["database_id"] in browser.text("#server")
    assert browser.text("#trouble") == ""


def test_what_is_not_known_is_a_dash(server: ServerProcess, browser: Browser) -> None:
    browser.open(server.endpoint + "/")
    assert browser.text("#vector-lag")[:1] in "–0123456789"
    browser.run("figure('vector-lag', counted(undefined), 'memories')")
    assert browser.run("document.querySelector('#vector-lag').textContent") == "–not known"


def test_the_rate_is_that_of_storing(server: ServerProcess, browser: Browser) -> None:
    browser.open(server.endpoint + "/")
    enough = threading.Event()

    def store() -> None:
        with Client(server.port) as client:
            while not enough.is_set():
                client.remember("growing")

    storing = threading.Thread(target=store)
    storing.start()
    try:
        browser.wait("parseInt(document.querySelector('#rate').innerText) > 0")
        browser.wait("[...spaces.keys()].includes('growing')")
    finally:
        enough.set()
        storing.join()
    browser.wait("document.querySelector('#rate').innerText === '0 memories/s'")


def test_words_typed_and_entered_are_searched(
    server: ServerProcess, client: Client, browser: Browser
) -> None:
    browser.open(server.endpoint + "/")
    browser.run("document.querySelector('#query').focus()")
    browser.call("Input.insertText", text="art history")
    browser.press("Enter", "\r")
    browser.wait("document.querySelector('#title').innerText === 'Search for art history'")
    browser.settle()
    found = client.get(f"{LIST}/search", query="art history", limit=50).json["memories"]
    assert len(found) > 3
    assert _shown_ids(browser) == [memory["id"] for memory in found]
    assert browser.texts(".rows a.text") == [memory["content"] for memory in found]
    assert browser.run("location.hash") == "#space=default&query=art+history"
    browser.go("#query=walrus")
    assert (_shown_ids(browser), browser.text("#say")) == ([], "No memory has any of these words.")
    assert _not_found(browser)


def test_more_like_this_is_in_the_order_of_the_cosines(server: ServerProcess, browser: Browser) -> None:
    vectors = _vectors()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit[100]
    order = [row for row in np.argsort(-cosines) if row != 100]
    browser.open(_address(server, id="wiki-100"))
    browser.run("document.querySelector('#view [role=status] a').click()")
    browser.wait("document.querySelector('#title').innerText === 'More like wiki-100'")
    browser.settle()
    assert _shown_ids(browser) == [f"wiki-{row}" for row in order[:50]]
    assert browser.texts(".near") == [f"cosine {cosines[row]:.4f}" for row in order[:50]]
    browser.go("#like=wiki-100&limit=200")
    assert _shown_ids(browser) == [f"wiki-{row}" for row in order[:200]]


def test_one_memory_has_its_content_details_and_neighbours(server: ServerProcess, browser: Browser) -> None:
    browser.open(_address(server, space="default", id="wiki-7"))
    assert browser.text(".content") == load_foundation()[0][7]
    details = dict(zip(browser.texts(".details dt"), browser.texts(".details dd"), strict=True))
    assert details["Id"] == "wiki-7" and details["Space"] == "default" and details["Confidence"] == "0.7"
    assert details["Tags"] == "real, <i>"
    assert len(_shown_ids(browser)) == 10 and "wiki-7" not in _shown_ids(browser)
    first = browser.texts(".rows a.text")[0]
    browser.run("document.querySelector('.rows a.text').click()")
    browser.wait(f"document.querySelector('.content')?.innerText === {first!r}")
    browser.run("history.back()")
    browser.wait("document.querySelector('#title').innerText === 'wiki-7'")
    browser.settle()


def test_a_memory_without_a_vector_says_so(server: ServerProcess, browser: Browser) -> None:
    browser.open(_address(server, space="bare", id="bare"))
    said = "This memory was stored without a vector, so it has no neighbours."
    assert browser.text("#view [role=status]") == said
    assert browser.text(".content") == "no vector"
    assert len(browser.complaints) == 1 and "400" in browser.complaints.pop()


def test_pages_of_the_listing_hold_every_memory_once(server: ServerProcess, browser: Browser) -> None:
    browser.open(server.endpoint + "/")
    seen = _shown_ids(browser)
    while browser.run("[...document.querySelectorAll('nav.pages a')].some(a => a.innerText === 'Next')"):
        browser.run("[...document.querySelectorAll('nav.pages a')].find(a => a.innerText === 'Next').click()")
        browser.wait(f"document.querySelector('.rows bdi').innerText === 'wiki-{len(seen)}'")
        seen += _shown_ids(browser)
    assert seen == [f"wiki-{row}" for row in range(N_ROWS)]
    assert browser.text("#say").startswith(f"201 to {N_ROWS} of {N_ROWS}")
    browser.run("document.querySelector('#jump').value = 77, document.querySelector('.pages button').click()")
    browser.wait("location.hash === '#space=default&number=77'")
    browser.settle()
    assert browser.text(".sought bdi") == "wiki-76" and "number 77" in browser.text(".sought")
    assert browser.run("document.activeElement === document.querySelector('.sought a.text')")
    assert browser.texts(".number") == [f"number {number}" for number in range(51, 101)]
    browser.go("#offset=1000")
    assert browser.text("#say") == f"There is nothing from number 1,001 on: the space holds {N_ROWS}."


@pytest.mark.parametrize("width", [360, 1200])
def test_hostile_content_is_text(server: ServerProcess, browser: Browser, width: int) -> None:
    browser.resize(width)
    browser.open(_address(server, space="hostile"))
    assert browser.run("[...document.querySelectorAll('.rows bdi')].map(b => b.textContent)") == list(HOSTILE)
    assert MARKUP in browser.text(".rows")
    for memory_id, content in HOSTILE.items():
        browser.open(_address(server, space="hostile", id=memory_id))
        assert browser.run("document.querySelector('.content').textContent") == content
        assert browser.run("document.querySelector('#title').textContent") == memory_id
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        assert browser.run("document.querySelectorAll('main :is(script, img, textarea, style)').length") == 0
    assert browser.run("window.ran === undefined")


#: Ways in which markup that got into a page would run, were it not for the policy.
INJECTIONS = [
    "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran=1\">')",
    "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran=1'}))",
    "document.body.append(Object.assign(document.createElement('script'), {src: 'data:,window.ran=1'}))",
]


@pytest.mark.parametrize("injection", INJECTIONS)
def test_nothing_that_gets_into_the_page_runs(
    server: ServerProcess, browser: Browser, injection: str
) -> None:
    attempt = f"try {{ {injection} }} catch {{}}"
    browser.open(server.endpoint + "/")
    browser.run(attempt)
    browser.run("new Promise(done => setTimeout(done, 300))")
    assert browser.run("window.ran === undefined")
    browser.call("Page.navigate", url="about:blank")  # where nothing keeps it from running
    browser.wait("document.body && location.href === 'about:blank'")
    browser.run(attempt)
    browser.wait("window.ran === 1")
    browser.complaints.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(server: ServerProcess, browser: Browser, scheme: str) -> None:
    browser.prefer(scheme)
    browser.open(server.endpoint + "/")

    def colour(name: str) -> float:
        found = browser.run(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()")
        parts = [int(found[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    # WCAG 2.2, 1.4.3: at least 4.5 between text and what it stands on.
    pairs = [(ink, ground) for ink in ("ink", "soft", "link") for ground in ("ground", "sheet")]
    for ink, ground in [*pairs, ("alarm", "alarm-ground")]:
        low, high = sorted((colour(ink), colour(ground)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)


def test_it_can_be_used_by_keyboard_and_is_labelled(server: ServerProcess, browser: Browser) -> None:
    browser.open(server.endpoint + "/")
    browser.press("Tab")
    assert browser.run("document.activeElement.innerText") == "Skip to the memories"
    browser.press("Enter", "\r")
    assert browser.run("document.activeElement.id") == "title"
    for _ in range(8):  # past the pages and the field of the number, to the first memory
        browser.press("Tab")
        if browser.run("document.activeElement.className") == "text":
            break
    assert browser.run("document.activeElement.innerText") == load_foundation()[0][0]
    browser.press("Enter", "\r")
    browser.wait("document.querySelector('#title').innerText === 'wiki-0'")
    browser.settle()
    assert browser.run("document.activeElement.id") == "title"
    tree = browser.call("Accessibility.getFullAXTree")["nodes"]
    kinds = ("textbox", "searchbox", "spinbutton", "button", "link", "navigation", "region")
    nameless = [
        node
        for node in tree
        if node.get("role", {}).get("value") in kinds and not node.get("name", {}).get("value")
    ]
    assert nameless == []


def test_what_the_server_refuses_is_shown_in_its_words(server: ServerProcess, browser: Browser) -> None:
    browser.open(_address(server, id="nowhere"))
    assert "Memory 'nowhere' not found" in browser.text("#say")
    browser.go("#space=NO")
    assert "Invalid memory space ID 'NO'" in browser.text("#say")
    assert len(browser.complaints) == 2 and all("Failed to load" in said for said in browser.complaints)
    browser.complaints.clear()


KEY = "engram_key_page_s3cret"


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerProcess]:
    """A server that requires ``KEY``, with one memory."""
    monkeypatch.setenv(API_KEY_VARIABLE, KEY)
    with running_server(tmp_path / "data", "--require-key") as server:
        with Client(server.port) as client:
            body = {"id": "hidden", "content": "behind the key", "embedding": numbers(_vectors()[0])}
            assert client.send("POST", f"{LIST}/remember", body, Authorization=f"Bearer {KEY}").status == 201
        yield server


def _open_locked(browser: Browser, server: ServerProcess) -> None:
    browser.call("Page.navigate", url="about:blank")
    browser.call("Page.navigate", url=f"{server.endpoint}/#id=hidden")
    browser.wait("document.querySelector('#ask')?.hidden === false")
    browser.settle()


def _give(browser: Browser, key: str) -> None:
    assert browser.run("document.activeElement.id") == "key"
    browser.call("Input.insertText", text=key)
    browser.press("Enter", "\r")


def _leave(browser: Browser) -> None:
    """See that nothing but refusals was complained of, and let them be."""
    assert browser.complaints
    assert all(re.search(r"status of 40[13] ", said) for said in browser.complaints), browser.complaints
    browser.call("Page.navigate", url="about:blank")
    browser.complaints.clear()


@pytest.mark.parametrize("width", [360, 1200])
def test_it_asks_for_the_key_and_keeps_it_in_its_tab_alone(
    locked: ServerProcess, browser: Browser, width: int
) -> None:
    browser.resize(width)
    _open_locked(browser, locked)
    assert "asks for a key" in browser.text("#ask-why") and "give the server's key" in browser.text("#say")
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    browser.wait("document.querySelector('#server').innerText.endsWith('healthy')")  # which needs none
    assert browser.text("#trouble") == "" and "behind the key" not in browser.text("body")
    _give(browser, "another")
    browser.wait("document.querySelector('#ask-why').innerText.includes('does not take this key')")
    browser.settle()
    _give(browser, f" {KEY} ")
    for is_kept in (False, True):
        if is_kept:
            browser.run("window.before = 1, location.reload()")
            browser.wait("!window.before")
        browser.wait("document.querySelector('.content')?.innerText === 'behind the key'")
        browser.wait("document.querySelectorAll('#spaces a').length")
        assert browser.text("#memories") == "1" and browser.run("document.querySelector('#ask').hidden")
    assert browser.run("JSON.stringify([localStorage.length, document.cookie, location.hash])") == (
        '[0,"","#id=hidden"]'
    )
    assert browser.run("Object.values(sessionStorage).join()") == KEY
    assert KEY not in browser.run("document.documentElement.outerHTML + document.querySelector('#key').value")
    assert browser.run("document.querySelector('#key').type") == "password"
    _leave(browser)


def test_without_its_key_it_asks_for_health_alone(locked: ServerProcess, browser: Browser) -> None:
    _open_locked(browser, locked)
    browser.wait("document.querySelector('#server').innerText.endsWith('healthy')")
    n_refused = len(browser.complaints)
    browser.run("poll()")
    assert len(browser.complaints) == n_refused
    browser.run("document.querySelector('#key').value = 'a b'")
    browser.run("document.querySelector('#ask button').click()")  # no header may hold it: it is not sent
    assert browser.run("[document.querySelector('#ask').hidden, key].join()") == "false,"
    _leave(browser)


def test_a_damaged_database_is_told(browser: Browser, tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server, Client(server.port) as client:
        for number in range(40):
            client.remember(id=f"m{number}", content=f"content {'x' * 4_000}")
        assert server.stop() == 0
    database = tmp_path / "data" / "memories.db"
    with running_server(tmp_path / "data") as server:
        with database.open("r+b") as file:
            file.seek(4 * 8_192)
            file.write(bytes(database.stat().st_size - 4 * 8_192))
        browser.open(server.endpoint + "/")
        browser.wait("document.querySelector('#trouble').innerText.includes('says that it is unhealthy')")
        assert "its database is damaged" in browser.text("#trouble")
        assert browser.text("#server").endswith("unhealthy")
        browser.call("Page.navigate", url="about:blank")
    assert browser.complaints and all(re.search("status of 50[03] ", said) for said in browser.complaints)
    browser.complaints.clear()


def test_a_server_that_goes_away_and_comes_back(browser: Browser, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    with running_server(tmp_path / "data", port=port) as server:
        with Client(server.port) as client:
            client.remember(id="kept", content="still here")
        browser.open(server.endpoint + "/")
        server.kill()
    browser.wait("document.querySelector('#trouble').innerText.includes('cannot be reached')")
    assert browser.text("#memories") == "1" and "The figures are of" in browser.text("#trouble")
    assert browser.text("#server").endswith("not reached")
    browser.go("#id=kept")
    assert "cannot be reached" in browser.text("#say")
    browser.complaints.clear()
    with running_server(tmp_path / "data", port=port):
        browser.wait("document.querySelector('.content')?.innerText === 'still here'")
        browser.wait("document.querySelector('#trouble').hidden")
        browser.settle()
        browser.call("Page.navigate", url="about:blank")  # before the server stops: it would be missed
    browser.complaints.clear()


@contextlib.contextmanager
def _held(server: ServerProcess) -> Iterator[None]:
    """Let the server hang while the block lasts: it takes connections, and is silent."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


#: A clock that tests put forward by ``later_ms``.
CLOCK = """
    window.later_ms = 0;
    Date = class extends Date {
      constructor(...parts) { super(...(parts.length ? parts : [Date.now()])); }
      static now() { return super.now() + later_ms; }
    };
"""


def test_a_server_that_hangs_is_waited_for_so_long(browser: Browser, tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server, Client(server.port) as client:
        client.remember(id="kept", content="still here")
        browser.open(server.endpoint + "/")
        browser.run(CLOCK)
        with _held(server):
            browser.run("location.hash = '#query=here'")
            browser.wait("document.querySelector('#title').innerText === 'Search for here'")
            assert browser.text("#say") == "Reading …"
            browser.run("later_ms = 11000")
            browser.settle()
            assert browser.text("#say").endswith("does not answer.")
            assert browser.text("#view button") == "Try again"
        browser.run("document.querySelector('#view button')?.click()")
        browser.wait("document.querySelector('.rows bdi')?.innerText === 'kept'")
        browser.call("Page.navigate", url="about:blank")


def test_a_server_that_is_busy_is_waited_for(server: ServerProcess, browser: Browser) -> None:
    browser.open(server.endpoint + "/")
    browser.run(CLOCK)
    browser.run(
        "const real = fetch;"
        " fetch = async (path, how) => {"
        " if (path.includes('search')) await new Promise(done => window.done = done);"
        " return real(path, how); }"
    )
    browser.run("location.hash = '#query=art'")
    browser.wait("window.done")
    for _ in range(6):  # heard of again and again, never so long ago that it would be given up
        browser.run("later_ms += 2000, poll()")
    browser.wait("document.querySelector('#say').innerText.startsWith('Still reading')")
    browser.run("done()")
    browser.settle()
    assert "found, best first" in browser.text("#say")


def _follow(browser: Browser, link: str) -> None:
    """Click on the link that a JavaScript expression finds."""
    browser.run(f"({link}).focus({{ preventScroll: true }}), ({link}).click()")


ROW_40 = "document.querySelectorAll('.rows a.text')[40]"


def test_back_and_forward_find_the_place_again(server: ServerProcess, browser: Browser) -> None:
    browser.open(server.endpoint + "/")
    browser.run("scrollTo(0, 1500)")
    browser.wait("history.state?.y > 1400")
    _follow(browser, ROW_40)
    browser.wait("document.querySelector('#title').innerText === 'wiki-40'")
    browser.settle()
    assert browser.run("[scrollY, document.activeElement.id].join()") == "0,title"
    _follow(browser, "document.querySelectorAll('.rows a.text')[8]")  # of those that come later
    browser.wait("document.querySelector('#title').innerText !== 'wiki-40'")
    browser.settle()
    browser.run("history.back()")
    browser.wait("document.querySelector('#title').innerText === 'wiki-40'")
    browser.wait("document.activeElement === document.querySelectorAll('.rows a.text')[8]")
    browser.run("history.back()")
    browser.wait(f"document.activeElement === {ROW_40}")
    browser.wait("Math.abs(scrollY - 1500) < 5")  # the browser keeps what is read in its place, to the pixel
    browser.run("history.forward()")
    browser.wait("document.querySelector('#title').innerText === 'wiki-40'")
    browser.wait("document.activeElement === document.querySelectorAll('.rows a.text')[8]")


def test_a_page_that_is_loaded_anew_is_where_it_was(server: ServerProcess, browser: Browser) -> None:
    browser.open(server.endpoint + "/")
    browser.run("scrollTo(0, 1500)")
    browser.wait("history.state?.y > 1400")
    browser.run("window.before = 1, location.reload()")
    browser.wait("!window.before && document.querySelectorAll('.rows a.text').length > 0")
    browser.wait("Math.abs(scrollY - 1500) < 5")
    browser.settle()


def test_more_of_a_list_leaves_what_is_read_where_it_is(server: ServerProcess, browser: Browser) -> None:
    browser.open(_address(server, like="wiki-100"))
    browser.run("document.querySelector('#more').scrollIntoView()")
    before = browser.run("scrollY")
    _follow(browser, "document.querySelector('#more')")
    browser.wait("document.querySelectorAll('.rows a.text').length === 200")
    browser.settle()
    assert browser.run("document.activeElement === document.querySelectorAll('.rows a.text')[50]")
    assert abs(browser.run("scrollY") - before) < 5 and before > 1000
    assert browser.run("location.hash").endswith("limit=200")


def test_the_end_of_what_is_found_is_said(server: ServerProcess, client: Client, browser: Browser) -> None:
    for number in range(1_001):
        client.remember("plenty", id=f"p{number}", content="plenty")
    browser.open(_address(server, space="plenty", query="plenty", limit=800))
    assert browser.text("#more") == "Show more"
    _follow(browser, "document.querySelector('#more')")
    browser.wait("document.querySelectorAll('.rows a.text').length === 1000")
    browser.settle()
    assert browser.text("#view > p") == "The list ends here: 1,000 are found at most."


def test_on_a_small_screen_what_is_opened_is_in_sight(server: ServerProcess, browser: Browser) -> None:
    browser.resize(360, 740)
    browser.open(server.endpoint + "/")
    _follow(browser, "document.querySelector('.rows a.text')")
    browser.wait("document.querySelector('#title').innerText === 'wiki-0'")
    browser.settle()
    assert browser.run("document.querySelector('#title').getBoundingClientRect().top") < 40
    assert browser.run("document.activeElement.id") == "title"
    browser.run("document.querySelector('#query').focus()")
    browser.call("Input.insertText", text="art")
    browser.press("Enter", "\r")
    browser.wait("document.querySelector('#title').innerText === 'Search for art'")
    browser.settle()
    assert browser.run("document.querySelector('#title').getBoundingClientRect().top") < 40


def _open_empty(browser: Browser, server: ServerProcess) -> None:
    browser.call("Page.navigate", url=server.endpoint + "/")
    browser.wait("document.querySelector('#say')?.innerText === 'This space holds no memories.'")


def test_an_empty_list_fills_itself_and_a_full_one_offers_what_is_new(
    browser: Browser, tmp_path: Path
) -> None:
    with running_server(tmp_path / "data") as server, Client(server.port) as client:
        _open_empty(browser, server)
        for number in range(60):
            client.remember(id=f"m{number}")
        browser.wait("document.querySelectorAll('.rows a.text').length")
        browser.wait("document.querySelector('#memories').innerText === '60'")
        browser.go("#space=default")
        browser.run("scrollTo(0, 600)")
        for number in range(60, 62):
            client.remember(id=f"m{number}")
        browser.wait("document.querySelector('#news').innerText === '2 new memories, show'")
        assert browser.run("scrollY") == 600 and len(_shown_ids(browser)) == PAGE_ROWS
        _follow(browser, "document.querySelector('#news a')")
        browser.wait("document.querySelector('.sought bdi')?.innerText === 'm60'")
        browser.settle()
        assert browser.text("#say").startswith("51 to 62 of 62")
        assert browser.run("document.querySelector('#news').hidden")
        browser.go("#query=something")
        client.remember(id="late")
        browser.wait("document.querySelector('#news').innerText.includes('look again')")
        _follow(browser, "document.querySelector('#news a')")
        browser.settle()
        assert browser.text("#title") == "Search for something"
        browser.call("Page.navigate", url="about:blank")


def test_a_click_on_the_space_that_is_shown_reads_it_again(
    server: ServerProcess, client: Client, browser: Browser
) -> None:
    client.remember("clicked", id="first")
    browser.open(_address(server, space="clicked"))
    client.remember("clicked", id="second")
    _follow(browser, "document.querySelector('#spaces [aria-current]')")
    browser.wait("document.querySelectorAll('.rows a.text').length === 2")


def test_a_space_that_is_not_there_is_not_an_empty_one(
    server: ServerProcess, client: Client, browser: Browser
) -> None:
    assert client.send("POST", "/api/v1/spaces", {"id": "hollow"}).status == 201
    browser.open(_address(server, space="nowhere"))
    assert browser.text("#say") == "There is no space of the name nowhere."
    browser.go("#space=nowhere&query=two+words")
    assert browser.text("#say") == "There is no space of the name nowhere."
    assert _not_found(browser)
    browser.go("#space=hollow")
    assert browser.text("#say") == "This space holds no memories."


def test_an_id_is_found_by_the_search(server: ServerProcess, client: Client, browser: Browser) -> None:
    client.remember("named", id="an id of blanks", content="walrus")
    browser.open(_address(server, query="wiki-123"))
    assert _shown_ids(browser)[0] == "wiki-123"
    assert browser.text("#view h3") == "The memory with this id"
    assert browser.text("#say").startswith("There is a memory with this id.")
    browser.go("#space=named&query=an+id+of+blanks")
    assert _shown_ids(browser) == ["an id of blanks"]


def test_of_many_spaces_the_one_shown_is_in_sight_and_they_can_be_sifted(
    browser: Browser, tmp_path: Path
) -> None:
    with running_server(tmp_path / "data") as server, Client(server.port) as client:
        for number in range(300):
            client.remember(f"space-{number:03}")
        browser.open(f"{server.endpoint}/#space=space-250")
        seen = (
            "(list => { const row = document.querySelector('#spaces [aria-current]').getBoundingClientRect(),"
            " box = list.getBoundingClientRect(); return row.top >= box.top && row.bottom <= box.bottom; })"
            "(document.querySelector('#spaces'))"
        )
        assert browser.run(seen)
        browser.press("Tab")
        browser.press("Tab")
        assert browser.run("document.activeElement.id") == "query"
        browser.press("Tab")
        browser.press("Tab")
        assert browser.run("document.activeElement.id") == "sieve"
        browser.call("Input.insertText", text="-29")
        assert browser.texts("#spaces li:not([hidden]) span:first-child") == [
            f"space-{number}" for number in range(290, 300)
        ]
        assert browser.text("#sifted") == "10 of 301"
        browser.run("sieve.value = '', sieve.dispatchEvent(new Event('input'))")
        assert browser.run(seen)
        browser.call("Page.navigate", url="about:blank")


def test_all_that_is_shown_lies_in_a_landmark(server: ServerProcess, browser: Browser) -> None:
    browser.open(server.endpoint + "/")
    assert browser.run(
        "[...document.body.querySelectorAll('dl, ul, form, h1, h2, p:not([role=alert])')]"
        ".every(part => part.closest('header, nav, main, section[aria-label], form'))"
    )


def test_what_is_not_indexed_yet_is_said_in_words(server: ServerProcess, browser: Browser) -> None:
    browser.open(server.endpoint + "/")
    browser.run(
        "showFigures({ text_index_lag_memories: 30902, index_lag_memories: 7, memories_by_space: {} })"
    )
    assert browser.text("#text-lag") == "30,902 texts"
    assert browser.text(".figures :nth-child(3) dt") == "To index on search"
    assert browser.text("#vector-lag") == "7 vectors"
