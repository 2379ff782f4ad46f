"""The life of a dataset's file: begun under another name, continued after a kill, published when whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import xxhash

from synthgen.errors import InputError
from synthgen.formats import inspection
from synthgen.formats.chunks import Digests, FixedPlaces, PackedPlaces, Places
from synthgen.formats.encoding import Encoding
from synthgen.formats.journal import Entry, Header, Journal, read_header, read_noted
from synthgen.formats.manifest import Manifest, journal_path, manifest_path, partial_path, read_manifest
from synthgen.runtime import files
from synthgen.specs import CHUNK_ROWS, chunk_bounds, describe_difference, n_chunks


class DatasetFile:
    """The file ``output`` in ``encoding`` while it is made; a context that holds a lock on the name.

    In the order of its life: :meth:`finished`, :meth:`begin`, for each chunk of ``missing`` its bytes in
    ``partial`` at its place and :meth:`record`, :meth:`finish`. ``places`` tells where chunks lie; those of a
    packed format are appended as sizes become known (placement.py). What belongs to another spec, or holds
    more rows, or is of another format, is refused, untouched.
    """

    def __init__(self, output: Path, encoding: Encoding) -> None:
        self.partial = partial_path(output)
        self.places = first_places(encoding)
        self._output = output
        self._encoding = encoding
        self._digests = Digests()
        self._journal: Journal | None = None
        self._sync: files.BackgroundSync | None = None
        self._lock = files.FileLock(output.with_name(f".{output.name}.lock"))

    def __enter__(self) -> DatasetFile:
        files.check_parent_folder(self._output)
        with files.explain_os_errors(self._output):
            free = self._lock.acquire()
        if not free:
            raise InputError(
                f"another run (process {self._lock.holder()}) is writing it",
                where=str(self._output),
                next_step="wait for it, or choose another --output",
            )
        return self

    def __exit__(self, *exc_info: object) -> None:
        with contextlib.suppress(OSError):  # where it matters, finish() has raised it already
            self._end_sync()
        with contextlib.suppress(OSError):  # record() has: what could not be written is tried again
            if self._journal is not None:
                self._journal.close()
        self._lock.remove()

    def finished(self) -> Manifest | None:
        """Return the manifest when the file is there, whole and of the same rows; None when it must be made.

        Every byte is hashed; where some are damaged, cut or too many, the file goes back to being unfinished,
        so that only those are made again. Raises InputError when something else has the name.
        """
        manifest = look_up(self._output, self._encoding)
        if manifest is None or not self._is_intact(manifest):
            return None
        with files.explain_os_errors(journal_path(self._output)):
            journal_path(self._output).unlink(missing_ok=True)  # killed after the manifest was written
        return manifest

    def begin(self, *, overwrite: bool) -> None:
        """Prepare ``partial`` and the journal, keeping what is whole in them already.

        Disk space is checked before the first byte. Raises ResourceError, or InputError for the remains of
        another dataset.
        """
        state = None if overwrite else read_header(journal_path(self._output))
        with files.explain_os_errors(self.partial):
            if state is not None:
                self._find_remains(state)
            self._check_room()
            self._digests = Digests(length=n_chunks(self._encoding.spec.count))
            if state is not None:
                self._take_over(state)
            self._take_room()
            self._sync = files.BackgroundSync(self.partial)
        self._restart_journal()

    def missing(self) -> Iterator[int]:
        """Yield the chunks whose bytes are not in ``partial``, in order."""
        return self._digests.missing()

    @property
    def n_missing_rows(self) -> int:
        """Rows whose bytes are not in ``partial``."""
        count = self._encoding.spec.count
        bounds = (chunk_bounds(chunk, count) for chunk in self.missing())
        return sum(stop - start for start, stop in bounds)

    def record(self, chunk: int, digest: str) -> None:
        """Note that the bytes of ``chunk`` are in ``partial``, with this XXH3-128 digest."""
        assert self._journal is not None, "begin() comes first"
        self._digests[chunk] = digest
        place = None if self._told_places is None else self.places[chunk]
        with files.explain_os_errors(journal_path(self._output)):
            self._journal.add(Entry(chunk, digest, place))

    def forget_from(self, chunk: int) -> None:
        """Forget all chunks of a packed file from ``chunk`` on: one of them has another size than before."""
        assert isinstance(self.places, PackedPlaces), "only then does a chunk's place depend on others"
        self.places.cut(chunk)
        for number in range(chunk, len(self._digests)):
            self._digests[number] = ""
        self._restart_journal()

    def finish(self) -> Manifest:
        """Write head and tail, sync, give the file its name, write the manifest, drop the journal."""
        manifest = Manifest.of(self._encoding, self._digests, self.places)
        with files.explain_os_errors(self.partial):
            self._write_ends(manifest)
            self._end_sync()
            manifest_path(self._output).unlink(missing_ok=True)
            files.publish(self.partial, self._output)
            files.write_pieces(manifest_path(self._output), manifest.pieces(self._output))
            journal_path(self._output).unlink()
        return manifest

    @property
    def _header(self) -> Header:
        return Header.of(self._encoding)

    @property
    def _told_places(self) -> PackedPlaces | None:
        """The places that the journal has to tell."""
        return self.places if isinstance(self.places, PackedPlaces) else None

    def _restart_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()
        journal = journal_path(self._output)
        with files.explain_os_errors(journal):
            self._journal = Journal.restart(journal, self._header, self._digests, self._told_places)

    def _check_room(self) -> None:
        """Check the room on the disk, before anything is held that grows with the number of rows."""
        size = self._encoding.expected_bytes
        held = self.partial.stat().st_blocks * 512 if self.partial.exists() else 0
        files.check_free_space(self._output.absolute().parent, size - min(size, held))

    def _take_room(self) -> None:
        """Make ``partial`` as long as the file will be, where that is known."""
        size = self._encoding.expected_bytes
        with self.partial.open("ab") as file:
            if self._encoding.row_bytes:
                file.truncate(size)
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)

    def _write_ends(self, manifest: Manifest) -> None:
        with self.partial.open("r+b") as file:
            file.write(self._encoding.head())
            file.seek(self.places.end)
            if self._told_places is not None:
                for piece in self._encoding.tail(self._told_places.starts):
                    file.write(piece)
            file.truncate(manifest.n_bytes)

    def _end_sync(self) -> None:
        sync, self._sync = self._sync, None
        if sync is not None:
            sync.close()

    def _find_remains(self, state: Header) -> None:
        """Let what a killed run has left have the name ``partial``; refuse that of another dataset."""
        _check_remains(self.partial, state, self._header)
        if not self.partial.exists() and self._output.exists():
            self._output.replace(self.partial)  # killed between the two renames

    def _take_over(self, state: Header) -> None:
        """Take over the chunks of ``partial`` whose bytes are really there, and whole for this count."""
        if not self.partial.exists() or state.row_bytes != self._header.row_bytes:
            return
        noted = read_noted(journal_path(self._output), len(self._digests), self.places)
        n_kept = n_same_chunks(state.spec.count, self._encoding.spec.count)
        if self._told_places is not None:
            self._told_places.cut(n_kept)
        with self.partial.open("rb") as file:
            for chunk in range(n_kept if self._told_places is None else len(self._told_places)):
                digest = noted[chunk]
                if digest and _digest_of(file, *self.places[chunk]) == digest:
                    self._digests[chunk] = digest

    def _is_intact(self, manifest: Manifest) -> bool:
        """Return whether all bytes are the manifest's; else make the good ones the state to continue."""
        found = inspection.read_file(self._output, manifest)
        if next(inspection.compare(manifest, found), None) is None:
            return True
        good = Digests(length=len(manifest.chunks))
        for chunk, digest in enumerate(manifest.chunks):
            if found.chunks[chunk] == digest:
                good[chunk] = digest
        places = manifest.places if isinstance(manifest.places, PackedPlaces) else None
        with files.explain_os_errors(self._output):
            Journal.restart(journal_path(self._output), self._header, good, places).close()
            self._output.replace(self.partial)
            manifest_path(self._output).unlink()
        return False


def look_up(output: Path, encoding: Encoding) -> Manifest | None:
    """Return the manifest when ``output`` is there and of the same rows and format, else None.

    Reads the manifest alone and touches nothing. Raises InputError when something else has the name.
    """
    beside = manifest_path(output)
    if not output.exists() and not beside.exists():
        return None
    if not beside.exists():
        if journal_path(output).exists():
            return None  # killed between the two renames
        raise _taken(output, "exists and has no manifest: not a dataset of ours")
    manifest = read_manifest(beside)
    difference = _difference(Header(manifest.spec, manifest.format, 0), Header.of(encoding))
    if difference:
        raise _taken(output, f"holds another dataset ({difference})")
    if not output.exists():
        return None  # lost: make it again
    if manifest.spec.count > encoding.spec.count:
        raise _taken(output, f"already holds {manifest.spec.count:,} rows of this dataset")
    return manifest if manifest.spec.count == encoding.spec.count else None


def is_begun(output: Path, encoding: Encoding) -> bool:
    """Return whether an unfinished ``output`` would be continued; InputError for remains of other rows."""
    state = read_header(journal_path(output))
    if state is not None:
        _check_remains(partial_path(output), state, Header.of(encoding))
    return state is not None


def first_places(encoding: Encoding) -> Places:
    """Return where chunks lie before any is made: all of a fixed format, none of a packed one."""
    head_bytes = len(encoding.head())
    if encoding.row_bytes:
        return FixedPlaces(head_bytes, encoding.row_bytes, len(encoding.rows))
    return PackedPlaces.after(head_bytes)


def n_same_chunks(count: int, other: int) -> int:
    """Return how many of the first chunks hold the same rows in datasets of ``count`` and ``other`` rows.

    Bytes alone cannot show it: the last chunk of either may have another number of rows, and yet the digest
    that was noted for it.
    """
    return n_chunks(count) if count == other else min(count, other) // CHUNK_ROWS


def _digest_of(file: BinaryIO, start: int, stop: int) -> str:
    file.seek(start)
    return xxhash.xxh3_128_hexdigest(file.read(stop - start))


def _taken(output: Path, what: str) -> InputError:
    next_step = "choose another --output, or replace it with --overwrite"
    return InputError(what, where=str(output), next_step=next_step)


def _difference(found: Header, wanted: Header) -> str:
    """Return in what two files differ, but for the number of rows."""
    texts = [describe_difference(found.spec, wanted.spec)]
    texts += [f"format {found.format} -> {wanted.format}"] * (found.format != wanted.format)
    return ", ".join(text for text in texts if text)


def _check_remains(partial: Path, found: Header, wanted: Header) -> None:
    difference = _difference(found, wanted)
    if difference:
        raise InputError(
            f"an unfinished run of another dataset lies there ({difference})",
            where=str(partial),
            next_step="finish it with its own flags, choose another --output, or use --overwrite",
        )
