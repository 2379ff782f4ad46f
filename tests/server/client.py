"""A small client on the standard library: what these tests say to a server, and what they send."""

from __future__ import annotations

import http.client
import json
import select
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from tests.waiting import wait_until

REMEMBER = "/api/v1/memories/remember"
LIST = "/api/v1/memories"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def is_text(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/plain")


class Client:
    """One kept-alive connection; another one where the server closed it between requests."""

    def __init__(self, port: int, timeout_s: float = 60, host: str = "127.0.0.1") -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=timeout_s)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()  # the next request opens another one

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if data is not None:
            named.setdefault("Content-Type", "application/json")
        if self._is_closed_there():
            self.close()
        try:
            self._connection.request(method, path, data, named)
            response = self._connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, found, response.read())
        except BaseException:
            self.close()  # what comes on it later answers nothing that is asked
            raise

    def _is_closed_there(self) -> bool:
        """Return whether the server closed the connection, as it does with those that are idle for long."""
        if self._connection.sock is None:
            return False
        news = select.poll()
        news.register(self._connection.sock, select.POLLIN)
        try:
            return bool(news.poll(0)) and not self._connection.sock.recv(1, socket.MSG_PEEK)
        except ConnectionError:
            return True

    def get(self, path: str, **query: Any) -> Reply:
        return self.send("GET", f"{path}?{urlencode(query)}" if query else path)

    def remember(self, space: str | None = None, **memory: Any) -> Reply:
        body = {"content": "something"} | memory
        return self.send("POST", REMEMBER, body | ({"memory_space_id": space} if space else {}))

    def count(self, space: str) -> int:
        count: int = self.get(LIST, space=space, limit=0).json["tier_counts"]["hot"]
        return count


def wait_until_healthy(client: Client) -> None:
    """Wait until all that had failed was done: words are indexed in quiet moments alone."""
    wait_until(lambda: client.get("/health").json["status"] == "healthy", "a failure is not forgotten")


def vectors(n_rows: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((n_rows, 768)).astype(np.float32)


def numbers(vector: NDArray[Any]) -> list[float]:
    return [float(x) for x in vector]


def packed(values: Any) -> bytes:
    """Return numbers as the float32 that a client reads them as."""
    return np.array(values, np.float64).astype(np.float32).tobytes()
