"""The store: one SQLite file in WAL mode, its schema, its spaces, and connections to it.

A memory's place in its space, its ordinal, is part of its key: ``row = space * 2**40 + ordinal``.
Ordinals have no gaps (nothing is ever removed, and a replaced memory keeps its place), so that a
page of the listing at any offset is one range of the table, and a count is the last ordinal plus one.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from synthgen.errors import InputError, ResourceError
from synthgen.runtime.files import explain_os_errors, publish

DATABASE_NAME = "memories.db"
#: "SyGn", so that the file tells whose it is (PRAGMA application_id).
APPLICATION_ID = 0x53_79_47_6E
SCHEMA_VERSION = 3

ORDINAL_BITS = 40
#: Two memories of 3.3 kB fit a page; with SQLite's 4,096 bytes a fifth of each page stayed empty.
PAGE_BYTES = 8_192
#: The log is copied into the database when it has so many pages (32 MB): each time costs two syncs.
CHECKPOINT_PAGES = 4_096
WRITER_CACHE_KIB = 65_536
READER_CACHE_KIB = 8_192
BUSY_TIMEOUT_S = 30.0
#: How text is cut into words (FTS5, section 4.3.1), in single quotes within SQL. 2: 1 leaves the marks of a
#: letter that has two of them. Mn, Mc: by default the vowel signs of Hindi, Tamil or pointed Hebrew divide
#: words. U+FE0E and U+FE0F are marks, too, and say only how the sign before them is drawn.
TOKENIZER = "unicode61 remove_diacritics 2 categories ''L* N* Co Mn Mc'' separators ''\ufe0e\ufe0f''"

_HEADER_BYTES = 100
_MAGIC = b"SQLite format 3\x00"

#: What version 2 has beside version 1, in a new database and in one that is upgraded. An index of vectors is
#: a file beside the database, which alone says whether it counts: a copy of the database without it, or an
#: older one in its place, makes it anew.
_VECTOR_INDEX = """
CREATE TABLE vector_index (
    space INTEGER PRIMARY KEY REFERENCES space (number),
    generation INTEGER NOT NULL,          -- part of its file's name
    n_covered INTEGER NOT NULL,           -- memories from ordinal 0 on that it holds
    loose TEXT NOT NULL,                  -- JSON: ordinals that it holds badly
    wear TEXT NOT NULL,                   -- JSON: what it was fitted to, and what came since
    bytes INTEGER NOT NULL,
    xxh3_128 TEXT NOT NULL                -- of the file
);
CREATE TABLE replaced (                   -- memories that were replaced since then
    row INTEGER PRIMARY KEY,
    change INTEGER NOT NULL               -- ascending
);
"""

#: What version 3 has beside version 2.
_WORDS = f"""
CREATE VIRTUAL TABLE memory_text USING fts5 (
    content, content='memory', content_rowid='row', tokenize='{TOKENIZER}'
);
CREATE VIRTUAL TABLE memory_word USING fts5vocab (memory_text, row);  -- in how many memories a word is
"""

#: What brings a database of the version before to this one: of version 2 all texts and vectors are indexed
#: anew, in the background.
_UPGRADES = {
    2: _VECTOR_INDEX,
    3: f"DROP TABLE memory_text; {_WORDS} UPDATE space SET n_indexed = 0;"
    f"DROP TABLE vector_index; DROP TABLE replaced; {_VECTOR_INDEX}",
}

_SCHEMA = f"""
BEGIN EXCLUSIVE;
CREATE TABLE space (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at_us INTEGER NOT NULL,
    n_indexed INTEGER NOT NULL DEFAULT 0  -- memories from ordinal 0 on that memory_text holds
);
CREATE TABLE memory (
    row INTEGER PRIMARY KEY,              -- space * 2^{ORDINAL_BITS} + ordinal
    space INTEGER NOT NULL REFERENCES space (number),
    id TEXT NOT NULL,
    confidence REAL NOT NULL,
    observed_at_us INTEGER NOT NULL,
    stored_at_us INTEGER NOT NULL,
    memory_type TEXT NOT NULL,
    details TEXT,                         -- JSON: tags and the like
    content TEXT NOT NULL,
    embedding BLOB                        -- 768 float32, little-endian
);
CREATE UNIQUE INDEX memory_by_id ON memory (space, id);
CREATE VIEW memories AS
    SELECT space.name AS space, memory.row & {2**ORDINAL_BITS - 1} AS ordinal, memory.id, memory.content,
        memory.confidence, memory.memory_type, memory.details,
        strftime('%Y-%m-%dT%H:%M:%fZ', memory.observed_at_us / 1000000.0, 'unixepoch') AS observed_at,
        strftime('%Y-%m-%dT%H:%M:%fZ', memory.stored_at_us / 1000000.0, 'unixepoch') AS stored_at,
        length(memory.embedding) / 4 AS dimension, memory.embedding
    FROM memory JOIN space ON space.number = memory.space;
{_VECTOR_INDEX}
{_WORDS}
CREATE TABLE database (id TEXT NOT NULL);  -- tells this database from one made anew in the same place
INSERT INTO database VALUES (lower(hex(randomblob(8))));
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""


@dataclass(slots=True)
class Space:
    """A space as the server knows it: changed by the writer alone, after the commit it speaks of."""

    number: int
    name: str
    created_at_us: int
    n_memories: int = 0
    n_indexed: int = 0

    @property
    def first_row(self) -> int:
        """Key of the memory with ordinal 0."""
        return self.number << ORDINAL_BITS


def prepare_database(path: Path) -> None:
    """Make the database at ``path``, or see that it is ours.

    Raises InputError, having touched nothing, for any other file, for another schema version, and for a
    log without its database, which SQLite would play into a new one.
    """
    with explain_os_errors(path, is_begun=False):
        header = _read_header(path)
        log = path.with_name(f"{path.name}-wal")
        if header is None and log.exists() and log.stat().st_size:
            raise InputError(
                "the log of a database that is not there: its last memories are in it alone",
                where=str(log),
                next_step=f"put {path.name} back, or remove the log to begin anew",
            )
    if header is not None:
        if _check_header(path, header) < SCHEMA_VERSION:
            _upgrade(path)
        return
    partial = path.with_name(f".{path.name}.partial")
    with explain_os_errors(partial, is_begun=False):
        partial.unlink(missing_ok=True)
        try:
            _create(partial)
            publish(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def read_database_id(path: Path) -> str:
    """Return the 16 hex digits that were drawn when the database at ``path`` was made.

    Reads what the start needs by a connection that cannot write: SQLite puts the log into the database when
    the last one that can is closed, and a database that turns out to be damaged is to be left as it is.
    """
    # quote: a name may have '?' or '%'
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
    with contextlib.closing(connection):
        load_spaces(connection)
        for table in ("vector_index", "replaced"):
            connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()
        return str(connection.execute("SELECT id FROM database").fetchone()[0])


def _create(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:  # not in WAL mode yet: what identifies the file must be in the file, not in its log
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_SCHEMA)
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    finally:
        connection.close()


def _upgrade(path: Path) -> None:
    """Bring a database of an older version to this one, in one transaction; once, also after a kill."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            for later in range(version + 1, SCHEMA_VERSION + 1):
                for statement in _UPGRADES[later].split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {later}")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise _unusable(path, error) from error


def _read_header(path: Path) -> bytes | None:
    if not path.exists():
        return None
    with path.open("rb") as file:
        return file.read(_HEADER_BYTES)


def _check_header(path: Path, header: bytes) -> int:
    """Return the schema version, one that this program reads; InputError otherwise."""
    # Offsets: SQLite's file format, section 1.3 (user version at 60, application id at 68).
    if not header.startswith(_MAGIC) or int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise InputError(
            "not a database of this server",
            where=str(path),
            next_step="choose another --data-dir; the file was left as it is",
        )
    version = int.from_bytes(header[60:64], "big")
    if not 1 <= version <= SCHEMA_VERSION:
        raise InputError(
            f"the database has schema version {version}, this program reads 1 to {SCHEMA_VERSION}",
            where=str(path),
            next_step="use the synthgen that made it, or another --data-dir; the file was left as it is",
        )
    return version


class FilesLostError(sqlite3.OperationalError):
    """The files of an open database are no longer under their names: what is written to them is lost."""


class OpenFiles:
    """The database at ``path`` and its log, as a connection has them open."""

    def __init__(self, path: Path) -> None:
        self._known = {
            file: _identity(file) for file in (path, path.with_name(f"{path.name}-wal")) if file.exists()
        }

    def check(self) -> None:
        """Raise FilesLostError once one was removed, or another lies in its place: some microseconds."""
        for file, known in self._known.items():
            if _identity(file) != known:
                raise FilesLostError(f"{file.name} was removed or replaced while the server had it open")


def _identity(file: Path) -> tuple[int, int] | None:
    with contextlib.suppress(FileNotFoundError):
        found = file.stat()
        return found.st_dev, found.st_ino
    return None


@contextlib.contextmanager
def explain_damage(path: Path) -> Iterator[None]:
    """Raise InputError for what SQLite says of a damaged database, ResourceError for the rest."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise _unusable(path, error) from error
    except sqlite3.DatabaseError as error:
        raise InputError(
            f"the database is damaged ({error})",
            where=str(path),
            next_step="restore a backup (no -wal and -shm of before beside it), or choose another --data-dir;"
            " the files were left as they are",
        ) from error


def _unusable(path: Path, error: sqlite3.Error) -> ResourceError:
    return ResourceError(
        f"the database cannot be used ({error})",
        where=str(path),
        next_step="free room on the disk or choose another --data-dir",
    )


def connect_writer(path: Path) -> sqlite3.Connection:
    """Return the one connection that writes: WAL, a sync of the log in every commit."""
    try:
        connection = sqlite3.connect(
            path, BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        for setting in (
            "journal_mode = WAL",
            "synchronous = FULL",
            f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
            f"journal_size_limit = {2 * CHECKPOINT_PAGES * PAGE_BYTES}",
            f"cache_size = -{WRITER_CACHE_KIB}",
            "secure_delete = OFF",
            "mmap_size = 0",
            "temp_store = MEMORY",  # nothing outside the folder has to be writable
        ):
            connection.execute(f"PRAGMA {setting}")
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """Return a connection that can only read; its cache is small, since pages are read once."""
    connection = sqlite3.connect(path, BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    for setting in (
        "query_only = ON",
        f"cache_size = -{READER_CACHE_KIB}",
        "mmap_size = 0",
        "temp_store = MEMORY",
    ):
        connection.execute(f"PRAGMA {setting}")
    return connection


def load_spaces(connection: sqlite3.Connection) -> dict[str, Space]:
    """Return all spaces by name with their counts; the cost does not depend on the counts."""
    spaces = {}
    for number, name, created_at_us, n_indexed in connection.execute(
        "SELECT number, name, created_at_us, n_indexed FROM space ORDER BY number"
    ).fetchall():
        space = Space(number, name, created_at_us, 0, n_indexed)
        (last,) = connection.execute(
            "SELECT max(row) FROM memory WHERE row >= ? AND row < ?",
            (space.first_row, space.first_row + 2**ORDINAL_BITS),
        ).fetchone()
        space.n_memories = 0 if last is None else last - space.first_row + 1
        spaces[name] = space
    return spaces
