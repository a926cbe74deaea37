"""The catalog: the tables that say what an index holds.

A document or a segment exists when a commit that has it is stored here, not before. What a change under way
has stored already bears the number of the commit that is to come, and nobody sees it until then.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from qsearch.errors import IndexFormatError
from qsearch.store.database import Database
from qsearch.store.readers import Readers
from qsearch.store.rows import (
    FIRST_COMMIT,
    ChunkEntry,
    FileEntry,
    MaskEntry,
    SegmentEntry,
    StoredDocument,
    TailRow,
    as_json,
    decoded_document,
    row_checksum,
    sample_row,
)
from qsearch.store.schema import DIGESTED, tokenizer_of
from qsearch.wording import words

__all__ = ["Catalog"]

_AT_A_TIME = 500


class Catalog(Database):
    """One catalog, opened. Safe to share between threads, and with children of a fork if it only reads.

    Attributes:
        path: of the file.
        version: of the format in which the index was written.
        commit: what is read of documents is of this commit.
    """

    commit = FIRST_COMMIT

    def __init__(
        self,
        path: Path,
        source: Readers | sqlite3.Connection,
        *,
        held: tuple[int, int] | None = None,
    ) -> None:
        """Use ``open``, ``create`` or ``change``."""
        super().__init__(path, source, held=held)

    @property
    def visible(self) -> str:
        """A condition for the rows of ``documents`` that are there at the commit."""
        if self.version < 3:
            return "1"
        return f"came <= {self.commit} AND (went IS NULL OR went > {self.commit})"

    @property
    def tokenizer(self) -> str | None:
        """That of the text index, as FTS5 spells it; ``None``: there is no text index."""
        with self._reading() as connection:
            return tokenizer_of(connection)

    # Documents

    def count(self) -> int:
        """Number of documents."""
        with self._reading() as connection:
            return int(
                connection.execute(
                    f"SELECT count(*) FROM documents WHERE {self.visible}"  # noqa: S608 (numbers)
                ).fetchone()[0]
            )

    def documents(self, positions: Iterable[int]) -> dict[int, StoredDocument]:
        """The documents at ``positions``; a position that holds none is an error.

        Raises:
            IndexFormatError: a document is not in the catalog, or damaged.
        """
        wanted = list(dict.fromkeys(positions))
        found: dict[int, StoredDocument] = {}
        with self.view():
            rows = self._at(wanted, "position, id, title, text, metadata")
            earlier = self._earlier(wanted)
        for row in rows:
            found[row[0]] = self._document(row)
        for position, metadata in earlier.items():
            one = found[position]
            row = (position, one.id, one.title, one.text, metadata)
            found[position] = self._document(row)
        return found

    def _document(self, row: tuple[Any, ...]) -> StoredDocument:
        document = decoded_document(*row)
        if document is None:
            raise self._damaged_document(row[0])
        return document

    def _earlier(self, positions: Sequence[int]) -> dict[int, str | None]:
        """Metadata that documents had at the commit, where a later one replaced it."""
        found: dict[int, str | None] = {}
        if self.version < 3:
            return found
        with self._reading() as connection:
            for start in range(0, len(positions), _AT_A_TIME):
                some = positions[start : start + _AT_A_TIME]
                for position, metadata in connection.execute(
                    "SELECT position, metadata FROM earlier "  # noqa: S608 (numbers, question marks)
                    f"WHERE position IN ({','.join('?' * len(some))}) AND until > {self.commit} "
                    "ORDER BY until DESC",
                    some,
                ):
                    found[position] = metadata  # the first to be replaced comes last
        return found

    def ids(self, positions: Iterable[int]) -> dict[int, str]:
        """The ids of the documents at ``positions``, whose texts are not read.

        Raises:
            IndexFormatError: a document is not in the catalog, or damaged.
        """
        found: dict[int, str] = {}
        for position, name in self._at(list(dict.fromkeys(positions)), "position, id"):
            if not isinstance(name, str):
                raise self._damaged_document(position)
            found[position] = name
        return found

    def _at(self, wanted: Sequence[int], columns: str) -> list[tuple[Any, ...]]:
        """Columns of the documents at ``wanted``, of which each must be there."""
        found: list[tuple[Any, ...]] = []
        with self._reading() as connection:
            for start in range(0, len(wanted), _AT_A_TIME):
                some = wanted[start : start + _AT_A_TIME]
                found += connection.execute(
                    f"SELECT {columns} FROM documents "  # noqa: S608 (names and question marks)
                    f"WHERE position IN ({','.join('?' * len(some))}) AND {self.visible}",
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

    def there(self, positions: Sequence[int]) -> set[int]:
        """Those of ``positions`` at which there is a document."""
        found: set[int] = set()
        with self._reading() as connection:
            for start in range(0, len(positions), _AT_A_TIME):
                some = positions[start : start + _AT_A_TIME]
                found.update(
                    row[0]
                    for row in connection.execute(
                        "SELECT position FROM documents "  # noqa: S608 (numbers and question marks)
                        f"WHERE position IN ({','.join('?' * len(some))}) AND {self.visible}",
                        some,
                    )
                )
        return found

    def positions(self, first: int, last: int | None = None) -> NDArray[np.int64]:
        """Positions of the documents from ``first`` to ``last``, in order."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT position FROM documents WHERE position >= ? AND position <= ? "  # noqa: S608
                f"AND {self.visible} ORDER BY position",
                (first, (1 << 62) if last is None else last),
            )
            return np.fromiter((row[0] for row in rows), dtype=np.int64)

    def page(self, after: int, count: int) -> list[StoredDocument]:
        """The next documents behind the position ``after``, in order."""
        with self.view(), self._reading() as connection:
            rows = connection.execute(
                "SELECT position, id, title, text, metadata FROM documents "  # noqa: S608 (numbers)
                f"WHERE position > ? AND {self.visible} ORDER BY position LIMIT ?",
                (after, count),
            ).fetchall()
            earlier = self._earlier([row[0] for row in rows])
        return [self._document((*row[:4], earlier.get(row[0], row[4]))) for row in rows]

    def document_rows(self, after: int, count: int) -> list[tuple[Any, ...]]:
        """All columns but ``went`` of the next documents behind a position, as the format has them."""
        columns = "position, id, title, text, metadata, line"
        if self.version >= 3:
            columns += ", came, xxh3"
        with self._reading() as connection:
            return connection.execute(
                f"SELECT {columns} FROM documents WHERE position > ? "  # noqa: S608 (names, numbers)
                f"AND {self.visible} ORDER BY position LIMIT ?",
                (after, count),
            ).fetchall()

    def by_id(self, ids: Sequence[str]) -> dict[str, StoredDocument]:
        """Those documents of ``ids`` that the index holds."""
        with self.view():
            rows = self._by_id(ids, "position, id, title, text, metadata")
            earlier = self._earlier([row[0] for row in rows])
        return {row[1]: self._document((*row[:4], earlier.get(row[0], row[4]))) for row in rows}

    def positions_before(self, ids: Sequence[str], first_new: int) -> list[int]:
        """Positions below ``first_new`` of documents of ``ids`` that are there at the commit before."""
        found: list[int] = []
        with self._reading() as connection:
            for start in range(0, len(ids), _AT_A_TIME):
                some = ids[start : start + _AT_A_TIME]
                found += [
                    row[0]
                    for row in connection.execute(
                        "SELECT position FROM documents "  # noqa: S608 (numbers and question marks)
                        f"WHERE id IN ({','.join('?' * len(some))}) AND position < ? "
                        f"AND came < {self.commit} AND (went IS NULL OR went >= {self.commit})",
                        [*some, first_new],
                    )
                ]
        return found

    def positions_of(self, ids: Sequence[str]) -> dict[str, int]:
        """Positions of those of ``ids`` that the index holds."""
        return dict(self._by_id(ids, "id, position"))

    def lines_of(self, ids: Sequence[str]) -> dict[str, int | None]:
        """Line numbers of those of ``ids`` that the index holds."""
        return dict(self._by_id(ids, "id, line"))

    def _by_id(self, ids: Sequence[str], columns: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        with self._reading() as connection:
            for start in range(0, len(ids), _AT_A_TIME):
                some = ids[start : start + _AT_A_TIME]
                found += connection.execute(
                    f"SELECT {columns} FROM documents "  # noqa: S608 (names and question marks)
                    f"WHERE id IN ({','.join('?' * len(some))}) AND {self.visible}",
                    some,
                ).fetchall()
        return found

    def double_ids(self) -> list[str]:
        """Ids that two documents have at once; empty in a sound index."""
        with self._reading() as connection:
            return [
                row[0]
                for row in connection.execute(
                    f"SELECT id FROM documents WHERE {self.visible} "  # noqa: S608 (numbers)
                    "GROUP BY id HAVING count(*) > 1 LIMIT 1"
                )
            ]

    def ends(self) -> tuple[int | None, int | None]:
        """The lowest and the highest position that was ever given and is in the catalog."""
        with self._reading() as connection:
            first = connection.execute("SELECT min(position) FROM documents").fetchone()[0]
            return first, connection.execute("SELECT max(position) FROM documents").fetchone()[0]

    def past(self) -> int:
        """How many documents and versions of metadata are kept for those who read an earlier commit."""
        if self.version < 3:
            return 0
        with self.view(), self._reading() as connection:
            told = self.read_settings(only=("commit", "documents", "positions"))[0]
            documents, positions = told.get("documents"), told.get("positions")

            def counted(query: str, *values: int) -> int:
                query = f"SELECT count(*) FROM {query}"  # noqa: S608 (ours)
                return int(connection.execute(query, values).fetchone()[0])

            if (
                told.get("commit") == self.commit
                and isinstance(documents, int)
                and isinstance(positions, int)
            ):
                # By an index: to look at "went" reads every text, and holds up a commit meanwhile.
                coming = counted("documents WHERE position >= ?", positions)
                gone = counted("documents") - coming - documents
            else:
                gone = counted("documents WHERE went <= ?", self.commit)
            return gone + counted("earlier WHERE until <= ?", self.commit)

    def unfinished(self) -> tuple[str, int] | None:
        """What kind of change is under way or was interrupted, and how many records of it are kept."""
        with self.view(), self._reading() as connection:
            underway = self.read_settings()[0].get("underway")
            if not isinstance(underway, dict):
                return None
            kept = "SELECT coalesce(sum(records), 0) FROM chunks"
            records = int(connection.execute(kept).fetchone()[0])
        purpose = underway.get("purpose")
        what = purpose.get("what") if isinstance(purpose, dict) else None
        return (what if isinstance(what, str) else "change"), records

    # Checksums of documents

    def documents_digest(self, first: int, rows: int) -> str:
        """XXH3 (128 bits) of the documents from ``first`` on, as formats before 3 have it."""
        digest = xxhash.xxh3_128()
        with self._reading() as connection:
            for row in connection.execute(
                "SELECT position, id, title, text, metadata, line FROM documents "
                "WHERE position >= ? AND position < ? ORDER BY position",
                (first, first + rows),
            ):
                digest.update(as_json(row))
        return digest.hexdigest()

    def unreadable_rows(self) -> Iterator[str]:
        """Which documents are none, in formats before 3."""
        with self._reading() as connection:
            for row in connection.execute(
                "SELECT position, id, title, text, metadata FROM documents"
            ):
                if decoded_document(*row) is None:
                    yield f"the document at position {row[0]} is not one"

    def damaged_rows(self) -> Iterator[str]:
        """What is wrong with single rows of ``documents``, ``earlier`` and ``tail``, from format 3 on."""
        newest = self.commit + (self.unfinished() is not None)  # commits that rows may tell of
        with self._reading() as connection:
            for row in connection.execute(
                "SELECT position, id, title, text, metadata, line, came, xxh3 FROM documents"
            ):
                if row_checksum(row[:-1]) != row[-1]:
                    yield f"the document at position {row[0]} is not what was written"
                elif decoded_document(*row[:5]) is None:
                    yield f"the document at position {row[0]} is not one"
            for number, vector, checksum in connection.execute("SELECT * FROM samples"):
                if sample_row(number, vector)[-1] != checksum:
                    yield f"sample query {number} is damaged"
            for row in connection.execute(
                "SELECT position, until, metadata, line, xxh3 FROM earlier"
            ):
                if (
                    row_checksum(row[:-1]) != row[-1]
                    or decoded_document(0, "", None, "", row[2]) is None
                    or not (type(row[1]) is int and FIRST_COMMIT < row[1] <= newest)
                ):
                    yield f"earlier metadata of the document at position {row[0]} is damaged"

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

    # Segments, their files and masks, and the tail

    def segments(self) -> list[SegmentEntry]:
        """The segments of the commit, in document order.

        They are read from the table, which the catalog's checksum is of, and not by an index of it (that is
        what the + is for), which may be damaged and lack some.
        """
        with self._reading() as connection:
            if self.version >= 3:
                return self._segments(connection)
            if self.version == 1:
                rows = connection.execute(
                    "SELECT id, first_position, rows, first_position, rows, documents_xxh3 "
                    "FROM segments ORDER BY +first_position"
                ).fetchall()
            else:
                rows = connection.execute(
                    "SELECT id, first_row, rows, first_document, documents, documents_xxh3 "
                    "FROM segments ORDER BY +first_row"
                ).fetchall()
        for row in rows:
            self._check_types("segments", row[:1], row[1:5])
        return [
            SegmentEntry(name, first_row, count, first, first + documents - 1, documents, digest)
            for name, first_row, count, first, documents, digest in rows
        ]

    def _segments(self, connection: sqlite3.Connection) -> list[SegmentEntry]:
        entries = []
        first_row = 0
        for name, first, last, documents, rows, came in connection.execute(
            "SELECT id, first_document, last_document, documents, rows, came FROM segments "
            "WHERE came <= ? ORDER BY +first_document",
            (self.commit,),
        ):
            self._check_types("segments", (name,), (first, last, documents, rows, came))
            entries.append(SegmentEntry(name, first_row, rows, first, last, documents, None, came))
            first_row += rows
        return entries

    def files(self, segment: str) -> dict[str, FileEntry]:
        """The files of ``segment``, by name."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT name, bytes, xxh3 FROM files WHERE segment = ? ORDER BY name", (segment,)
            ).fetchall()
        return {row[0]: FileEntry(*row) for row in rows}

    def masks(self) -> dict[str, MaskEntry]:
        """The masks of the segments that have one."""
        if self.version < 3:
            return {}
        with self._reading() as connection:
            rows = connection.execute("SELECT segment, rows, documents, bits FROM masks").fetchall()
        for segment, living, documents, _ in rows:
            self._check_types("masks", (segment,), (living, documents))
        return {row[0]: MaskEntry(*row[1:]) for row in rows}

    def tail(self) -> list[TailRow]:
        """The newest rows, in order.

        Raises:
            IndexFormatError: a row is damaged.
        """
        if self.version < 3:
            return []
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT row, position, first, last, vector, xxh3 FROM tail ORDER BY row"
            ).fetchall()
        tail = []
        for row in rows:
            number, position, first, last, vector, _ = row
            span = None if first is None and last is None else (first, last)
            self._check_types("tail", (), (number, position, *(span or ())))
            one = TailRow(number, position, span, vector)
            # NULL in the place of a value is damage too, of which there is no checksum.
            if not isinstance(one.vector, bytes) or one.values() != row:
                raise IndexFormatError(
                    f"{self.path} is damaged: row {number} of its tail is not what was written; "
                    f"{words().verify} tells more, {words().rebuild} builds the index again"
                )
            tail.append(one)
        return tail

    def _check_types(self, table: str, texts: Sequence[object], numbers: Sequence[object]) -> None:
        """Its columns have types; who writes into the file itself can get past them.

        Raises:
            IndexFormatError: a value is of another.
        """
        for values, kind, expected in ((texts, str, "a text"), (numbers, int, "a whole number")):
            wrong = next((one for one in values if type(one) is not kind), None)
            if wrong is not None or None in values:
                raise IndexFormatError(
                    f"{self.path} is damaged: its table {table} holds {str(wrong)[:40]!r} where {expected} "
                    f"should be; {words().verify} tells more, {words().rebuild} builds the index again"
                )

    def store_segment(
        self, connection: sqlite3.Connection, entry: SegmentEntry, files: Iterable[FileEntry]
    ) -> None:
        """Register a segment and its files, inside of a transaction."""
        connection.execute(
            "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?)",
            (
                entry.id,
                entry.first_document,
                entry.last_document,
                entry.documents,
                entry.rows,
                entry.came,
            ),
        )
        self.put_files(connection, entry.id, files)

    def put_files(
        self, connection: sqlite3.Connection, segment: str, files: Iterable[FileEntry]
    ) -> None:
        """Register files of a segment, inside of a transaction."""
        connection.executemany(
            "INSERT INTO files VALUES (?, ?, ?, ?)",
            [(segment, one.name, one.bytes, one.xxh3) for one in files],
        )

    def drop_files(
        self, connection: sqlite3.Connection, segment: str, names: Iterable[str]
    ) -> None:
        """Take files of a segment out, inside of a transaction; no error if it has none."""
        connection.executemany(
            "DELETE FROM files WHERE segment = ? AND name = ?", [(segment, one) for one in names]
        )

    def forget_segment(self, connection: sqlite3.Connection, segment: str) -> None:
        """Take a segment out, inside of a transaction. Its directory stays."""
        for table, column in (("files", "segment"), ("masks", "segment"), ("segments", "id")):
            connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (segment,))  # noqa: S608

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

    # Sample queries

    def samples(self, dimensions: int) -> NDArray[np.float32] | None:
        """(q, d) float32 queries that recall was measured with; ``None``: none, or they are damaged."""
        if self.version < 3:
            return None
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT number, vector, xxh3 FROM samples ORDER BY number"
            ).fetchall()
        if not rows or any(
            not isinstance(row[1], bytes)
            or len(row[1]) != 4 * dimensions
            or sample_row(*row[:2])[-1] != row[2]
            for row in rows
        ):
            return None
        data = np.frombuffer(b"".join(row[1] for row in rows), dtype="<f4")
        return data.reshape(len(rows), dimensions)

    def put_samples(self, queries: NDArray[np.float32] | None) -> None:
        """Store sample queries, replacing those there are."""
        with self.transaction() as connection:
            self.store_samples(connection, queries)

    def store_samples(
        self, connection: sqlite3.Connection, queries: NDArray[np.float32] | None
    ) -> None:
        """The same inside of a transaction."""
        connection.execute("DELETE FROM samples")
        if queries is not None:
            data = np.ascontiguousarray(queries, dtype="<f4")
            connection.executemany(
                "INSERT INTO samples VALUES (?, ?, ?)",
                [sample_row(number, one.tobytes()) for number, one in enumerate(data)],
            )

    # The whole

    def digest(self) -> str:
        """XXH3 (128 bits) of the schema and every table whose rows have no checksums, as hexadecimal.

        The setting that holds this digest is left out.
        """
        digest = xxhash.xxh3_128()
        with self._reading() as connection:
            for query in DIGESTED[self.version]:
                for row in connection.execute(query):
                    digest.update(as_json(row))
        return digest.hexdigest()

    def check_digest(self) -> None:
        """For whoever is about to make the checksum anew, which must not hide damage.

        Raises:
            IndexFormatError: settings or lists are not what was written.
        """
        if self.settings().get("catalog_xxh3") != self.digest():
            raise IndexFormatError(
                f"{self.path} is damaged: its settings and lists are not what was written; nothing was "
                f"changed: restore it from a copy, or build the index again with {words().rebuild}"
            )

    def check_document(self, position: int) -> None:
        """The same of a document.

        Raises:
            IndexFormatError: it is not what was written.
        """
        with self._reading() as connection:
            row = connection.execute(
                "SELECT position, id, title, text, metadata, line, came, xxh3 FROM documents "
                "WHERE position = ?",
                (position,),
            ).fetchone()
        if row is None or row_checksum(row[:-1]) != row[-1]:
            raise self._damaged_document(position)

    def structure_problems(self) -> list[str]:
        """What SQLite's own integrity check complains about; empty when sound.

        From SQLite 3.44 on it looks into FTS5's tables too, of which ``text_index_problems`` tells more.
        """
        try:
            with self._reading() as connection:
                rows = connection.execute("PRAGMA integrity_check(5)").fetchall()
        except IndexFormatError as error:
            return [str(error.__cause__ or error)]
        return [str(row[0]) for row in rows if row[0] != "ok" and "FTS5 table" not in str(row[0])]
