"""Load from several connections at once, and the record of what was acknowledged."""

from __future__ import annotations

import http.client
import threading
from dataclasses import dataclass, field

from tests.server.client import Client, numbers, vectors

N_CONNECTIONS = 8


@dataclass
class Load:
    """Connections that store memories until they are told to stop or the server goes away.

    ``acknowledged`` maps the ids answered 201 to the number of the vector that was sent.
    """

    port: int
    run: str
    acknowledged: dict[str, int] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(N_CONNECTIONS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        self.join()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        embeddings = [numbers(vector) for vector in vectors(10, seed=number)]
        with Client(self.port) as client:
            sent = 0
            while not self._stop.is_set():
                memory_id = f"{self.run}-{number}-{sent}"
                try:
                    reply = client.remember(id=memory_id, content=memory_id, embedding=embeddings[sent % 10])
                except (OSError, http.client.HTTPException):
                    return
                if reply.status == 201:
                    self.acknowledged[memory_id] = number * 10 + sent % 10
                else:
                    self.refused.append(reply.status)
                sent += 1
