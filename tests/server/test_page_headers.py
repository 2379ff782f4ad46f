"""The page at GET / as it is sent, without a browser."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator

import pytest

from synthgen.server.page import load_page, policy_of
from tests.server.client import Client
from tests.serverproc import ServerProcess


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.port) as client:
        yield client


def test_the_page_is_html_that_is_asked_for_again(client: Client) -> None:
    reply = client.get("/")
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.body == load_page()[0]
    again = client.send("GET", "/", If_None_Match=reply.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert client.send("GET", "/", If_None_Match='"another"').status == 200
    assert client.send("POST", "/", {}).status == 405


def test_the_policy_names_this_script_and_style_alone(client: Client) -> None:
    page = client.get("/").body.decode()
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for kind in ("script", "style"):
        ((text,),) = [re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
        assert digest not in policy_of(page.replace(text, text + " "))


def test_the_page_is_small_and_loads_nothing_from_elsewhere() -> None:
    page = load_page()[0].decode()
    assert len(page) < 40_000
    assert not re.findall(r"(?:https?:)?//[\w.]+\.\w|@import|url\(|innerHTML|outerHTML|insertAdjacent", page)


def test_the_size_on_disk_is_that_of_the_data_folder(server: ServerProcess, client: Client) -> None:
    def disk_bytes() -> int:
        return int(client.get("/metrics").json["snapshot"]["disk_bytes"])

    before = disk_bytes()
    assert before >= (server.data_dir / "memories.db").stat().st_size > 0
    extra = server.data_dir / "extra"
    extra.write_bytes(b"x" * 3_000_000)
    assert disk_bytes() >= before + 3_000_000
    extra.unlink()
