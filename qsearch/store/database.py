"""One SQLite file: its connections, locks, transactions and settings. ``catalog`` knows its tables.

While an index is built its catalog runs in WAL mode under an exclusive lock. A published catalog is in
rollback-journal mode: one file, which can be read from a read-only disk, and which no bug of a write-ahead
log can touch (SQLite 3.7.0 to 3.51.2 can corrupt one where two connections write or checkpoint at once).
What changes it holds the writer's lock of the index besides.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from qsearch.errors import IndexBusy, IndexClosed, IndexExists, IndexFormatError, IndexWriteError
from qsearch.locks import ProcessLock
from qsearch.store.format import (
    APPLICATION_ID,
    CATALOG,
    FORMAT_VERSION,
    NEW_CATALOG,
    READABLE_VERSIONS,
)
from qsearch.store.holding import closing, file_identity, is_held, opening, unfinished
from qsearch.store.readers import Readers
from qsearch.store.reading import CLOSE_FILES, reading
from qsearch.store.schema import SCHEMA, foreign_object
from qsearch.wording import words

__all__ = ["Database"]

_PATIENCE = 30.0
"""Seconds that a commit waits for those who read, which takes milliseconds."""

_SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What Python's ``sqlite3`` raises; the other one where SQLite's own message quotes what is damaged."""


class Database:
    """One catalog's file, opened. Safe to share between threads; with children of a fork if it only reads.

    Attributes:
        path: of the file.
        version: of the format in which the index was written.
    """

    def __init__(
        self,
        path: Path,
        source: Readers | sqlite3.Connection,
        *,
        held: tuple[int, int] | None = None,
    ) -> None:
        """Use ``open`` or ``create``."""
        self.path = path
        self.version = FORMAT_VERSION
        self._source = source
        # Of a connection that writes. SQLite has locks of its own: no thread may be in it while another
        # forks.
        self._lock = ProcessLock(fork_waits=True)
        self._closed = False
        self._held = held
        self._local = threading.local()  # the connection of ``view``

    @classmethod
    def open(cls, index: Path) -> Self:
        """Open a published catalog for reading.

        Raises:
            IndexFormatError: it is missing, half written, damaged or of another version.
        """
        _require_sqlite()
        path = index / CATALOG
        with reading(path):
            missing = not path.is_file()
        if missing:
            raise IndexFormatError(_absent(index))
        if index.suffix == ".building" and is_held(path):
            raise IndexFormatError(f"{index} is being built at this moment, and cannot be read yet")
        catalog = cls(path, Readers(path))
        try:
            catalog._check_version()
        except BaseException:
            catalog.close()
            raise
        return catalog

    @classmethod
    def create(cls, directory: Path) -> Self:
        """Open a staging catalog for writing and lock it, creating it where there is none.

        One that is there may be of another version, which can be read and not written.

        Raises:
            IndexExists: there is a database of another application.
            sqlite3.OperationalError: another process holds the lock, or the file system refuses.
        """
        _require_sqlite()
        path = directory / CATALOG
        with opening(path):
            connection = _locked_connection(path)
        catalog = cls(path, connection, held=file_identity(path))
        try:
            catalog._check_version()
        except BaseException:
            catalog.close()
            raise
        return catalog

    @classmethod
    def change(cls, index: Path) -> Self:
        """Open a published catalog for writing. The caller holds the writer's lock of the index.

        Raises:
            IndexFormatError: it is missing, damaged or of another version.
            IndexWriteError: it cannot be written.
        """
        cls.open(index).close()  # which rolls back what was left half done, and says what is wrong
        path = (index / CATALOG).absolute()
        catalog = cls(path, _writing_connection(path, "rw"))
        try:
            catalog._check_version()
        except BaseException:
            catalog.close()
            raise
        return catalog

    @classmethod
    def create_beside(cls, index: Path) -> Self:
        """Make an empty catalog that is to take the place of the one that is there.

        Raises:
            IndexWriteError: the file system refuses.
        """
        path = (index / NEW_CATALOG).absolute()
        for old in (path, path.with_name(path.name + "-journal")):
            old.unlink(missing_ok=True)
        connection = _writing_connection(path, "rwc")
        try:
            # Nobody reads it before it is complete and synced as a whole: no memory, no journal.
            for pragma in (
                "cache_spill = ON",
                "cache_size = -4096",
                "journal_mode = OFF",
                "synchronous = OFF",
            ):
                connection.execute(f"PRAGMA {pragma}")
            _make_tables(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.DatabaseError):  # nobody has damaged what is just made
                raise _unwritable(path, error) from error
            raise
        return cls(path, connection)

    def _check_version(self) -> None:
        with self._reading() as connection:
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION_ID:
            raise IndexFormatError(f"{self.path} is not the catalog of a qsearch index")
        if version not in READABLE_VERSIONS:
            advice = (
                "a newer qsearch wrote it: install a newer one from where you got this one"
                if version > FORMAT_VERSION
                else f"build it again with {words().rebuild}"
            )
            raise IndexFormatError(
                f"{self.path.parent} has index format {version}, this qsearch reads formats "
                f"{READABLE_VERSIONS[0]} to {FORMAT_VERSION}; {advice}"
            )
        self.version = version
        with self._reading() as connection:
            foreign = foreign_object(connection, version)
        if foreign is not None:
            raise IndexFormatError(
                f"{self.path} is damaged, or qsearch did not make it: it has {foreign}; "
                f"{words().rebuild} builds the index again"
            )

    def is_in_wal_mode(self) -> bool:
        """Whether another program has put it in a mode in which it must not be changed."""
        with self._reading() as connection:
            return _is_in_wal_mode(connection)

    def was_replaced(self) -> bool:
        """Whether there is another file at ``path`` now, or none."""
        return isinstance(self._source, Readers) and self._source.was_replaced()

    def close(self) -> None:
        """Close it; further use is an error. What another thread is reading it reads to the end."""
        if isinstance(self._source, Readers):
            self._source.close()
            return
        with self._lock:
            self._closed = True
            if self._held is None:
                self._source.close()
        if self._held is not None:  # not under two locks
            with closing(self._held):
                self._source.close()
            self._held = None

    @contextmanager
    def view(self) -> Iterator[None]:
        """Whatever this thread reads inside of this block is of one moment.

        It holds up a writer's commit: for what takes milliseconds. Who reads while reading does so in here:
        a second connection may not be had, and would be of another moment.
        """
        before = getattr(self._local, "connection", None)
        with self._reading() as connection:
            self._local.connection = connection
            try:
                yield
            finally:
                self._local.connection = before

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        ours = getattr(self._local, "connection", None)
        if ours is not None:
            yield ours
            return
        try:
            if isinstance(self._source, Readers):
                with self._source.reading() as connection:
                    yield connection
            else:
                with self._lock:
                    yield self._writer
        except _SQLITE_ERRORS as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> IndexFormatError | IndexBusy:
        return _unreadable(self.path, error)

    @property
    def _writer(self) -> sqlite3.Connection:
        if isinstance(self._source, Readers):
            raise ValueError("this catalog was opened for reading")
        if self._closed:
            raise IndexClosed(f"the build in {self.path.parent} has ended")
        return self._source

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection inside one atomic, durable transaction.

        Raises:
            IndexWriteError: the file system refuses.
        """
        with self._lock:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException as error:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise _unwritable(self.path, error) from error
                if isinstance(error, _SQLITE_ERRORS) and not isinstance(
                    error, sqlite3.IntegrityError
                ):
                    raise self._damaged(error) from error
                raise

    # A transaction that lasts longer than a block

    @property
    def writer(self) -> sqlite3.Connection:
        """The connection that writes, for whoever is inside of ``within``."""
        return self._writer

    @contextmanager
    def within(self) -> Iterator[None]:
        """For the statements of a transaction: nobody else uses the connection, errors are told in words.

        Raises:
            IndexWriteError: the file system refuses.
        """
        with self._lock:
            try:
                yield
            except sqlite3.OperationalError as error:
                raise _unwritable(self.path, error) from error
            except sqlite3.IntegrityError as error:
                raise IndexFormatError(
                    f"{self.path} contradicts itself ({error}), nothing was changed; {words().verify} "
                    f"tells more, {words().rebuild} builds the index again"
                ) from error
            except _SQLITE_ERRORS as error:
                raise self._damaged(error) from error

    def begin(self) -> None:
        """Begin a transaction. Others can go on reading until its end."""
        self._writer.execute("BEGIN IMMEDIATE")

    def end(self) -> None:
        """Make the transaction durable."""
        self._writer.execute("COMMIT")

    def roll_back(self) -> None:
        """Undo the transaction, if there is one."""
        with self._lock:
            if not self._closed and self._writer.in_transaction:
                self._writer.execute("ROLLBACK")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to read from, for as long as this block lasts."""
        with self._reading() as connection:
            yield connection

    def finish(self) -> None:
        """Turn a staging catalog into a plain single file, synced; the lock is kept.

        Raises:
            OSError: the file system refuses.
        """
        try:
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            mode = self._writer.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
        except sqlite3.OperationalError as error:
            raise OSError(None, str(error), str(self.path)) from error
        if mode != "delete":
            raise OSError(None, f"the catalog stayed in {mode} mode", str(self.path))
        # Under an exclusive lock SQLite keeps the journal of its last transaction, its header zeroed, and
        # would look for it under a name that the directory no longer has when it closes.
        self.path.with_name(self.path.name + "-journal").unlink(missing_ok=True)

    # Settings

    def settings(self, *, but: Sequence[str] = ()) -> dict[str, Any]:
        """All settings, decoded.

        Args:
            but: names of settings that are not needed, and may be large.

        Raises:
            IndexFormatError: one is damaged.
        """
        settings, damaged = self.read_settings(but=but)
        if damaged:
            raise IndexFormatError(f"{self.path} holds a damaged setting ({', '.join(damaged)})")
        return settings

    def read_settings(
        self, *, but: Sequence[str] = (), only: Sequence[str] = ()
    ) -> tuple[dict[str, Any], list[str]]:
        """Settings that can be decoded, and the names of those that cannot.

        Args:
            but: names of settings that are not needed.
            only: names of those that are; none: all.
        """
        query, names = "SELECT key, value FROM settings", [*only, *but]
        if names:
            which = "IN" if only else "NOT IN"
            query += f" WHERE key {which} ({','.join('?' * len(names))})"
        with self._reading() as connection:
            rows = connection.execute(query, names).fetchall()
        settings, damaged = {}, []
        for key, value in rows:
            try:
                if not isinstance(key, str) or not isinstance(value, str):
                    raise ValueError("not a text")
                settings[key] = json.loads(value)
            except (ValueError, RecursionError):
                damaged.append(str(key)[:40])
        return settings, damaged

    def put_settings(self, settings: dict[str, Any]) -> None:
        """Store or replace ``settings`` (JSON values)."""
        with self.transaction() as connection:
            self.store_settings(connection, settings)

    def store_settings(
        self, connection: sqlite3.Connection, settings: dict[str, Any]
    ) -> dict[str, Any]:
        """The same inside of a transaction; returns them."""
        connection.executemany(
            "INSERT OR REPLACE INTO settings VALUES (?, ?)",
            [(key, json.dumps(value, sort_keys=True)) for key, value in settings.items()],
        )
        return settings


def _locked_connection(path: Path) -> sqlite3.Connection:
    """Connect to a staging catalog and lock it for good; see ``Database.create``."""
    connection = sqlite3.connect(path, check_same_thread=False, timeout=0, isolation_level=None)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if tables and connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise IndexExists(
                f"{path} is a database of another application; move it away, or choose "
                f"{words().other_place}"
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: through the drive's own cache too
        connection.execute("PRAGMA cache_size = -4096")
        _make_tables(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _writing_connection(path: Path, mode: str) -> sqlite3.Connection:
    """Connect for a change: each commit is on the disk, and so is the end of its journal.

    Raises:
        IndexWriteError: the file system refuses.
        IndexFormatError: it is damaged.
    """
    try:
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode={mode}",
            uri=True,
            check_same_thread=False,
            timeout=_PATIENCE,
            isolation_level=None,
        )
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            _put_back(connection, path)
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute("PRAGMA fullfsync = ON")  # macOS: through the drive's own cache too
            connection.execute("PRAGMA cache_size = -65536")
            # Else pages that find no room are written before the end, and nobody could read meanwhile.
            connection.execute("PRAGMA cache_spill = OFF")
        except BaseException:
            connection.close()
            raise
    except sqlite3.OperationalError as error:
        raise _unwritable(path, error) from error
    except _SQLITE_ERRORS as error:
        raise _unreadable(path, error) from error
    return connection


def _put_back(connection: sqlite3.Connection, path: Path) -> None:
    """Take a catalog out of WAL mode, in which another program has put it, and its promises do not hold.

    Raises:
        IndexBusy: somebody has it open.
    """
    if not _is_in_wal_mode(connection):
        return
    try:
        connection.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        raise IndexBusy(
            f"{path} was put in WAL mode by another program, and cannot be changed so; where nobody has "
            f"the index open any more, {words().upgrade} puts it back"
        ) from error


def _is_in_wal_mode(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal")


def _make_tables(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        for statement in SCHEMA.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
    connection.execute("COMMIT")


def _unreadable(path: Path, error: Exception) -> IndexFormatError | IndexBusy:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
        return IndexBusy(f"{path} is kept locked by another process; try again later")
    return IndexFormatError(
        f"{path} cannot be read ({error}); {words().verify} tells more, {words().rebuild} "
        "builds the index again"
    )


def _unwritable(path: Path, error: sqlite3.DatabaseError) -> IndexWriteError | IndexBusy:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_BUSY:
        return IndexBusy(
            f"{path} was being read for longer than the {_PATIENCE:.0f} s that a commit waits; what was "
            "committed is safe: run the same command again"
        )
    advice = {
        sqlite3.SQLITE_FULL: "free some space",
        sqlite3.SQLITE_READONLY: "make the place writable",
        sqlite3.SQLITE_PERM: "make the place writable",
        sqlite3.SQLITE_CANTOPEN: f"make the place writable, or {CLOSE_FILES}",
    }.get(code, "free some space, make the place writable or mend the disk")
    return IndexWriteError(
        f"{path} cannot be written ({error}); what was committed is safe: {advice}, and run the same "
        "command again"
    )


def _require_sqlite() -> None:
    if sqlite3.sqlite_version_info < (3, 37):
        raise IndexFormatError(
            f"this Python has SQLite {sqlite3.sqlite_version}; an index needs 3.37 or later (STRICT "
            "tables): use a Python from python.org, conda or uv, which bring a newer one"
        )


def _absent(index: Path) -> str:
    building = unfinished(index)
    if building is not None:
        return building
    if index.is_dir():
        return f"{index} is not a qsearch index: it has no {CATALOG}"
    if index.exists():
        return f"{index} is a file; an index is a directory"
    return f"there is no index at {index}; make one with {words().build}"
