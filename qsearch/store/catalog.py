"""The catalog: one SQLite database that says what an index holds.

A document or a segment exists when its row here is committed, not before. A published catalog is a
single file in rollback-journal mode, so that it can be read from a read-only disk; while an index is
being built its catalog runs in WAL mode under an exclusive lock.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from qsearch.errors import IndexClosed, IndexExists, IndexFormatError, IndexWriteError
from qsearch.locks import ProcessLock
from qsearch.store.format import (
    APPLICATION_ID,
    CATALOG,
    FORMAT_VERSION,
    READABLE_VERSIONS,
)
from qsearch.store.holding import closing, file_identity, opening, unfinished
from qsearch.store.mapping import reading
from qsearch.wording import words

__all__ = ["Catalog", "ChunkEntry", "FileEntry", "SegmentEntry", "StoredDocument"]

_SCHEMA = """
CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL                 -- JSON
) STRICT, WITHOUT ROWID;
CREATE TABLE documents (
    position INTEGER PRIMARY KEY,       -- document order, from 0
    id TEXT NOT NULL UNIQUE,
    title TEXT,
    text TEXT NOT NULL,
    metadata TEXT,                      -- a JSON object, NULL for {}
    line INTEGER                        -- where it stood in the corpus, from 1
) STRICT;
CREATE TABLE segments (
    id TEXT PRIMARY KEY,                -- the directory's name: a hash of its arrays
    first_row INTEGER NOT NULL UNIQUE,  -- rows in the segments before this one
    rows INTEGER NOT NULL,
    first_document INTEGER NOT NULL UNIQUE, -- position of its first document
    documents INTEGER NOT NULL,         -- as many as rows, where they are not split into passages
    documents_xxh3 TEXT NOT NULL        -- checksum of the documents' rows in this catalog
) STRICT, WITHOUT ROWID;
CREATE TABLE files (
    segment TEXT NOT NULL REFERENCES segments (id),
    name TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    xxh3 TEXT NOT NULL,                 -- XXH3, 128 bits, of the whole file
    PRIMARY KEY (segment, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE canaries (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    text TEXT NOT NULL,
    document BLOB NOT NULL,             -- unit row, little-endian float32
    query BLOB NOT NULL
) STRICT;
CREATE TABLE chunks (                   -- the steps of the build: what need not be done again
    number INTEGER PRIMARY KEY,
    digest TEXT NOT NULL,               -- of the records that went in
    records INTEGER NOT NULL,
    documents INTEGER NOT NULL,         -- accepted so far, this chunk included
    rows INTEGER NOT NULL,              -- of all these documents
    truncated INTEGER NOT NULL          -- in this chunk
) STRICT;
CREATE TABLE rejects (
    chunk INTEGER NOT NULL,
    line INTEGER NOT NULL,
    reason TEXT NOT NULL,
    raw BLOB NOT NULL
) STRICT;
"""

_DIGESTED = {
    1: (
        "id, first_position, rows, documents_xxh3",
        "number, digest, records, documents, truncated",
    ),
    2: (
        "id, first_row, rows, first_document, documents, documents_xxh3",
        "number, digest, records, documents, rows, truncated",
    ),
}
"""Columns of ``segments`` and ``chunks`` by format version, as the catalog's checksum takes them."""


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as the catalog returns it."""

    position: int
    id: str
    title: str | None
    text: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """A row of ``segments``.

    Attributes:
        id: name of the directory.
        first_row: rows in the segments before this one.
        rows: of this segment.
        first_document: position of its first document.
        documents: how many.
        documents_xxh3: checksum of what the catalog holds of them.
    """

    id: str
    first_row: int
    rows: int
    first_document: int
    documents: int
    documents_xxh3: str


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A row of ``files``."""

    name: str
    bytes: int
    xxh3: str


@dataclass(frozen=True, slots=True)
class ChunkEntry:
    """A row of ``chunks``.

    Attributes:
        digest: of the records that went in.
        records: how many.
        documents: accepted so far, this chunk included.
        rows: of all these documents.
    """

    digest: str
    records: int
    documents: int
    rows: int


class Catalog:
    """A connection to one catalog. Safe to share between threads.

    Attributes:
        path: of the file.
        version: of the format in which the index was written.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        file: tuple[int, int] | None = None,
        *,
        held: tuple[int, int] | None = None,
    ) -> None:
        """Use ``open`` or ``create``."""
        self.path = path
        self.version = FORMAT_VERSION
        self._file = file
        self._connection = connection
        # SQLite has locks of its own: no thread may be in it while another forks.
        self._lock = ProcessLock(fork_waits=True)
        self._closed = False
        self._process = os.getpid()
        self._held = held

    @classmethod
    def open(cls, index: Path) -> Catalog:
        """Open a published catalog for reading.

        Raises:
            IndexFormatError: it is missing, half written, damaged or of another version.
        """
        _require_sqlite()
        path = index / CATALOG
        if not path.is_file():
            raise IndexFormatError(_absent(index))
        file = file_identity(path)  # before it is opened: a replacement in between counts as one
        catalog = cls(path, _connected(path), file)
        try:
            catalog._check_version()
        except BaseException:
            catalog.close()
            raise
        return catalog

    @classmethod
    def create(cls, directory: Path) -> Catalog:
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

    def was_replaced(self) -> bool:
        """Whether there is another file at ``path`` now, or none."""
        return file_identity(self.path) != self._file

    def close(self) -> None:
        """Close the connection; further use is an error. Waits for the read of another thread."""
        with self._lock:
            self._closed = True
            if self._held is None:
                self._connection.close()
        if self._held is not None:  # not under two locks
            with closing(self._held):
                self._connection.close()
            self._held = None

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._closed:
                raise IndexClosed(f"{self.path.parent} was closed; open it again with Index.open")
            if self._process != os.getpid():
                self._leave_to_parent()
            try:
                yield self._connection
            except sqlite3.DatabaseError as error:
                raise self._damaged(error) from error

    def _damaged(self, error: sqlite3.DatabaseError) -> IndexFormatError:
        return IndexFormatError(
            f"{self.path} cannot be read ({error}); {words().verify} tells more, {words().rebuild} "
            "builds the index again"
        )

    def _leave_to_parent(self) -> None:
        """In a forked child: take a connection of its own, as SQLite asks for.

        Where another index has taken the place of this one, the parent's is used: nothing was being read
        when it forked, and nothing is ever written.
        """
        self._process = os.getpid()
        if self._file is not None and not self.was_replaced():
            self._connection = _connected(self.path)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection inside one atomic, durable transaction.

        Raises:
            IndexWriteError: the file system refuses.
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise IndexWriteError(
                        f"{self.path} cannot be written ({error}); what was committed is safe: free "
                        "some space or mend the disk and run the same command again"
                    ) from error
                if isinstance(error, sqlite3.DatabaseError) and not isinstance(
                    error, sqlite3.IntegrityError
                ):
                    raise self._damaged(error) from error
                raise

    def finish(self) -> None:
        """Turn a staging catalog into a plain single file, synced; the lock is kept.

        Raises:
            OSError: the file system refuses.
        """
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            mode = self._connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
        except sqlite3.OperationalError as error:
            raise OSError(None, str(error), str(self.path)) from error
        if mode != "delete":
            raise OSError(None, f"the catalog stayed in {mode} mode", str(self.path))
        # Under an exclusive lock SQLite keeps the journal of its last transaction, its header zeroed, and
        # would look for it under a name that the directory no longer has when it closes.
        self.path.with_name(self.path.name + "-journal").unlink(missing_ok=True)

    # Settings

    def settings(self) -> dict[str, Any]:
        """All settings, decoded."""
        with self._reading() as connection:
            rows = connection.execute("SELECT key, value FROM settings").fetchall()
        try:
            return {key: json.loads(value) for key, value in rows}
        except ValueError as error:
            raise IndexFormatError(f"{self.path} holds a damaged setting ({error})") from error

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

    # Documents

    def count(self) -> int:
        """Number of documents."""
        with self._reading() as connection:
            return int(connection.execute("SELECT count(*) FROM documents").fetchone()[0])

    def documents(self, positions: Iterable[int]) -> dict[int, StoredDocument]:
        """The documents at ``positions``; a position that holds none is an error.

        Raises:
            IndexFormatError: a document is not in the catalog.
        """
        wanted = list(dict.fromkeys(positions))
        found: dict[int, StoredDocument] = {}
        with self._reading() as connection:
            for start in range(0, len(wanted), 500):
                some = wanted[start : start + 500]
                for row in connection.execute(
                    "SELECT position, id, title, text, metadata FROM documents "  # noqa: S608 (question marks)
                    f"WHERE position IN ({','.join('?' * len(some))})",
                    some,
                ):
                    position, name, title, text, metadata = row
                    found[position] = StoredDocument(
                        position, name, title, text, _metadata(metadata, self.path)
                    )
        for position in wanted:
            if position not in found:
                raise IndexFormatError(f"{self.path} lacks the document at position {position}")
        return found

    def lines_of(self, ids: Sequence[str]) -> dict[str, int | None]:
        """Line numbers of those of ``ids`` that the catalog holds."""
        found: dict[str, int | None] = {}
        with self._reading() as connection:
            for start in range(0, len(ids), 500):
                some = ids[start : start + 500]
                found.update(
                    connection.execute(
                        "SELECT id, line FROM documents "  # noqa: S608 (only question marks are added)
                        f"WHERE id IN ({','.join('?' * len(some))})",
                        some,
                    )
                )
        return found

    def documents_digest(self, first: int, rows: int) -> str:
        """XXH3 (128 bits) of the documents at ``first`` to ``first + rows - 1``, as hexadecimal."""
        digest = xxhash.xxh3_128()
        with self._reading() as connection:
            for row in connection.execute(
                "SELECT position, id, title, text, metadata, line FROM documents "
                "WHERE position >= ? AND position < ? ORDER BY position",
                (first, first + rows),
            ):
                digest.update(json.dumps(row, ensure_ascii=True).encode("ascii"))
        return digest.hexdigest()

    # The build's own record

    def chunks(self) -> list[ChunkEntry]:
        """Every durable chunk, in order."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT digest, records, documents, rows FROM chunks ORDER BY number"
            ).fetchall()
        return [ChunkEntry(*row) for row in rows]

    def records(
        self, first: int, count: int
    ) -> list[tuple[str, str | None, str, str | None, int | None]]:
        """(id, title, text, metadata as JSON, line) of ``count`` documents from position ``first`` on."""
        with self._reading() as connection:
            return connection.execute(
                "SELECT id, title, text, metadata, line FROM documents "
                "WHERE position >= ? AND position < ? ORDER BY position",
                (first, first + count),
            ).fetchall()

    def totals(self) -> dict[str, int]:
        """Numbers of records read, records rejected and documents truncated."""
        with self._reading() as connection:
            records, truncated = connection.execute(
                "SELECT coalesce(sum(records), 0), coalesce(sum(truncated), 0) FROM chunks"
            ).fetchone()
            rejected = connection.execute("SELECT count(*) FROM rejects").fetchone()[0]
        return {"records": records, "rejected": rejected, "truncated": truncated}

    def rejects(self) -> Iterator[tuple[int, str, bytes]]:
        """(line, reason, raw) of every record that was not accepted, in order."""
        with self._reading() as connection:
            yield from connection.execute("SELECT line, reason, raw FROM rejects ORDER BY rowid")

    # Segments and their files

    def segments(self) -> list[SegmentEntry]:
        """All segments, in document order."""
        with self._reading() as connection:
            if self.version == 1:
                rows = connection.execute(
                    "SELECT id, first_position, rows, first_position, rows, documents_xxh3 "
                    "FROM segments ORDER BY first_position"
                ).fetchall()
            else:
                rows = connection.execute(
                    "SELECT id, first_row, rows, first_document, documents, documents_xxh3 "
                    "FROM segments ORDER BY first_row"
                ).fetchall()
        return [SegmentEntry(*row) for row in rows]

    def files(self, segment: str) -> dict[str, FileEntry]:
        """The files of ``segment``, by name."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT name, bytes, xxh3 FROM files WHERE segment = ? ORDER BY name", (segment,)
            ).fetchall()
        return {row[0]: FileEntry(*row) for row in rows}

    # Canaries

    def canaries(self) -> list[tuple[str, str, bytes, bytes]]:
        """(name, text, document vector, query vector) of every canary, in order."""
        with self._reading() as connection:
            return connection.execute(
                "SELECT name, text, document, query FROM canaries ORDER BY number"
            ).fetchall()

    def put_canaries(self, canaries: Sequence[tuple[str, str, bytes, bytes]]) -> None:
        """Store all canaries, replacing those there are."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM canaries")
            connection.executemany(
                "INSERT INTO canaries VALUES (?, ?, ?, ?, ?)",
                [(number, *canary) for number, canary in enumerate(canaries)],
            )

    # The whole

    def digest(self) -> str:
        """XXH3 (128 bits) of the schema and every table but the documents, as hexadecimal.

        The documents are covered by the checksums of their segments. The setting that holds this
        digest is left out.
        """
        segments, chunks = _DIGESTED[self.version]
        digest = xxhash.xxh3_128()
        with self._reading() as connection:
            for query in (
                "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name",
                "SELECT key, value FROM settings WHERE key <> 'catalog_xxh3' ORDER BY key",
                f"SELECT {segments} FROM segments ORDER BY id",  # noqa: S608 (_DIGESTED is ours)
                "SELECT segment, name, bytes, xxh3 FROM files ORDER BY segment, name",
                "SELECT number, name, text, hex(document), hex(query) FROM canaries ORDER BY number",
                f"SELECT {chunks} FROM chunks ORDER BY number",  # noqa: S608 (_DIGESTED is ours)
                "SELECT chunk, line, reason, hex(raw) FROM rejects ORDER BY rowid",
            ):
                for row in connection.execute(query):
                    digest.update(json.dumps(row, ensure_ascii=True).encode("ascii"))
        return digest.hexdigest()

    def structure_problems(self) -> list[str]:
        """What SQLite's own integrity check complains about; empty when sound."""
        try:
            with self._lock:
                rows = self._connection.execute("PRAGMA integrity_check(5)").fetchall()
        except sqlite3.DatabaseError as error:
            return [str(error)]
        return [row[0] for row in rows if row[0] != "ok"]


def _locked_connection(path: Path) -> sqlite3.Connection:
    """Connect to a staging catalog and lock it for good; see ``Catalog.create``."""
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
        connection.execute("BEGIN IMMEDIATE")
        if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            for statement in _SCHEMA.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _metadata(encoded: str | None, path: Path) -> dict[str, Any]:
    if encoded is None:
        return {}
    try:
        decoded = json.loads(encoded)
    except ValueError as error:
        raise IndexFormatError(f"{path} holds damaged metadata ({error})") from error
    return decoded if isinstance(decoded, dict) else {"": decoded}


def _connected(path: Path) -> sqlite3.Connection:
    """A connection that only reads, and trusts nothing that the schema could run.

    Raises:
        IndexFormatError: it cannot be opened.
    """
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False, timeout=30
        )
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA query_only = ON")
    except sqlite3.DatabaseError as error:
        with reading(path), open(path, "rb"):
            pass  # the system may have a reason of its own, and then says it better
        raise IndexFormatError(
            f"{path} cannot be read ({error}); {words().verify} tells more, {words().rebuild} builds "
            "the index again"
        ) from error
    return connection


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
