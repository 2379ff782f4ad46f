"""The record of what is finished: append-only JSON lines beside the input.

    {"synthgen_ledger": 1, "input": ..., "input_name": ..., "endpoint": ..., "spaces": [...]}
    {"run": {"n_rows": ..., "batch_size": ..., "concurrent": ..., "route": ...}}
    {"rows": [0, 1000], "acked": 999, "dead": [17], "dead_bytes": [8123, 140]}
    {"rows": [1000, 5000], "of": [0, 2], ...}           only the spaces 0 and 2 (rows modulo spaces)

A line is written after the database acknowledged its rows, in one write: a memory may be acknowledged and
not in the ledger, never the other way. Lines reach the disk (fsync) once a second and at the end; a power cut
may lose the last ones, whose rows are then sent again under the same ids. Dead letters are on disk before
the line that counts them, and the line tells how long their files were, so that none is written twice.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from synthgen.errors import InputError, ResourceError
from synthgen.ingest.plan import Batch, Finished, count_rows
from synthgen.runtime.files import (
    FileLock,
    check_parent_folder,
    explain_os_errors,
    os_error_about,
    sync_folder,
)

FORMAT_VERSION = 1
SYNC_INTERVAL_S = 1.0
_MARK = b'{"synthgen_ledger":'


@dataclass(frozen=True)
class LedgerKey:
    """What a ledger belongs to: another input, endpoint or list of spaces needs another ledger."""

    input_digest: str
    input_name: str
    endpoint: str
    spaces: tuple[str, ...]

    @property
    def n_spaces(self) -> int:
        """How many spaces rows are spread over, the default space counting as one."""
        return max(1, len(self.spaces))

    def to_document(self) -> dict[str, Any]:
        """Return the ledger's first line."""
        return {
            "synthgen_ledger": FORMAT_VERSION,
            "input": self.input_digest,
            "input_name": self.input_name,
            "endpoint": self.endpoint,
            "spaces": list(self.spaces),
        }

    def difference(self, header: Mapping[str, Any]) -> str:
        """Return how the first line of a ledger differs from this, or nothing."""
        mine = self.to_document()
        names = ("input", "endpoint", "spaces")
        return ", ".join(
            f"{name} {_short(header.get(name))} -> {_short(mine[name])}"
            for name in names
            if header.get(name) != mine[name]
        )


def _short(value: object) -> str:
    text = ",".join(map(str, value)) or "default" if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:16]}..."


@dataclass
class LedgerState:
    """What a ledger says: finished rows, the dead ones among them, sizes of the dead-letter files."""

    finished: Finished
    dead: dict[int, None] = field(default_factory=dict)
    dead_bytes: tuple[int, ...] = (0, 0)

    def add(self, line: Mapping[str, Any]) -> None:
        """Take one line in; raise KeyError, TypeError or ValueError when it is none."""
        if "run" in line:
            return
        start, stop = (int(bound) for bound in line["rows"])
        residues = tuple(int(residue) for residue in line.get("of", range(self.finished.n_spaces)))
        dead = [int(row) for row in line["dead"]]
        if not 0 <= start < stop or not set(residues) <= set(range(self.finished.n_spaces)):
            raise ValueError("impossible rows")
        self.finished.add(start, stop, residues)
        self.dead.update(dict.fromkeys(dead))
        if dead:
            self.dead_bytes = tuple(int(size) for size in line["dead_bytes"])


class Ledger:
    """The ledger at ``path``, ours alone while open.

    Opening creates it, or reads it (a torn last line is cut off); closing takes it away again when it says
    nothing but whose it is. Raises InputError when it belongs to something else or is damaged, ResourceError
    when another run holds it or the disk refuses.
    """

    def __init__(self, path: Path, key: LedgerKey) -> None:
        self.path = path
        self.key = key
        self.state = LedgerState(Finished(key.n_spaces))
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        self._descriptor = -1
        self._synced_s = 0.0
        self._has_lines = False

    def __enter__(self) -> Ledger:
        check_parent_folder(self.path)
        if self.path.exists() and not self.path.is_file():
            raise InputError("not a regular file", where=str(self.path), next_step="give another --ledger")
        with explain_os_errors(self.path):
            free = self._lock.acquire()
        if not free:
            raise ResourceError(
                f"another run holds this ledger (process {self._lock.holder() or 'unknown'})",
                where=str(self.path),
                next_step="wait for it, or give another --ledger",
            )
        try:
            self._open()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        if not self._has_lines:  # it tells of nothing, and would stand in the way of another input
            with contextlib.suppress(OSError):
                self.path.unlink()
        self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._lock.remove()

    def start_run(self, settings: Mapping[str, Any]) -> None:
        """Note the settings of a run that is about to send; they may differ from run to run."""
        self._has_lines = True
        self._append({"run": dict(settings)})
        self.sync()

    def record(
        self, batch: Batch, runs: Sequence[tuple[int, int]], dead: Sequence[int], dead_bytes: tuple[int, int]
    ) -> None:
        """Write that the rows of ``batch`` within ``runs`` are finished, ``dead`` of them as dead letters."""
        lines = []
        for start, stop in runs:
            dead_here = [row for row in dead if start <= row < stop]
            n_rows = count_rows(start, stop, batch.n_spaces, batch.residues)
            line: dict[str, Any] = {
                "rows": [start, stop],
                "acked": n_rows - len(dead_here),
                "dead": dead_here,
            }
            if not batch.is_whole:
                line["of"] = list(batch.residues)
            if dead_here:
                line["dead_bytes"] = list(dead_bytes)
            lines.append(line)
        self._has_lines = True
        self._append(*lines)  # in one write: ``dead_bytes`` stands for all of them
        for line in lines:
            self.state.add(line)
        if time.monotonic() - self._synced_s >= SYNC_INTERVAL_S:
            self.sync()

    def sync(self) -> None:
        """Bring what was written to the disk; raise ResourceError when that fails."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise os_error_about(self.path, error) from error
        self._synced_s = time.monotonic()

    def _append(self, *lines: Mapping[str, Any]) -> None:
        data = b"".join(orjson.dumps(line) + b"\n" for line in lines)
        try:
            written = os.write(self._descriptor, data)
        except OSError as error:
            raise os_error_about(self.path, error) from error
        if written != len(data):  # the rest is torn: the next run cuts it off
            raise ResourceError(
                "the disk took only a part of what was written",
                where=str(self.path),
                next_step="free some room and run the same command again; what is finished is kept",
            )

    def _open(self) -> None:
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            data = self.path.read_bytes()
        except OSError as error:
            raise os_error_about(self.path, error) from error
        sound_bytes = self._read(data)
        if sound_bytes < len(data):
            os.ftruncate(self._descriptor, sound_bytes)
        if sound_bytes == 0:
            self._append(self.key.to_document())
            self.sync()
            sync_folder(self.path.absolute().parent)

    def _read(self, data: bytes) -> int:
        """Take all lines in and return how many bytes are sound: the rest is a torn end."""
        first, newline, rest = data.partition(b"\n")
        if not newline and (_MARK.startswith(first) or first.startswith(_MARK)):
            return 0  # the very first write was cut short
        difference = self._check_header(first)
        self._has_lines = b"\n" in rest
        if difference and not self._has_lines:
            return 0  # it belongs to another run, which sent nothing
        if difference:
            raise InputError(
                f"the ledger belongs to another run: {difference}",
                where=str(self.path),
                next_step="repeat the old command, give another --ledger, or delete it to start over",
            )
        position = len(first) + 1
        lines = data[position:].split(b"\n")
        for number, line in enumerate(lines[:-1], 2):
            if not self._take(line):
                if any(_is_document(later) for later in lines[number - 1 :]):
                    raise InputError(
                        f"line {number} is damaged, and lines follow it",
                        where=str(self.path),
                        next_step="delete that line: its rows are sent again",
                    )
                return position
            position += len(line) + 1
        return position

    def _check_header(self, line: bytes) -> str:
        """Return how the first line differs from ours."""
        header = _document(line)
        if header is None or "synthgen_ledger" not in header:
            raise InputError(
                "not a ledger of synthgen", where=str(self.path), next_step="give another --ledger"
            )
        if header["synthgen_ledger"] != FORMAT_VERSION:
            raise InputError(
                f"a ledger of format {header['synthgen_ledger']}, this program knows {FORMAT_VERSION}",
                where=str(self.path),
                next_step="finish with the version of synthgen that began it, or give another --ledger",
            )
        return self.key.difference(header)

    def _take(self, line: bytes) -> bool:
        document = _document(line)
        if document is None:
            return False
        try:
            self.state.add(document)
        except (KeyError, TypeError, ValueError, AttributeError):
            return False
        return True


def _document(line: bytes) -> dict[str, Any] | None:
    try:
        document = orjson.loads(line)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _is_document(line: bytes) -> bool:
    return _document(line) is not None
