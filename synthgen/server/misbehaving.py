"""What the server does under quirks (``quirks``) in place of what it does without.

Source of all rules and figures: Engram's wire, measured on orchard9/engram of 2025-11-21.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import sqlite3
import sys
import zlib
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthgen.server.gathering import Done
from synthgen.server.reading import Page, Readers, encode_listed
from synthgen.server.recall import Match
from synthgen.server.requests import Memory
from synthgen.server.state import State
from synthgen.server.store import Space
from synthgen.specs import EMBEDDING_DIMENSION

#: Cosine from which on two memories are near-duplicates.
NEAR = 0.95
#: Random bits of an id that Engram makes.
_ID_BYTES = 4
_CONSTANT = np.full(EMBEDDING_DIMENSION, 0.5, np.float32).tobytes()


def without_embedding(memory: Memory) -> Memory:
    """Return what Engram stores of a body of POST /memories: content and confidence, under its own id."""
    memory_id = f"mem_{secrets.token_hex(_ID_BYTES)}"
    return memory._replace(id=memory_id, embedding=_CONSTANT, memory_type="semantic", details=None)


class _Change(NamedTuple):
    """What a store comes to: ``memory`` is stored, in the place of the memory ``victim`` if there is one."""

    memory: Memory
    victim: str | None


class MisbehavingStore:
    """Stores memories by the quirks that are on. Belongs to the loop's thread.

    A space has a lock, as Engram's has: what a memory comes to depends on those before it. What a space
    holds is kept in memory, too, about 3 kB a memory, read from the store at the first use.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._quirks = state.quirks
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._known: dict[str, _Known] = {}
        self._held: list[_Change] = []
        self._applying = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def store(self, memory: Memory, done: Done) -> None:
        """Have ``memory`` stored, or not; ``done`` is called when it is to be acknowledged."""
        task = asyncio.get_running_loop().create_task(self._store(memory))
        self._tasks.add(task)

        def end(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled():
                error = task.exception()
                done(error if isinstance(error, Exception) else None)

        task.add_done_callback(end)

    async def _store(self, memory: Memory) -> None:
        async with self._locks[memory.space]:
            known = self._known.get(memory.space) or await self._load(memory.space)
            if self._quirks.slow_store_us:
                await asyncio.sleep(self._quirks.slow_store_us * len(known) / 1e6)
            change = self._decide(known, memory)
            if change is None:
                return
            known.put(*change)
            if self._quirks.early_ack_ms:
                self._hold(change)
            else:
                await self._apply([change])

    def n_overstated(self, space: Space | None) -> int:
        """Return by how many memories the count of ``space`` is too high, since the start."""
        known = None if space is None else self._known.get(space.name)
        return known.n_replaced if known is not None and self._quirks.overstated_counts else 0

    async def flush(self) -> None:
        """Store what was acknowledged early; a failure is said on stderr, since nobody waits for it."""
        async with self._applying:
            held, self._held = self._held, []
            try:
                await self._apply(held)
            except sqlite3.Error as error:
                print(f"synthgen serve: acknowledged memories are lost: {error}", file=sys.stderr, flush=True)

    async def _load(self, space: str) -> _Known:
        known = self._known[space] = _Known()
        found = self._state.writer.spaces.get(space)
        if found is not None:
            for memory_id, confidence, embedding in await self._state.scan(_read_known, found):
                known.add(memory_id, confidence, embedding)
        return known

    def _decide(self, known: _Known, memory: Memory) -> _Change | None:
        near = known.nearest(memory.embedding) if self._quirks.near_duplicates else None
        if near is not None and memory.confidence <= known.confidence_of(near):
            return None
        if memory.id in known:
            return _Change(memory, None)  # the same id replaces
        if near is not None:
            return _Change(memory, near)
        full = 0 < self._quirks.capacity <= len(known)
        return _Change(memory, known.oldest() if full else None)

    def _hold(self, change: _Change) -> None:
        self._held.append(change)
        if len(self._held) == 1:
            loop = asyncio.get_running_loop()
            loop.call_later(self._quirks.early_ack_ms / 1e3, lambda: loop.create_task(self.flush()))

    async def _apply(self, changes: Sequence[_Change]) -> None:
        """Make ``changes`` durable, in their order: a victim must be there before its place is taken."""
        writer = self._state.writer
        stored: list[asyncio.Future[None]] = []
        try:
            for memory, victim in changes:
                if victim is not None:
                    await asyncio.gather(*stored)
                    await writer.rename(memory.space, victim, memory.id)
                stored.append(writer.store(memory))
            await asyncio.gather(*stored)
        except sqlite3.Error:
            self._known.clear()  # believe the file
            raise


class _Known:
    """What a space holds: ids from the one stored longest ago on, with embeddings and confidences."""

    def __init__(self) -> None:
        self.n_replaced = 0
        self._slots: dict[str, int] = {}
        self._ids: list[str] = []
        self._confidences: list[float] = []
        self._embeddings: list[bytes | None] = []
        self._directions = np.zeros((64, EMBEDDING_DIMENSION), np.float32)

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, memory_id: str) -> bool:
        return memory_id in self._slots

    def confidence_of(self, memory_id: str) -> float:
        return self._confidences[self._slots[memory_id]]

    def oldest(self) -> str:
        return next(iter(self._slots))

    def nearest(self, embedding: bytes | None) -> str | None:
        """Return the memory of largest cosine to ``embedding``, if it is a near-duplicate."""
        if embedding is None or not self._ids:
            return None
        cosines = self._directions[: len(self)] @ _direction(embedding)
        best = int(cosines.argmax())
        return self._ids[best] if cosines[best] >= NEAR else None

    def put(self, memory: Memory, victim: str | None) -> None:
        """Add ``memory``, in the place of ``victim`` or of the memory of its id, if there is one."""
        slot = self._slots.pop(victim or memory.id, None)
        if slot is None:
            self.add(memory.id, memory.confidence, memory.embedding)
            return
        if victim is None and memory.embedding != self._embeddings[slot]:
            self.n_replaced += 1
        self._slots[memory.id] = slot  # behind all others
        self._ids[slot] = memory.id
        self._set(slot, memory.confidence, memory.embedding)

    def add(self, memory_id: str, confidence: float, embedding: bytes | None) -> None:
        slot = self._slots[memory_id] = len(self._ids)
        if slot == len(self._directions):
            self._directions = np.concatenate((self._directions, np.zeros_like(self._directions)))
        self._ids.append(memory_id)
        self._confidences.append(0.0)
        self._embeddings.append(None)
        self._set(slot, confidence, embedding)

    def _set(self, slot: int, confidence: float, embedding: bytes | None) -> None:
        self._confidences[slot] = confidence
        self._embeddings[slot] = embedding
        self._directions[slot] = 0 if embedding is None else _direction(embedding)


def _direction(embedding: bytes) -> NDArray[np.float32]:
    """Return ``embedding`` at unit length, whatever its own."""
    vector = np.frombuffer(embedding, np.float32).astype(np.float64)
    vector /= np.abs(vector).max()
    unit: NDArray[np.float32] = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit


def _read_known(readers: Readers, space: Space) -> list[tuple[str, float, bytes | None]]:
    """Return id, confidence and embedding of all memories, the one stored longest ago first."""
    found = readers.connection().execute(
        "SELECT id, confidence, embedding FROM memory WHERE row >= ? AND row < ? ORDER BY stored_at_us, row",
        (space.first_row, space.first_row + space.n_memories),
    )
    return found.fetchall()


def read_unordered(readers: Readers, page: Page, start: int, stop: int) -> bytes:
    """Return what :func:`synthgen.server.reading.read_piece` does, of a listing whose order is not kept.

    Place i has the memory of ordinal (i * step + 1) modulo n, step near 0.618 n and coprime to n: all
    memories once, and another order for each n, so that a listing has gaps and repeats while memories come.
    """
    if page.space is None or start >= stop:
        return b""
    n = page.n_memories
    step = next(step for step in range(max(1, round(0.618 * n)), 2 * n + 2) if math.gcd(step, n) == 1)
    connection = readers.connection()
    rows = (page.space.first_row + (place * step + 1) % n for place in range(start, stop))
    return encode_listed(
        [
            connection.execute(f"SELECT {page.columns} FROM memory WHERE row = ?", (row,)).fetchone()
            for row in rows
        ]
    )


def unrelated(
    readers: Readers, space: Space, n_memories: int, vector: NDArray[np.float64], limit: int
) -> list[Match]:
    """Return ``limit`` memories chosen by chance, the same ones each time, by falling cosine to ``vector``.

    Measured on Engram with 1,000 memories: recall@10 0.02, and a stored vector found itself 1 time in 20.
    """
    rng = np.random.default_rng(zlib.crc32(vector.tobytes()))
    chosen = rng.choice(n_memories, min(limit, n_memories), replace=False).tolist()
    sought = _direction(vector.astype(np.float32).tobytes())
    matches = []
    for row in (space.first_row + ordinal for ordinal in chosen):
        (embedding,) = (
            readers.connection().execute("SELECT embedding FROM memory WHERE row = ?", (row,)).fetchone()
        )
        if embedding is not None:
            matches.append(Match(row, float(_direction(embedding) @ sought)))
    return sorted(matches, key=lambda match: -match.cosine)


def spaces_with_memories(state: State) -> frozenset[str]:
    """Return the names of the spaces that hold anything."""
    return frozenset(space.name for space in state.writer.spaces.values() if space.n_memories)
