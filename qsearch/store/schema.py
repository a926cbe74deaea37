"""The tables of a catalog, as they are made and as they must be found.

A database may hold more than tables: a view or a trigger with the name of a table would be run by whoever
reads or writes it. So a catalog is read only if its schema is, word by word, one that qsearch makes.
"""

from __future__ import annotations

import re
import sqlite3

__all__ = ["DIGESTED", "SCHEMA", "foreign_object"]

SCHEMA = """
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

_FIRST_SEGMENTS = """CREATE TABLE segments (
    id TEXT PRIMARY KEY,
    first_position INTEGER NOT NULL UNIQUE,
    rows INTEGER NOT NULL,
    documents_xxh3 TEXT NOT NULL
) STRICT, WITHOUT ROWID"""

_FIRST_CHUNKS = """CREATE TABLE chunks (
    number INTEGER PRIMARY KEY,
    digest TEXT NOT NULL,
    records INTEGER NOT NULL,
    documents INTEGER NOT NULL,
    truncated INTEGER NOT NULL
) STRICT"""

DIGESTED = {
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


def foreign_object(connection: sqlite3.Connection, version: int) -> str | None:
    """What a schema holds that it should not, or lacks; ``None`` where it is as it should be."""
    missing = dict(_TABLES[version])
    for kind, name, table, sql in connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema"
    ):
        if kind == "index" and sql is None and table in _TABLES[version]:
            continue  # of a UNIQUE column
        if kind != "table" or not isinstance(sql, str) or missing.pop(name, None) != _plain(sql):
            return f"the {str(kind)[:20]} {str(name)[:40]!r}"
    return f"no table {min(missing)!r}" if missing else None


def _plain(sql: str) -> str:
    """A statement without comments, in single spaces."""
    return " ".join(re.sub(r"--[^\n]*", "", sql).split())


def _tables(*statements: str) -> dict[str, str]:
    plain = [_plain(statement) for statement in statements]
    return {statement.split()[2]: statement for statement in plain if statement}


_TABLES = {2: _tables(*SCHEMA.split(";"))}
_TABLES[1] = {**_TABLES[2], **_tables(_FIRST_SEGMENTS, _FIRST_CHUNKS)}
"""The statements that make the tables, by format version and name."""
