"""What all handlers share: the writer, the readers, and the threads that read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from synthgen.server.answers import now_us, time_of
from synthgen.server.reading import Readers
from synthgen.server.store import Space, read_database_id
from synthgen.server.writer import Writer

READ_THREADS = 3
#: Scans of all vectors of a space at a time: each holds a block of them, about 20 MB.
SCAN_THREADS = 2

Result = TypeVar("Result")


class State:
    """The open store of a running server."""

    def __init__(self, database: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.started_at_us = now_us()
        self.database_id = read_database_id(database)
        self.writer = Writer(database, loop)
        self._folder = str(database.absolute().parent)
        self._readers = Readers(database)
        self._loop = loop
        self._pages = ThreadPoolExecutor(READ_THREADS, "reader")
        self._scans = ThreadPoolExecutor(SCAN_THREADS, "scanner")

    async def read(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run ``function(readers, *arguments)``, a short read, in a thread."""
        return await self._loop.run_in_executor(self._pages, function, self._readers, *arguments)

    async def scan(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run ``function(readers, *arguments)``, a read of everything, where it holds up no short one."""
        return await self._loop.run_in_executor(self._scans, function, self._readers, *arguments)

    def describe(self, space: Space) -> dict[str, Any]:
        """Return a space as GET /api/v1/spaces shows it."""
        return {
            "id": space.name,
            "persistence_root": self._folder,
            "created_at": time_of(space.created_at_us),
        }

    def close(self) -> None:
        """Finish reads and writes, copy the log into the database, close everything; blocks."""
        self._pages.shutdown()
        self._scans.shutdown(cancel_futures=True)
        self._readers.close()
        self.writer.close()
