"""The tables of a catalog, as they are made and as they must be found.

A database may hold more than tables: a view or a trigger with the name of a table would be run by whoever
reads or writes it. So a catalog is read only if its schema is, word by word, one that qsearch makes.
"""

from __future__ import annotations

import re
import sqlite3

__all__ = [
    "DIGESTED",
    "SCHEMA",
    "TEXT_INDEX",
    "TOKENIZERS",
    "TRIGRAM",
    "foreign_object",
    "text_index_statement",
    "tokenizer_of",
]

TEXT_INDEX = "text_index"
"""The table of FTS5, where there is one; FTS5's own tables have names that begin with it."""

TRIGRAM = "trigram"
TOKENIZERS = ("porter unicode61 remove_diacritics 2", "unicode61 remove_diacritics 2", TRIGRAM)
"""As FTS5 spells them; there are no others."""

SCHEMA = """
CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL                 -- JSON
) STRICT, WITHOUT ROWID;
CREATE TABLE documents (
    position INTEGER PRIMARY KEY,       -- document order, from 0, with gaps where documents are gone
    id TEXT NOT NULL,
    title TEXT,
    text TEXT NOT NULL,
    metadata TEXT,                      -- a JSON object, NULL for {}
    line INTEGER,                       -- where it stood in the corpus, from 1
    came INTEGER NOT NULL,              -- it is there from this commit on,
    went INTEGER,                       -- and not any more from this one on
    xxh3 INTEGER NOT NULL,              -- of all columns but the last two
    UNIQUE (id, came)
) STRICT;
CREATE TABLE earlier (                  -- metadata that a later commit replaced
    position INTEGER NOT NULL,
    until INTEGER NOT NULL,             -- the commit that replaced it
    metadata TEXT,
    line INTEGER,
    xxh3 INTEGER NOT NULL,
    PRIMARY KEY (position, until)
) STRICT, WITHOUT ROWID;
CREATE TABLE segments (
    id TEXT PRIMARY KEY,                -- the directory's name
    first_document INTEGER NOT NULL UNIQUE, -- position of its first document
    last_document INTEGER NOT NULL,     -- position of its last document
    documents INTEGER NOT NULL,         -- as many as rows, where they are not split into passages
    rows INTEGER NOT NULL,
    came INTEGER NOT NULL               -- it is there from this commit on
) STRICT, WITHOUT ROWID;
CREATE TABLE files (
    segment TEXT NOT NULL REFERENCES segments (id),
    name TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    xxh3 TEXT NOT NULL,                 -- XXH3, 128 bits, of the whole file
    PRIMARY KEY (segment, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE masks (                    -- of segments with rows whose documents are gone
    segment TEXT PRIMARY KEY REFERENCES segments (id),
    rows INTEGER NOT NULL,              -- that are not
    documents INTEGER NOT NULL,         -- of these rows
    bits BLOB NOT NULL                  -- bit r mod 8 of byte r / 8 is set where row r lives
) STRICT, WITHOUT ROWID;
CREATE TABLE tail (                     -- the newest rows, which are in no segment yet
    row INTEGER PRIMARY KEY,
    position INTEGER NOT NULL,          -- of its document
    first INTEGER,                      -- where its passage begins, in characters of the text
    last INTEGER,                       -- and ends
    vector BLOB NOT NULL,               -- unit row, little-endian float32
    xxh3 INTEGER NOT NULL               -- of all columns before
) STRICT;
CREATE TABLE canaries (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    text TEXT NOT NULL,
    document BLOB NOT NULL,             -- unit row, little-endian float32
    query BLOB NOT NULL
) STRICT;
CREATE TABLE samples (                  -- queries that recall was measured with, where some were given
    number INTEGER PRIMARY KEY,
    vector BLOB NOT NULL,               -- little-endian float32
    xxh3 INTEGER NOT NULL               -- of both
) STRICT;
CREATE TABLE chunks (                   -- the steps of a build or change: what need not be done again
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
CREATE TABLE fields (                   -- of the metadata of the newest commit
    name TEXT NOT NULL,                 -- as conditions spell it
    kind TEXT NOT NULL,
    documents INTEGER NOT NULL,         -- that have a value of this kind
    PRIMARY KEY (name, kind)
) STRICT, WITHOUT ROWID;
CREATE TABLE indexed (                  -- fields on which conditions are fast
    field TEXT PRIMARY KEY,             -- as conditions spell it
    path TEXT NOT NULL,                 -- its names, from the outermost object on: a JSON list
    codes INTEGER NOT NULL              -- so many were given to distinct values
) STRICT, WITHOUT ROWID;
CREATE TABLE field_values (             -- distinct values of these that are no numbers
    field TEXT NOT NULL REFERENCES indexed (field),
    code INTEGER NOT NULL,              -- from 0
    kind INTEGER NOT NULL,              -- see docs/format.md
    value ANY NOT NULL,                 -- a text, a list or object as JSON, or a large whole number
    xxh3 INTEGER NOT NULL,              -- of all columns before
    PRIMARY KEY (field, code),
    UNIQUE (field, kind, value)
) STRICT;
CREATE TABLE field_blocks (             -- their values at the newest commit
    field TEXT NOT NULL REFERENCES indexed (field),
    block INTEGER NOT NULL,             -- of positions from 1024 times this one on
    kinds BLOB NOT NULL,                -- a byte for each position
    vals BLOB NOT NULL,                 -- little-endian float64: a number, or the code of a distinct value
    xxh3 INTEGER NOT NULL,              -- of all columns before
    PRIMARY KEY (field, block)
) STRICT;
"""

_SECOND_DOCUMENTS = """CREATE TABLE documents (
    position INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    title TEXT,
    text TEXT NOT NULL,
    metadata TEXT,
    line INTEGER
) STRICT"""

_SECOND_SEGMENTS = """CREATE TABLE segments (
    id TEXT PRIMARY KEY,
    first_row INTEGER NOT NULL UNIQUE,
    rows INTEGER NOT NULL,
    first_document INTEGER NOT NULL UNIQUE,
    documents INTEGER NOT NULL,
    documents_xxh3 TEXT NOT NULL
) STRICT, WITHOUT ROWID"""

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

_COMMON = (
    "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name",
    "SELECT key, value FROM settings WHERE key <> 'catalog_xxh3' ORDER BY key",
)
_LISTS = (
    "SELECT segment, name, bytes, xxh3 FROM files ORDER BY segment, name",
    "SELECT number, name, text, hex(document), hex(query) FROM canaries ORDER BY number",
)
_COMMITTED_SEGMENTS = """SELECT id, first_document, last_document, documents, rows, came FROM segments
WHERE came <= (SELECT CAST(value AS INTEGER) FROM settings WHERE key = 'commit') ORDER BY id"""
_COMMITTED_FILES = """SELECT segment, name, bytes, xxh3 FROM files JOIN segments ON segment = id
WHERE came <= (SELECT CAST(value AS INTEGER) FROM settings WHERE key = 'commit') ORDER BY segment, name"""
_CHUNKS_OF_A_BUILD = """SELECT number, digest, records, documents, rows, truncated FROM chunks
WHERE NOT EXISTS (SELECT 1 FROM settings WHERE key = 'underway') ORDER BY number"""
_REJECTS_OF_A_BUILD = """SELECT chunk, line, reason, hex(raw) FROM rejects
WHERE NOT EXISTS (SELECT 1 FROM settings WHERE key = 'underway') ORDER BY rowid"""
_REJECTS = "SELECT chunk, line, reason, hex(raw) FROM rejects ORDER BY rowid"

DIGESTED = {
    1: (
        *_COMMON,
        "SELECT id, first_position, rows, documents_xxh3 FROM segments ORDER BY id",
        *_LISTS,
        "SELECT number, digest, records, documents, truncated FROM chunks ORDER BY number",
        _REJECTS,
    ),
    2: (
        *_COMMON,
        "SELECT id, first_row, rows, first_document, documents, documents_xxh3 FROM segments ORDER BY id",
        *_LISTS,
        "SELECT number, digest, records, documents, rows, truncated FROM chunks ORDER BY number",
        _REJECTS,
    ),
    3: (
        _COMMON[0],
        "SELECT key, value FROM settings WHERE key NOT IN ('catalog_xxh3', 'underway') ORDER BY key",
        _COMMITTED_SEGMENTS,
        _COMMITTED_FILES,
        _LISTS[1],
        "SELECT segment, rows, documents, hex(bits) FROM masks ORDER BY segment",
        "SELECT row, position, xxh3 FROM tail ORDER BY row",
        _CHUNKS_OF_A_BUILD,
        _REJECTS_OF_A_BUILD,
    ),
}
DIGESTED[4] = (
    *DIGESTED[3],
    "SELECT name, kind, documents FROM fields ORDER BY name, kind",
    "SELECT field, path, codes FROM indexed ORDER BY field",
)
"""What the catalog's checksum is made of, by format version. What a change under way has stored is not."""


def text_index_statement(tokenizer: str, schema: str = "") -> str:
    """The statement that makes the text index.

    Args:
        tokenizer: one of ``TOKENIZERS``.
        schema: of the table, with a dot; nothing for the catalog's own.
    """
    return (
        f"CREATE VIRTUAL TABLE {schema}{TEXT_INDEX} USING fts5(title, text, content='documents', "
        f"content_rowid='position', tokenize='{tokenizer}')"
    )


def tokenizer_of(connection: sqlite3.Connection) -> str | None:
    """The tokenizer of the text index; ``None``: there is none that qsearch makes."""
    row = connection.execute(
        "SELECT sql FROM main.sqlite_schema WHERE name = ?", (TEXT_INDEX,)
    ).fetchone()
    return None if row is None else _OF_FTS5[TEXT_INDEX].get(_plain(str(row[0])))


def foreign_object(connection: sqlite3.Connection, version: int) -> str | None:
    """What a schema holds that it should not, or lacks; ``None`` where it is as it should be."""
    missing = dict(_TABLES[version])
    lacking = dict(_OF_FTS5) if version >= 4 else {}
    some = False
    for kind, name, table, sql in connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema"
    ):
        if kind == "index" and sql is None and table in _TABLES[version]:
            continue  # of a UNIQUE column
        plain = _plain(sql) if kind == "table" and isinstance(sql, str) else ""
        if plain in lacking.get(name, ()):
            some = True
            del lacking[name]
        elif not plain or missing.pop(name, None) != plain:
            return f"the {str(kind)[:20]} {str(name)[:40]!r}"
    if some and lacking:
        return f"no table {min(lacking)!r}"
    return f"no table {min(missing)!r}" if missing else None


def _plain(sql: str) -> str:
    """A statement without comments, in single spaces."""
    return " ".join(re.sub(r"--[^\n]*", "", sql).split())


def _tables(*statements: str) -> dict[str, str]:
    plain = [_plain(statement) for statement in statements]
    return {statement.split()[2]: statement for statement in plain if statement}


_TABLES = {4: _tables(*SCHEMA.split(";"))}
_TABLES[3] = {
    name: sql
    for name, sql in _TABLES[4].items()
    if name not in ("fields", "indexed", "field_values", "field_blocks")
}
_TABLES[2] = {
    name: sql
    for name, sql in {**_TABLES[3], **_tables(_SECOND_DOCUMENTS, _SECOND_SEGMENTS)}.items()
    if name not in ("earlier", "masks", "tail", "samples")
}
_TABLES[1] = {**_TABLES[2], **_tables(_FIRST_SEGMENTS, _FIRST_CHUNKS)}
"""The statements that make the tables, by format version and name."""

_OF_FTS5 = {
    TEXT_INDEX: {_plain(text_index_statement(one)): one for one in TOKENIZERS},
    **{
        f"{TEXT_INDEX}_{name}": {f"CREATE TABLE '{TEXT_INDEX}_{name}'({columns}": name}
        for name, columns in {
            "data": "id INTEGER PRIMARY KEY, block BLOB)",
            "idx": "segid, term, pgno, PRIMARY KEY(segid, term)) WITHOUT ROWID",
            "docsize": "id INTEGER PRIMARY KEY, sz BLOB)",
            "config": "k PRIMARY KEY, v) WITHOUT ROWID",
        }.items()
    },
}
"""The statements that may have made the text index and FTS5's own tables, by name: all of them, or none."""
