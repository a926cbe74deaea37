"""The first pass over a corpus: its size, and its errors before anything slow is done."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from qsearch.documents import Corpus, Document, Embeddings, RejectedRecord
from qsearch.errors import CorpusError, IndexWriteError
from qsearch.indexing.making import duplicate_record, invalid_record

__all__ = ["check_numbers", "check_same_number", "survey"]

_STEP = 1024


def survey(
    corpus: Corpus,
    advance: Callable[[int], None],
    *,
    skip_invalid: bool,
    check: Callable[[list[Document]], None] = lambda documents: None,
) -> int:
    """Read the whole corpus, and return its number of records.

    Ids are kept in a database of its own that SQLite moves to a temporary file as it grows, so
    that memory does not grow with the corpus.

    Args:
        corpus: one that can be read again.
        advance: told how many records were just read.
        skip_invalid: do not look for what is wrong.
        check: is given the documents, some at a time, and raises where something is wrong with one.

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
        some: list[Document] = []
        for count, record in enumerate(corpus, 1):
            if isinstance(record, RejectedRecord):
                raise invalid_record(record, corpus.name, line=record.line)
            _add(ids, record, corpus.name)
            some.append(record)
            if not count % _STEP:
                check(some)
                some.clear()
                advance(_STEP)
        check(some)
        advance(count % _STEP)
    except sqlite3.OperationalError as error:
        raise IndexWriteError(
            f"no room to keep the ids of {corpus.name} in a temporary file ({error}); set "
            "SQLITE_TMPDIR to a directory with room"
        ) from error
    finally:
        ids.close()
    return count


def check_numbers(records: int, embeddings: Embeddings, corpus: str) -> None:
    """Check that there is one given embedding for each record.

    Raises:
        CorpusError: there is not.
    """
    if records != embeddings.rows:
        raise CorpusError(
            f"has {records:,} records, {embeddings.name} has {embeddings.rows:,} rows; there must be "
            "one row for each record",
            path=corpus,
        )


def check_same_number(before: int | None, now: int, corpus: str) -> None:
    """Check that a corpus has as many records as before; ``None``: they could be read only once.

    Raises:
        CorpusError: it has not; who goes on would take half of a file for all of it.
    """
    if before is not None and before != now:
        raise CorpusError(
            f"had {before:,} records at first, and {now:,} when they were read again: something is writing "
            "it; run the same command again when that is done",
            path=corpus,
        )


def _add(ids: sqlite3.Connection, document: Document, corpus: str) -> None:
    added = ids.execute("INSERT OR IGNORE INTO ids VALUES (?, ?)", (document.id, document.line))
    if not added.rowcount:
        (line,) = ids.execute("SELECT line FROM ids WHERE id = ?", (document.id,)).fetchone()
        record = duplicate_record(document, line)
        raise invalid_record(record, corpus, line=record.line)
