"""What all handlers share: the writer, the readers, and the threads that read."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from synthgen.server.answers import now_us, time_of
from synthgen.server.indexing import FOLDER_NAME, Indexer
from synthgen.server.quirks import NO_QUIRKS, Quirks
from synthgen.server.reading import Readers
from synthgen.server.requests import DEFAULT_SPACE
from synthgen.server.store import Space, read_database_id
from synthgen.server.writer import Writer

READ_THREADS = 3
#: Scans of all vectors of a space at a time: each holds a block of them, about 20 MB.
SCAN_THREADS = 2
SEARCH_THREADS = 2

Result = TypeVar("Result")


class State:
    """The open store of a running server."""

    def __init__(self, database: Path, loop: asyncio.AbstractEventLoop, quirks: Quirks = NO_QUIRKS) -> None:
        self.quirks = quirks
        self.started_at_us = now_us()
        self.database_id = read_database_id(database)
        self.writer = Writer(database, loop)
        self._folder = str(database.absolute().parent)
        self.indexer = Indexer(database, lambda: list(self.writer.spaces.values()), self.writer.perform)
        self.writer.on_commit = self.indexer.committed
        self._readers = Readers(database)
        self._loop = loop
        self._pages = ThreadPoolExecutor(READ_THREADS, "reader")
        self._scans = ThreadPoolExecutor(SCAN_THREADS, "scanner")
        self._searches = ThreadPoolExecutor(SEARCH_THREADS, "searcher")

    def start(self) -> None:
        """Load the indexes that were saved, and start the threads."""
        self.writer.start()
        self.indexer.open()

    def space(self, name: str | None) -> Space | None:
        """Return the space called ``name`` (None: the default one); None where there is none."""
        return self.writer.spaces.get(name or DEFAULT_SPACE)

    async def read(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run ``function(readers, *arguments)``, a short read, in a thread."""
        return await self._loop.run_in_executor(self._pages, function, self._readers, *arguments)

    async def search(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run ``function(readers, *arguments)``, a search by an index, where no scan holds it up."""
        return await self._loop.run_in_executor(self._searches, function, self._readers, *arguments)

    async def scan(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run ``function(readers, *arguments)``, a read of everything, where it holds up no short one."""
        return await self._loop.run_in_executor(self._scans, function, self._readers, *arguments)

    def disk_bytes(self) -> int:
        """Return the bytes of database, log and indexes; files that go away meanwhile count nothing."""
        total = 0
        for folder in (self._folder, f"{self._folder}/{FOLDER_NAME}"):
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        total += entry.stat().st_size if entry.is_file() else 0
        return total

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
        self._searches.shutdown(cancel_futures=True)
        self._scans.shutdown(cancel_futures=True)
        self.indexer.close()
        self._readers.close()
        self.writer.close()
