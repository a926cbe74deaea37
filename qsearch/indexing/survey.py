"""The first pass over a corpus: its size, and its errors before anything slow is done."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from qsearch.documents import Corpus, Document, RejectedRecord
from qsearch.errors import IndexWriteError
from qsearch.indexing.chunks import duplicate_record, invalid_record

__all__ = ["survey"]

_STEP = 1024


def survey(corpus: Corpus, advance: Callable[[int], None], *, skip_invalid: bool) -> int:
    """Read the whole corpus, and return its number of records.

    Ids are kept in a database of its own that SQLite moves to a temporary file as it grows, so
    that memory does not grow with the corpus.

    Args:
        corpus: one that can be read again.
        advance: told how many records were just read.
        skip_invalid: do not look for what is wrong.

    Raises:
        CorpusError: a record is invalid, or an id is used twice; the one that comes first.
        IndexWriteError: there is no room for the temporary file.
    """
    count = 0
    if skip_invalid:
        for count, _ in enumerate(corpus, 1):
            if not count % _STEP:
                advance(_STEP)
        advance(count % _STEP)
        return count
    ids = sqlite3.connect("", isolation_level=None)
    try:
        ids.execute("PRAGMA journal_mode = OFF")
        ids.execute("CREATE TABLE ids (id TEXT PRIMARY KEY, line INTEGER) WITHOUT ROWID")
        ids.execute("BEGIN")
        for count, record in enumerate(corpus, 1):
            if isinstance(record, RejectedRecord):
                raise invalid_record(record, corpus.name)
            _add(ids, record, corpus.name)
            if not count % _STEP:
                advance(_STEP)
        advance(count % _STEP)
    except sqlite3.OperationalError as error:
        raise IndexWriteError(
            f"no room to keep the ids of {corpus.name} in a temporary file ({error}); set "
            "SQLITE_TMPDIR to a directory with room"
        ) from error
    finally:
        ids.close()
    return count


def _add(ids: sqlite3.Connection, document: Document, corpus: str) -> None:
    added = ids.execute("INSERT OR IGNORE INTO ids VALUES (?, ?)", (document.id, document.line))
    if not added.rowcount:
        (line,) = ids.execute("SELECT line FROM ids WHERE id = ?", (document.id,)).fetchone()
        raise invalid_record(duplicate_record(document, line), corpus)
