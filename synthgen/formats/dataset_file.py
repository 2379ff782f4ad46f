"""The life of a dataset's file: begun under another name, continued after a kill, published when whole."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import xxhash

from synthgen.errors import InputError
from synthgen.formats.jsonl import LineLayout
from synthgen.formats.manifest import (
    Journal,
    Manifest,
    journal_path,
    manifest_path,
    partial_path,
    read_journal,
    read_manifest,
)
from synthgen.runtime import files
from synthgen.specs import DatasetSpec, chunk_bounds, describe_difference, n_chunks


class DatasetFile:
    """The file ``output`` of ``spec`` while it is made; a context that holds a lock on the name.

    In the order of its life: :meth:`finished`, :meth:`begin`, :meth:`record` for each chunk whose bytes are
    in ``partial``, :meth:`finish`. What belongs to another spec, or holds more rows, is refused, untouched.
    """

    def __init__(self, output: Path, spec: DatasetSpec, layout: LineLayout) -> None:
        self.partial = partial_path(output)
        self._output = output
        self._spec = spec
        self._line_bytes = layout.line_bytes
        self._grid = layout.grid
        self._digests: dict[int, str] = {}
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
        if self._journal is not None:
            self._journal.close()
        self._lock.remove()

    def finished(self) -> Manifest | None:
        """Return the manifest when the file is there, whole and of the same rows; None when it must be made.

        Every chunk is hashed; where some are damaged, the file goes back to being unfinished, so that only
        those are made again. Raises InputError when something else has the name.
        """
        manifest = look_up(self._output, self._spec)
        return manifest if manifest is not None and self._is_intact(manifest) else None

    def begin(self, *, overwrite: bool) -> dict[int, str]:
        """Prepare ``partial`` and the journal; return the digests of the chunks that are whole in it already.

        Disk space is checked before the first byte. Raises ResourceError, or InputError for the remains of
        another dataset.
        """
        journal = journal_path(self._output)
        size = self._spec.count * self._line_bytes
        state = None if overwrite else read_journal(journal)
        with files.explain_os_errors(self.partial):
            self._digests = self._surviving(*state) if state is not None else {}
            held = self.partial.stat().st_blocks * 512 if self.partial.exists() else 0
            files.check_free_space(self._output.absolute().parent, size - min(size, held))
            with self.partial.open("ab") as file:
                file.truncate(size)
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
            self._sync = files.BackgroundSync(self.partial)
        with files.explain_os_errors(journal):
            self._journal = Journal.restart(journal, self._spec, self._line_bytes, self._digests)
        return dict(self._digests)

    def record(self, chunk: int, digest: str) -> None:
        """Note that the bytes of ``chunk`` are in ``partial``, with this XXH3-128 digest."""
        assert self._journal is not None, "begin() comes first"
        self._digests[chunk] = digest
        with files.explain_os_errors(journal_path(self._output)):
            self._journal.add(chunk, digest)

    def finish(self) -> Manifest:
        """Sync, give the file its name, write the manifest, drop the journal; return the manifest."""
        digests = tuple(self._digests[chunk] for chunk in range(n_chunks(self._spec.count)))
        manifest = Manifest(self._spec, self._line_bytes, digests, self._grid)
        with files.explain_os_errors(self.partial):
            self._end_sync()
            manifest_path(self._output).unlink(missing_ok=True)
            files.publish(self.partial, self._output)
            files.write_json(manifest_path(self._output), manifest.to_document(self._output))
            journal_path(self._output).unlink()
        return manifest

    def _end_sync(self) -> None:
        sync, self._sync = self._sync, None
        if sync is not None:
            sync.close()

    def _surviving(self, spec: DatasetSpec, line_bytes: int, chunks: dict[int, str]) -> dict[int, str]:
        """Return those of ``chunks`` whose bytes are really there, and whole for this count."""
        _check_remains(self.partial, spec, self._spec)
        if not self.partial.exists() and self._output.exists():
            self._output.replace(self.partial)  # killed between the two renames
        if not self.partial.exists() or line_bytes != self._line_bytes:
            return {}
        wanted = range(n_chunks(self._spec.count))
        return {c: d for c, d in chunks.items() if c in wanted and self._digest_on_disk(c, self.partial) == d}

    def _is_intact(self, manifest: Manifest) -> bool:
        """Return whether all bytes are the manifest's; else make the good ones the state to continue."""
        digests = dict(enumerate(manifest.chunks))
        good = {c: d for c, d in digests.items() if self._digest_on_disk(c, self._output) == d}
        if len(good) == len(digests):
            return True
        with files.explain_os_errors(self._output):
            Journal.restart(journal_path(self._output), self._spec, self._line_bytes, good).close()
            self._output.replace(self.partial)
            manifest_path(self._output).unlink()
        return False

    def _digest_on_disk(self, chunk: int, path: Path) -> str:
        start, stop = chunk_bounds(chunk, self._spec.count)
        with path.open("rb") as file:
            file.seek(start * self._line_bytes)
            return xxhash.xxh3_128_hexdigest(file.read((stop - start) * self._line_bytes))


def look_up(output: Path, spec: DatasetSpec) -> Manifest | None:
    """Return the manifest when ``output`` is there, as long as it says and of the same rows, else None.

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
    difference = describe_difference(manifest.spec, spec)
    if difference:
        raise _taken(output, f"holds another dataset ({difference})")
    if not output.exists() or output.stat().st_size != manifest.n_bytes:
        return None  # lost or cut: make it again
    if manifest.spec.count > spec.count:
        raise _taken(output, f"already holds {manifest.spec.count:,} rows of this dataset")
    return manifest if manifest.spec.count == spec.count else None


def is_begun(output: Path, spec: DatasetSpec) -> bool:
    """Return whether an unfinished ``output`` would be continued; InputError for remains of other rows."""
    state = read_journal(journal_path(output))
    if state is not None:
        _check_remains(partial_path(output), state[0], spec)
    return state is not None


def _taken(output: Path, what: str) -> InputError:
    next_step = "choose another --output, or replace it with --overwrite"
    return InputError(what, where=str(output), next_step=next_step)


def _check_remains(partial: Path, found: DatasetSpec, spec: DatasetSpec) -> None:
    difference = describe_difference(found, spec)
    if difference:
        raise InputError(
            f"an unfinished run of another dataset lies there ({difference})",
            where=str(partial),
            next_step="finish it with its own flags, choose another --output, or use --overwrite",
        )
