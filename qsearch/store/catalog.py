"""The catalog: one SQLite database that says what an index holds.

A document or a segment exists when its row here is committed, not before. A published catalog is a
single file in rollback-journal mode, so that it can be read from a read-only disk; while an index is
being built its catalog runs in WAL mode under an exclusive lock.
"""

from __future__ import annotations

import json
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
from qsearch.store.holding import closing, file_identity, is_held, opening, unfinished
from qsearch.store.readers import Readers
from qsearch.store.reading import reading
from qsearch.store.schema import DIGESTED, SCHEMA, foreign_object
from qsearch.wording import words

__all__ = ["Catalog", "ChunkEntry", "FileEntry", "SegmentEntry", "StoredDocument"]


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
    """One catalog, opened. Safe to share between threads, and with children of a fork if it is published.

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

    @classmethod
    def open(cls, index: Path) -> Catalog:
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
        if is_held(path):
            raise IndexFormatError(f"{index} is being built at this moment, and cannot be read yet")
        catalog = cls(path, Readers(path))
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
        with self._reading() as connection:
            foreign = foreign_object(connection, version)
        if foreign is not None:
            raise IndexFormatError(
                f"{self.path} is damaged, or qsearch did not make it: it has {foreign}; "
                f"{words().rebuild} builds the index again"
            )

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
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            if isinstance(self._source, Readers):
                with self._source.reading() as connection:
                    yield connection
            else:
                with self._lock:
                    yield self._writer
        except sqlite3.Error as error:
            raise self._damaged(error) from error

    def _damaged(self, error: sqlite3.Error) -> IndexFormatError:
        return IndexFormatError(
            f"{self.path} cannot be read ({error}); {words().verify} tells more, {words().rebuild} "
            "builds the index again"
        )

    @property
    def _writer(self) -> sqlite3.Connection:
        if isinstance(self._source, Readers):
            raise ValueError("a published catalog is never written")
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

    def settings(self) -> dict[str, Any]:
        """All settings, decoded.

        Raises:
            IndexFormatError: one is damaged.
        """
        settings, damaged = self.read_settings()
        if damaged:
            raise IndexFormatError(f"{self.path} holds a damaged setting ({', '.join(damaged)})")
        return settings

    def read_settings(self) -> tuple[dict[str, Any], list[str]]:
        """All settings that can be decoded, and the names of those that cannot."""
        with self._reading() as connection:
            rows = connection.execute("SELECT key, value FROM settings").fetchall()
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

    # Documents

    def count(self) -> int:
        """Number of documents."""
        with self._reading() as connection:
            return int(connection.execute("SELECT count(*) FROM documents").fetchone()[0])

    def documents(self, positions: Iterable[int]) -> dict[int, StoredDocument]:
        """The documents at ``positions``; a position that holds none is an error.

        Raises:
            IndexFormatError: a document is not in the catalog, or damaged.
        """
        found: dict[int, StoredDocument] = {}
        for position, name, title, text, metadata in self._at(
            positions, "position, id, title, text, metadata"
        ):
            sound = isinstance(name, str) and isinstance(text, str)
            if not sound or not isinstance(title, str | None):
                raise self._damaged_document(position)
            try:
                decoded = {} if metadata is None else json.loads(metadata)
            except (ValueError, TypeError, RecursionError) as error:
                raise self._damaged_document(position) from error
            if not isinstance(decoded, dict):
                raise self._damaged_document(position)
            found[position] = StoredDocument(position, name, title, text, decoded)
        return found

    def ids(self, positions: Iterable[int]) -> dict[int, str]:
        """The ids of the documents at ``positions``, whose texts are not read.

        Raises:
            IndexFormatError: a document is not in the catalog, or damaged.
        """
        found: dict[int, str] = {}
        for position, name in self._at(positions, "position, id"):
            if not isinstance(name, str):
                raise self._damaged_document(position)
            found[position] = name
        return found

    def _at(self, positions: Iterable[int], columns: str) -> list[tuple[Any, ...]]:
        """Columns of the documents at ``positions``, of which each must be there."""
        wanted = list(dict.fromkeys(positions))
        found: list[tuple[Any, ...]] = []
        with self._reading() as connection:
            for start in range(0, len(wanted), 500):
                some = wanted[start : start + 500]
                found += connection.execute(
                    f"SELECT {columns} FROM documents "  # noqa: S608 (names and question marks)
                    f"WHERE position IN ({','.join('?' * len(some))})",
                    some,
                ).fetchall()
        if len(found) != len(wanted):
            missing = min(set(wanted) - {row[0] for row in found}, default=-1)
            raise IndexFormatError(
                f"{self.path} lacks the document at position {missing}; {words().verify} tells more"
            )
        return found

    def _damaged_document(self, position: int) -> IndexFormatError:
        return IndexFormatError(
            f"{self.path} is damaged: the document at position {position} is not one; {words().verify} "
            "tells more"
        )

    def ends(self) -> tuple[int | None, int | None]:
        """The lowest and the highest position of a document."""
        with self._reading() as connection:
            first = connection.execute("SELECT min(position) FROM documents").fetchone()[0]
            return first, connection.execute("SELECT max(position) FROM documents").fetchone()[0]

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
        last = -(1 << 63)
        while True:
            with self._reading() as connection:
                some = connection.execute(
                    "SELECT rowid, line, reason, raw FROM rejects WHERE rowid > ? ORDER BY rowid LIMIT 500",
                    (last,),
                ).fetchall()
            if not some:
                return
            yield from (row[1:] for row in some)
            last = some[-1][0]

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
        segments, chunks = DIGESTED[self.version]
        digest = xxhash.xxh3_128()
        with self._reading() as connection:
            for query in (
                "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name",
                "SELECT key, value FROM settings WHERE key <> 'catalog_xxh3' ORDER BY key",
                f"SELECT {segments} FROM segments ORDER BY id",  # noqa: S608 (DIGESTED is ours)
                "SELECT segment, name, bytes, xxh3 FROM files ORDER BY segment, name",
                "SELECT number, name, text, hex(document), hex(query) FROM canaries ORDER BY number",
                f"SELECT {chunks} FROM chunks ORDER BY number",  # noqa: S608 (DIGESTED is ours)
                "SELECT chunk, line, reason, hex(raw) FROM rejects ORDER BY rowid",
            ):
                for row in connection.execute(query):
                    digest.update(json.dumps(row, ensure_ascii=True).encode("ascii"))
        return digest.hexdigest()

    def structure_problems(self) -> list[str]:
        """What SQLite's own integrity check complains about; empty when sound."""
        try:
            with self._reading() as connection:
                rows = connection.execute("PRAGMA integrity_check(5)").fetchall()
        except IndexFormatError as error:
            return [str(error.__cause__ or error)]
        return [str(row[0]) for row in rows if row[0] != "ok"]


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
            for statement in SCHEMA.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
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
