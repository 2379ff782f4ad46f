"""Rows that the database refused: their bodies as a next input, their reasons beside them.

``NAME.dead.jsonl`` holds the request bodies as they were sent, one a line: mend it and give it to
`synthgen ingest --input`. ``NAME.dead.reasons.jsonl`` holds ``{"row", "space", "reason"}`` for each, in the
same order. Both are on disk before the ledger counts a row as dead.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from synthgen.runtime.files import explain_os_errors


@dataclass(frozen=True)
class DeadLetter:
    """One refused row, the index of its space, and why."""

    row: int
    reason: str


class DeadLetterFile:
    """The dead letters beside ``ledger``; files appear with the first one.

    ``sizes`` are those that the ledger knows: what is beyond was written by a run that was killed before it
    could say so; it is cut off, and the rows are sent again. A file that is shorter was taken away or edited;
    it is left alone.
    """

    def __init__(self, ledger: Path, sizes: Sequence[int]) -> None:
        self.bodies_path = self.bodies_path_of(ledger)
        self.reasons_path = ledger.with_name(f"{ledger.stem}.dead.reasons.jsonl")
        for path, size in zip((self.bodies_path, self.reasons_path), sizes, strict=True):
            with explain_os_errors(path):
                if path.exists() and path.stat().st_size > size:
                    os.truncate(path, size)

    @staticmethod
    def bodies_path_of(ledger: Path) -> Path:
        """Return where the bodies of dead letters go."""
        return ledger.with_name(f"{ledger.stem}.dead.jsonl")

    def append(self, letters: Sequence[DeadLetter], bodies: Sequence[bytes]) -> tuple[int, int]:
        """Write ``letters`` durably; return the sizes of both files, in bytes."""
        texts = [body.rstrip(b"\r\n").replace(b"\n", b" ") for body in bodies]  # a raw newline is a blank
        reasons = [orjson.dumps({"row": letter.row, "reason": letter.reason}) for letter in letters]
        return _append(self.bodies_path, texts), _append(self.reasons_path, reasons)


def _append(path: Path, lines: Sequence[bytes]) -> int:
    with explain_os_errors(path), path.open("ab", buffering=0) as file:
        data = memoryview(b"\n".join(lines) + b"\n")
        while data:
            data = data[file.write(data) :]
        os.fsync(file.fileno())
        return file.tell()
