"""Downloading a dump: continued where it broke off, held against its checksum, under its name when whole.

What has come lies in ``.NAME.partial``; ``.NAME.partial.json`` says of what it is a part. HTTP as in RFC 9110
(Range, If-Range, Retry-After); names of files and of the list of checksums as dumps.wikimedia.org has them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from synthgen.errors import InputError, ResourceError
from synthgen.runtime.files import FileLock, explain_os_errors, publish, refuse_folder, write_json
from synthgen.runtime.progress import Progress
from synthgen.wiki.remote import Broken, Patience, Refused, Remote

if TYPE_CHECKING:
    import requests

DEFAULT_URL = (
    "https://dumps.wikimedia.org/simplewiki/latest/simplewiki-latest-pages-articles-multistream.xml.bz2"
)
#: Room that stays free on the disk.
_SPARE_BYTES = 64 << 20
_READ_BYTES = 1 << 18
_LIST_LIMIT_BYTES = 4 << 20
_MB = 1_000_000
_NEXT_STEP = "run the same command again to go on, or name a dump that you have with --dump-path FILE"
_DUMP_NAME = re.compile(r"(?P<wiki>\w+)-(?P<date>latest|\d{8})-(?P<rest>.+)")
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(\d{1,18}|\*)")


class Expected(NamedTuple):
    """What the list of checksums says: the file's name there, and its SHA-1 in hex."""

    name: str
    sha1: str


def download(
    url: str,
    path: Path,
    *,
    patience: Patience | None = None,
    stop: Callable[[], bool] | None = None,
    quiet: bool = False,
) -> Path:
    """Download ``url`` to ``path``, whose folder is made; return ``path``.

    A file that is there already is whole, and nothing is asked. Otherwise what an earlier call left is
    continued. The checksum comes from the list beside the file (``WIKI-DATE-sha1sums.txt``); where there is
    none, the size alone is checked, and the last line says so. Raises InputError where the server does not
    give the file or the checksum is wrong (the file is removed then), ResourceError for a full disk or a
    download of the same file by another process, Interrupted once ``stop`` says so.
    """
    refuse_folder(path)
    if path.exists():
        return path
    with explain_os_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        if not path.exists():  # somebody else may have finished it in between
            remote = Remote(patience or Patience(), stop or (lambda: False))
            with contextlib.closing(remote):
                _Download(url, path, remote, quiet).run()
    return path


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with explain_os_errors(path):
        free = lock.acquire()
    if not free:
        raise ResourceError(
            f"process {lock.holder() or '(unknown)'} is downloading it",
            where=str(path),
            next_step="wait for it, or end it",
        )
    try:
        yield
    finally:
        lock.remove()


class _Download:
    def __init__(self, url: str, path: Path, remote: Remote, quiet: bool) -> None:
        self._url = url
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial")
        self._about = path.with_name(f".{path.name}.partial.json")
        self._remote = remote
        self._progress = Progress("download", 0, "MB", quiet=quiet)

    def run(self) -> None:
        try:
            expected = self._remote.persist(self._expected, self._n_there)
            self._remote.persist(self._attempt, self._n_there)
        except Refused as refused:
            raise self._error(str(refused)) from refused
        note = "no list of checksums to hold it against"
        if expected is not None:
            self._check(expected)
            note = f"SHA-1 as {expected.name} has it"
        with explain_os_errors(self._path):
            n_bytes = self._partial.stat().st_size
            publish(self._partial, self._path)
            self._forget()
        self._progress.finish(f"{n_bytes / _MB:,.1f} MB, {note}: {self._path}")

    def _error(self, what: str) -> InputError:
        n_bytes = self._n_there()
        kept = f" ({n_bytes / _MB:,.1f} MB are kept)" if n_bytes else ""
        return InputError(f"cannot be downloaded: {what}{kept}", where=self._url, next_step=_NEXT_STEP)

    def _n_there(self) -> int:
        try:
            return self._partial.stat().st_size
        except FileNotFoundError:
            return 0

    def _expected(self) -> Expected | None:
        """Return name and checksum from the list beside the file, None where there is none."""
        base, _, name = self._url.partition("?")[0].rpartition("/")
        parts = _DUMP_NAME.fullmatch(name)
        if not parts:
            return None
        address = f"{base}/{parts['wiki']}-{parts['date']}-sha1sums.txt"
        with self._remote.get(address, {}) as response:
            if response.status_code != 200:
                return None
            listing = response.raw.read(_LIST_LIMIT_BYTES, decode_content=True)
        return find_checksum(listing.decode(errors="replace"), name)

    def _attempt(self) -> None:
        """Get the rest of the file; raise :class:`Broken` where less than all of it came."""
        about = self._about_partial()
        n_there = self._n_there() if about else 0
        headers = {"Range": f"bytes={n_there}-", "If-Range": about["validator"]} if about else {}
        with self._remote.get(self._url, headers) as response:
            start, total = self._place(response, n_there)
            if start and about["n_bytes"] not in {None, total}:
                raise self._anew(f"the file has {total} bytes, and had {about['n_bytes']}")
            if start and start == total:
                return
            self._check_room((total or start) - start)
            if not start:
                self._note(response, total)
            self._receive(response, start, total)
        if total is not None and self._n_there() < total:
            raise Broken(f"the connection ended after {self._n_there():,} of {total:,} bytes")
        if total is not None and self._n_there() > total:
            raise self._anew(f"more came than the {total:,} bytes that the server told of")

    def _about_partial(self) -> dict[str, Any]:
        """Return what is known of the partial file; nothing where it cannot be continued."""
        try:
            about: dict[str, Any] = json.loads(self._about.read_bytes())
            same = about["url"] == self._url and about["validator"] and "n_bytes" in about
        except (OSError, ValueError, TypeError, KeyError):
            return {}
        return about if same and self._n_there() else {}

    def _anew(self, what: str) -> Broken:
        """Return what is wrong with an answer; the next attempt begins at the first byte."""
        self._forget()
        return Broken(what)

    def _place(self, response: requests.Response, n_there: int) -> tuple[int, int | None]:
        """Return where in the file the answer begins, and how large the file is (None: not said)."""
        status = response.status_code
        place = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        total = int(place[2]) if place and place[2] != "*" else None
        if status == 200:
            length = response.headers.get("Content-Length", "")
            return 0, int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None
        if status == 416 and total == n_there > 0:
            return n_there, total
        if status == 206 and place and place[1] and int(place[1]) == n_there > 0:
            return n_there, total
        if status in {206, 416}:  # not what was asked for: from the beginning, without a Range
            raise self._anew(f"the server answers {status} with another part than asked for")
        raise Refused(f"the server answers {status} {response.reason}")

    def _forget(self) -> None:
        self._about.unlink(missing_ok=True)

    def _check_room(self, needed_bytes: int) -> None:
        with explain_os_errors(self._path.parent):
            free_bytes = shutil.disk_usage(self._path.parent).free
        if free_bytes < needed_bytes + _SPARE_BYTES:
            raise ResourceError(
                f"the disk has {free_bytes / 1e9:,.2f} GB free, "
                f"the download needs {(needed_bytes + _SPARE_BYTES) / 1e9:,.2f} GB",
                where=str(self._path.parent),
                next_step="free some room, or name another folder",
            )

    def _note(self, response: requests.Response, total: int | None) -> None:
        """Write down of what the partial file is a part, so that it is continued only with the same."""
        tag = response.headers.get("ETag", "")
        weak = not tag.startswith('"')  # a weak tag does not promise the same bytes, RFC 9110 8.8.3
        validator = response.headers.get("Last-Modified", "") if weak else tag
        write_json(self._about, {"url": self._url, "validator": validator, "n_bytes": total})

    def _receive(self, response: requests.Response, start: int, total: int | None) -> None:
        self._progress.total = (total or 0) // _MB
        if start or self._progress.done:
            self._progress.start_at(start // _MB)
        with explain_os_errors(self._partial), self._partial.open("r+b" if start else "wb") as file:
            file.seek(start)
            try:
                while data := response.raw.read(_READ_BYTES, decode_content=False):
                    file.write(data)
                    self._progress.update(file.tell() // _MB)
                    self._remote.check_stop()
            finally:
                file.flush()
                os.fsync(file.fileno())

    def _check(self, expected: Expected) -> None:
        with explain_os_errors(self._partial), self._partial.open("rb") as file:
            found = hashlib.file_digest(file, "sha1").hexdigest()
        if found != expected.sha1:
            self._partial.unlink()
            self._forget()
            raise InputError(
                f"came with a wrong checksum (SHA-1 {found}, {expected.name} has {expected.sha1}) "
                "and was removed",
                where=self._url,
                next_step="run the same command again to fetch it anew",
            )


def find_checksum(listing: str, name: str) -> Expected | None:
    """Return the line of ``listing`` (``SHA-1  NAME`` each) about ``name``; ``latest`` in it is any date."""
    wanted = _DUMP_NAME.fullmatch(name)
    for line in listing.splitlines():
        sha1, _, listed = line.strip().partition(" ")
        listed = listed.strip().lstrip("*")
        parts = _DUMP_NAME.fullmatch(listed)
        same = listed == name
        if wanted and parts and wanted["date"] == "latest":
            same = (parts["wiki"], parts["rest"]) == (wanted["wiki"], wanted["rest"])
        if same and re.fullmatch(r"[0-9a-fA-F]{40}", sha1):
            return Expected(listed, sha1.lower())
    return None
