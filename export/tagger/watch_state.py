"""Records which images `tag --watch` has tagged, in a database that survives a crash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from mlkd.core.cache import OTHER_FOLDER, cache_root, private

Version = tuple[int, int]  # size, and modification time in ns modulo 2^64

APPLICATION = 0x45544757  # in the header of the database
SCHEMA = "CREATE TABLE tagged (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER) WITHOUT ROWID"


def version_of(status: os.stat_result) -> Version:
    """The version of a file; its time is wrapped to 64 bits with a sign, because SQLite has no larger integers."""
    return status.st_size, (status.st_mtime_ns + (1 << 63)) % (1 << 64) - (1 << 63)


class WatchState:
    """The versions of the images that were tagged, by path."""

    def __init__(self, file: Path, connection: sqlite3.Connection) -> None:
        self._file, self._connection = file, connection
        rows = connection.execute("SELECT path, size, mtime_ns FROM tagged")
        self._tagged = {os.fsdecode(path): (size, mtime_ns) for path, size, mtime_ns in rows}

    def __len__(self) -> int:
        return len(self._tagged)

    def has(self, path: str, version: Version) -> bool:
        """Whether this version of an image was tagged."""
        return self._tagged.get(path) == version

    def add(self, path: str, version: Version) -> None:
        """Record a tagged image at once.  Raises ValueError if that fails, as on a full disk."""
        with self._writing():
            self._connection.execute("INSERT OR REPLACE INTO tagged VALUES (?, ?, ?)", (os.fsencode(path), *version))
        self._tagged[path] = version

    def keep(self, paths: Collection[str]) -> None:
        """Forget all other images.  Raises ValueError if that fails."""
        gone = [path for path in self._tagged if path not in paths]
        for path in gone:
            del self._tagged[path]
        with self._writing():
            self._connection.execute("BEGIN")
            self._connection.executemany("DELETE FROM tagged WHERE path = ?", ((os.fsencode(path),) for path in gone))
            self._connection.execute("COMMIT")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as cause:
            advice = "free disk space, or use --state"
            raise ValueError(f"{self._file}: expected to record tagged images, got: {cause}; {advice}") from cause


@contextlib.contextmanager
def open_state(file: Path) -> Iterator[WatchState]:
    """Open or create the state; raises ValueError for another file, and while another process has it open."""
    try:
        connection = sqlite3.connect(file, timeout=0, isolation_level=None)
    except sqlite3.Error as cause:
        raise ValueError(f"{file}: expected a file for the state of --watch, got: {cause}; use --state") from None
    with contextlib.closing(connection):
        try:
            _prepare(connection)
            state = WatchState(file, connection)
        except (sqlite3.Error, UnicodeError, TypeError) as cause:  # a damaged file has other names and types
            busy = "locked" in str(cause)
            advice = "end the other tag --watch, or use --state" if busy else "name another file with --state"
            raise ValueError(f"{file}: expected the state of --watch, got: {cause}; {advice}") from None
        yield state


def default_file(folders: Sequence[str], purpose: str) -> Path:
    """The file for these folders in the cache of this user; another purpose has another file.

    Raises ValueError if the cache cannot be used.
    """
    name = hashlib.sha256(json.dumps([sorted(map(os.path.realpath, folders)), purpose]).encode()).hexdigest()[:16]
    try:
        return private(cache_root() / "watched") / f"{name}.sqlite"
    except OSError as cause:
        reason = cause.strerror or str(cause)
        raise ValueError(f"cache: expected a writable one, got: {reason}; use --state, or {OTHER_FOLDER}") from None


def _prepare(connection: sqlite3.Connection) -> None:
    """Create the table in a new file, and refuse a database of another program."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION and tables:
        raise sqlite3.DatabaseError("a database of another program")
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("BEGIN EXCLUSIVE")
    if not tables:
        connection.execute(SCHEMA)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute("COMMIT")
