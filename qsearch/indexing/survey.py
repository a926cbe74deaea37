"""The first pass over a corpus: its size, and its errors before anything slow is done."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable

from qsearch.documents import Corpus, Document, RejectedRecord, Role
from qsearch.errors import CorpusError, IndexWriteError
from qsearch.indexing.chunks import duplicate_record, invalid_record
from qsearch.wording import words

__all__ = ["check_fields", "survey"]

_STEP = 1024

_logger = logging.getLogger(__name__)


def survey(corpus: Corpus, advance: Callable[[int], None], *, skip_invalid: bool) -> int:
    """Read the whole corpus, and return its number of records.

    Ids are kept in a database of its own that SQLite moves to a temporary file as it grows, so
    that memory does not grow with the corpus.

    Args:
        corpus: one that can be read again.
        advance: told how many records were just read.
        skip_invalid: do not look for what is wrong.

    Raises:
        CorpusError: a record is invalid, or an id is used twice; the one that comes first. Or no record
            has a field that was named.
        IndexWriteError: there is no room for the temporary file.
    """
    count = _count(corpus, advance) if skip_invalid else _check(corpus, advance)
    check_fields(corpus)
    return count


def check_fields(corpus: Corpus, *, again: bool = False) -> None:
    """Hold the fields that a corpus, read to its end, turned out to have against those that were named.

    Says that documents are numbered where a field could hold their ids, but not ``again``.

    Raises:
        CorpusError: no record has a field that was named.
    """
    found = corpus.found
    if found.missing and found.seen:
        raise _missing_fields(corpus)
    if found.id_like and not again:
        _logger.warning(
            "%s: no record has an id, so %s numbers are used; %s could hold ids: name it with %s",
            corpus.name,
            found.numbered_by,
            " or ".join(map(repr, found.id_like[:4])),
            words().id_field,
        )


def _missing_fields(corpus: Corpus) -> CorpusError:
    found = corpus.found
    options: dict[Role, str] = {
        "id": words().id_field,
        "text": words().text_field,
        "title": words().title_field,
        "metadata": words().metadata_field,
    }
    named = " or ".join(f"{name!r} ({options[role]})" for role, name in found.missing)
    seen = ", ".join(map(repr, found.seen))
    return CorpusError(f"no record has a field {named}; there are {seen}", path=corpus.name)


def _count(corpus: Corpus, advance: Callable[[int], None]) -> int:
    count = 0
    for count, _ in enumerate(corpus, 1):
        if not count % _STEP:
            advance(_STEP)
    advance(count % _STEP)
    return count


def _check(corpus: Corpus, advance: Callable[[int], None]) -> int:
    count = 0
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
