"""The quirk ``close-after-413`` (``quirks``): a connection that is closed without having been announced so.

Source: Engram's wire, measured on orchard9/engram of 2025-11-21.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]

from synthgen.server.answers import Answer
from synthgen.server.sockets import names_of

#: The most of a body above the limit that is read, to be thrown away, and for how long.
_MAX_DISCARDED_BYTES = 64 * 1024 * 1024
_DISCARD_TIMEOUT_S = 10.0


class ClosedConnections:
    """Connections that had a 413 and are closed, which was not announced: the next request finds out.

    granian (hyper) closes a connection whose body it did not read, and says so; so the body is read here, and
    the connection shut down when it is used again.
    """

    def __init__(self) -> None:
        self._clients: set[str] = set()

    async def refuse(self, scope: Any, protocol: Any, answer: Answer) -> Answer:
        """Return ``answer`` without its notice, the rest of the body read; unchanged where it is too long."""
        n_bytes = 0
        try:
            async with asyncio.timeout(_DISCARD_TIMEOUT_S):
                async for part in protocol:
                    n_bytes += len(part)
                    if n_bytes > _MAX_DISCARDED_BYTES:
                        return answer
        except (ProtocolClosed, RuntimeError, TimeoutError):  # gone, read in part before, or slow
            return answer
        self._clients.add(scope.client)
        return answer._replace(headers=[header for header in answer.headers if header[0] != "connection"])

    def cut(self, client: str) -> bool:
        """Shut the connection of ``client`` down if it had a 413; return whether it had."""
        if client not in self._clients:
            return False
        self._clients.discard(client)
        for entry in list(Path("/dev/fd").iterdir()):
            with contextlib.suppress(OSError):
                connection = socket.socket(fileno=int(entry.name))
                try:
                    if _is_peer(connection.getpeername(), client):
                        connection.shutdown(socket.SHUT_RDWR)
                finally:
                    connection.detach()  # it is granian's
        return True


def _is_peer(address: object, client: str) -> bool:
    if not isinstance(address, tuple):
        return False  # not TCP
    return client in names_of(*address[:2])
