"""Life of a server: lock, store, socket, announcement, and the stop that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import uvloop

from synthgen.errors import EXIT_OK, ResourceError
from synthgen.runtime.files import FileLock, explain_os_errors, sync_folder, write_whole
from synthgen.runtime.heap import keep_freed_memory
from synthgen.runtime.streams import mute, output_error
from synthgen.server.access import Guard, NameGuard, read_key
from synthgen.server.app import App
from synthgen.server.listening import HttpServer, allow_connections, bind, endpoint_of, is_loopback
from synthgen.server.quirks import Quirks, parse_quirks
from synthgen.server.state import State
from synthgen.server.store import DATABASE_NAME, explain_damage, prepare_database
from synthgen.server.traffic import Traffic
from synthgen.specs import ServeSpec

LOCK_NAME = "server.lock"
RECORD_NAME = "server.json"
#: What searches compare is below the first, a megabyte; of the second each thread has one.
_HEAP_BLOCK_BYTES, _HEAP_KEPT_BYTES = 1024 * 1024, 8 * 1024 * 1024
#: What is said where others than this machine can connect.
_WITHOUT_KEY = (
    "anybody who can reach this machine can read and write: there is no authentication (see --require-key)"
)
_WITH_KEY = (
    "the key and all memories travel unencrypted: whoever can listen on the network can read and use them;"
    " put a proxy that ends TLS before it"
)


def serve(spec: ServeSpec) -> int:
    """Run the embedded server until it is told to stop; return the exit code (0).

    Must be called from the main thread. Stops at SIGTERM, SIGINT and, where the spec says so, at the
    end of standard input: requests under way are answered, the log is copied into the database.

    Raises ResourceError when the folder is in use by another server, the folder or the port cannot be
    used, too few files may be open, or the database's files were removed meanwhile; InputError when
    the folder holds a database that is not this program's; UsageError for unknown quirks and for a key
    that is required and not there.
    """
    keep_freed_memory(blocks_below_bytes=_HEAP_BLOCK_BYTES, kept_bytes=_HEAP_KEPT_BYTES)
    quirks = parse_quirks(spec.quirks)
    key = read_key() if spec.require_key else None
    max_connections = allow_connections()
    folder = spec.data_dir.absolute()
    with _own_folder(folder), contextlib.closing(bind(spec)) as listener:
        database = folder / DATABASE_NAME
        _check_writable(database)
        prepare_database(database)
        if not is_loopback(listener):
            _say(f"warning: {_WITHOUT_KEY if key is None else _WITH_KEY}")
        if quirks.names:
            _say(
                f"warning: misbehaves on purpose (--quirks {','.join(quirks.names)}):"
                " do not trust what is stored"
            )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            service = _Service(spec, folder, endpoint_of(listener), quirks, key)
            ruin = runner.run(service.run(database, listener, max_connections))
    if ruin:
        raise ResourceError(
            f"what was stored lately is lost ({ruin})",
            where=str(database),
            next_step="restore a backup, and stop the server before its files are moved",
        )
    return EXIT_OK


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # the disk that is full may be that of the log, too
        print(f"synthgen serve: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _own_folder(folder: Path) -> Iterator[None]:
    """Hold the lock on the data folder, which is made where it is missing; what fails takes it away again."""
    lock = FileLock(folder / LOCK_NAME)
    with contextlib.ExitStack() as on_error:
        with explain_os_errors(folder, is_begun=False):
            for missing in reversed([parent for parent in (folder, *folder.parents) if not parent.exists()]):
                missing.mkdir(exist_ok=True)
                on_error.callback(_remove_if_empty, missing)
                sync_folder(missing.parent)
            free = lock.acquire()
        if not free:
            raise _in_use(folder, lock.holder())
        try:
            yield
        finally:
            lock.remove()
        on_error.pop_all()


def _check_writable(database: Path) -> None:
    """Raise ResourceError where a file of the database is there and cannot be written: SQLite would open it
    all the same, and refuse each memory.
    """
    for path in (database, *(database.with_name(f"{database.name}-{end}") for end in ("wal", "shm"))):
        with explain_os_errors(path, is_begun=False), contextlib.suppress(FileNotFoundError):
            try:
                os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                    raise
                raise ResourceError(
                    f"the database cannot be written ({error.strerror})",
                    where=str(path),
                    next_step="let the user who runs this write to it, or choose another --data-dir",
                ) from error


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _in_use(folder: Path, holder: str) -> ResourceError:
    endpoint = ""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        record = json.loads((folder / RECORD_NAME).read_bytes())
        if str(record["pid"]) == holder:  # else it is what a killed server left behind
            endpoint = f" at {record['endpoint']}"
    return ResourceError(
        f"another server (process {holder or 'unknown'}{endpoint}) uses this folder",
        where=str(folder),
        next_step="use that one, stop it, or choose another --data-dir",
    )


class _Service:
    """The part of a server's life that has an event loop."""

    def __init__(self, spec: ServeSpec, folder: Path, endpoint: str, quirks: Quirks, key: str | None) -> None:
        self._spec = spec
        self._quirks = quirks
        self._key = key
        self._record = folder / RECORD_NAME
        self._folder = folder
        self._endpoint = endpoint
        self._stop = asyncio.Event()

    async def run(self, database: Path, listener: socket.socket, max_connections: int) -> str:
        """Serve until told to stop; return why what was stored is lost, nothing where it is not."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        with explain_damage(database):
            state = State(database, loop, self._quirks)
        traffic = Traffic(max_connections, self._quirks.close_after_413)
        app = App(state, traffic)
        answer = app.serve
        if self._key is not None:
            answer = Guard(self._key, app.serve).serve
        elif is_loopback(listener):
            answer = NameGuard(self._spec.host, app.serve).serve
        server = HttpServer(listener, traffic, answer)
        try:
            with explain_damage(database):
                state.start()
            await server.start()
            self._announce(loop)
            await self._stop.wait()
            await server.stop()
            await app.settle()
        finally:
            try:
                state.close()
            except sqlite3.Error as error:  # a full disk: all that was acknowledged is in the log
                _say(f"warning: the log is not copied into the database, the next start does it ({error})")
            with contextlib.suppress(OSError):  # of a disk that became read-only; the next server replaces it
                self._record.unlink(missing_ok=True)
        return state.writer.counts.ruin

    def _announce(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell files and people where the server is; the socket already takes connections."""
        record = {"endpoint": self._endpoint, "pid": os.getpid()}
        try:
            write_whole(self._record, json.dumps(record).encode() + b"\n")
        except ResourceError as error:  # a full disk: what is stored can still be read
            _say(f"warning: {error}")
        if self._spec.as_json:
            line = json.dumps({"event": "listening", **record, "data_dir": str(self._folder)})
        else:
            line = f"synthgen serve: listening on {self._endpoint}, data in {self._folder}"
        try:
            print(line, flush=True)
        except BrokenPipeError:  # whoever started it may not listen
            mute(sys.stdout)
        except (OSError, ResourceError) as error:  # a full disk, as above
            mute(sys.stdout)
            told = output_error(error) if isinstance(error, OSError) else error
            _say(f"warning: standard output {told.what}; listening on {self._endpoint}")
        if self._spec.stop_on_stdin_eof:
            threading.Thread(target=self._watch_stdin, args=(loop,), name="stdin", daemon=True).start()

    def _watch_stdin(self, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(OSError):  # a closed standard input has ended, too
            while os.read(0, 4096):  # not sys.stdin: its lock would be held when the process ends
                pass
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._stop.set)
