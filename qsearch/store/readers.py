"""Connections to one published catalog: as many as there are threads that read at the same time.

A read is a short transaction, and holds up a writer's commit no longer. Four things are taken care of.
Another catalog may take the place of this one while it is open, which nobody writes to any more: a
connection is only added while the path still leads to the same file, and where it does not, those that
there are are shared. A process may fork: SQLite has locks of its own, so nobody may be inside of it at that
moment, and a child does not go on with the connections of its parent. An index may be closed by one thread
while another reads: the read ends as it would have, and the next is an error. And a writer may have been
killed in the middle of a commit: the journal that it left is rolled back before anything is read.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qsearch.errors import IndexClosed, IndexFormatError
from qsearch.locks import ForkGate
from qsearch.store.holding import connect, disconnect, file_identity
from qsearch.store.reading import reading
from qsearch.wording import words

__all__ = ["SQLITE", "Readers"]

_PATIENCE = 10.0
"""Seconds that a read waits for a commit, which takes milliseconds."""

_MOST_IDLE = 8
"""So many connections are kept for the next reads."""


SQLITE = ForkGate()
"""Whoever is inside of SQLite, with a connection that no lock guards, is inside of this."""


class _Reader:
    """A connection, the process that made it, and a lock for those who have to share it."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.Lock()
        self.process = os.getpid()
        self.connection = _connected(path)


class Readers:
    """All connections to the catalog of an open index. Safe to share between threads and after a fork."""

    def __init__(self, path: Path) -> None:
        """Open the first.

        Raises:
            IndexFormatError: the file cannot be read.
        """
        self._path = path.absolute()
        self._closed = False
        with SQLITE.inside():
            while True:
                self._file = _checked_identity(self._path)
                connect(self._file)
                try:
                    first = _Reader(self._path)
                except BaseException as error:
                    disconnect(self._file)
                    if isinstance(error, sqlite3.OperationalError):
                        _check_readable(self._path)  # says why, where it is for the system
                        raise IndexFormatError(f"{path} cannot be read ({error})") from error
                    raise
                if not self.was_replaced():
                    break
                first.connection.close()  # another index took the place of this one in between
                disconnect(self._file)
        self._first = first
        weakref.finalize(self, disconnect, self._file)
        # A thread takes a connection from here and puts it back: each is one step of the interpreter.
        self._idle = [first]

    def was_replaced(self) -> bool:
        """Whether there is another file at the path now, or none."""
        return file_identity(self._path) != self._file

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that no other thread uses meanwhile. Not for generators: a fork waits for it.

        Raises:
            IndexClosed: ``close`` was called.
        """
        with SQLITE.inside():
            reader, own = self._take()
            try:
                with reader.lock:
                    self._check_open()
                    if reader.process != os.getpid():
                        self._leave_to_parent(reader)
                    try:
                        self._begin(reader.connection)
                        yield reader.connection
                    finally:
                        _end(reader.connection)
            finally:
                # Ctrl-C may come before any line, also in the block above; a read that does not end would
                # keep writers out.
                with reader.lock:
                    _end(reader.connection)
                if own:
                    self._put_back(reader)

    def close(self) -> None:
        """Close all connections: those that are being read from as soon as that is done."""
        self._closed = True
        with SQLITE.inside():
            while self._idle:
                try:
                    reader = self._idle.pop()
                except IndexError:  # another thread closes too
                    return
                with reader.lock:
                    reader.connection.close()

    def _check_open(self) -> None:
        if self._closed:
            raise IndexClosed(f"{self._path.parent} was closed; open it again with Index.open")

    def _take(self) -> tuple[_Reader, bool]:
        """A connection, and whether it is to be put back; else another thread is using it too."""
        try:
            return self._idle.pop(), True
        except IndexError:
            self._check_open()
        if self.was_replaced():
            return self._first, False
        try:
            reader = _Reader(self._path)
        except sqlite3.Error:  # no more files may be open
            return self._first, False
        if self.was_replaced():
            reader.connection.close()
            return self._first, False
        return reader, True

    def _put_back(self, reader: _Reader) -> None:
        if reader is self._first or len(self._idle) < _MOST_IDLE:
            self._idle.append(reader)
        else:
            reader.connection.close()
        if self._closed:
            self.close()

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Begin a read: from here to the end of the transaction nothing changes.

        A journal beside the catalog means that a commit is to be rolled back first, if nobody is in the
        middle of it. For a catalog whose place another one took it means nothing, and is soon gone.
        """
        _end(connection)  # where even that was cut short
        ends = time.monotonic() + _PATIENCE
        while True:
            try:
                connection.execute("BEGIN")
                connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
                return
            except sqlite3.OperationalError as error:
                _end(connection)
                rollback = error.sqlite_errorcode == sqlite3.SQLITE_READONLY_ROLLBACK
                if not rollback or time.monotonic() > ends:
                    raise
            _roll_back(self._path)
            time.sleep(0.001)

    def _leave_to_parent(self, reader: _Reader) -> None:
        """In a forked child: take a connection of its own, as SQLite asks for.

        Where another index has taken the place of this one, the parent's is used: nothing was being read
        from it when it forked, nothing is ever written, and no file is locked.
        """
        reader.process = os.getpid()
        if not self.was_replaced():
            connection = _connected(self._path)
            if self.was_replaced():
                connection.close()
            else:
                reader.connection = connection


def _end(connection: sqlite3.Connection) -> None:
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.ProgrammingError:  # it was closed
        return


def _checked_identity(path: Path) -> tuple[int, int]:
    """Device and inode of a file; not by opening it, see ``holding``."""
    with reading(path):
        status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise IndexFormatError(
            f"{path} is not a file; restore it from a copy, or build the index again with "
            f"{words().rebuild}"
        )
    return status.st_dev, status.st_ino


def _check_readable(path: Path) -> None:
    with reading(path):
        if not os.access(path, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        os.close(os.open(os.devnull, os.O_RDONLY))  # no more files may be open, else


def _roll_back(path: Path) -> None:
    """Have SQLite undo what a writer that is no more has left half done.

    Raises:
        IndexFormatError: the file system refuses.
    """
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw", uri=True, timeout=_PATIENCE, isolation_level=None
    )
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
    except sqlite3.OperationalError as error:
        raise IndexFormatError(
            f"the last change of {path.parent} was cut short, and cannot be undone here ({error}); open "
            "the index once where it can be written"
        ) from error
    finally:
        connection.close()


def _connected(path: Path) -> sqlite3.Connection:
    """A connection that only reads, and runs nothing that the file may hold."""
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=ro",
        uri=True,
        check_same_thread=False,
        timeout=_PATIENCE,
        isolation_level=None,
    )
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
    except BaseException:
        connection.close()
        raise
    return connection
