"""Writing a catalog anew: to bring an index to the present format, and to drop what is past."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from qsearch.errors import IndexFormatError
from qsearch.store.catalog import Catalog
from qsearch.store.columns import indexed_paths, store_column
from qsearch.store.fields import recount
from qsearch.store.format import (
    CATALOG,
    CHANGES_VERSION,
    FIELDS_VERSION,
    FORMAT_VERSION,
    NEW_CATALOG,
)
from qsearch.store.opening import checked_dimensions, checked_entries
from qsearch.store.publish import sync_directory, sync_file
from qsearch.store.rows import FIRST_COMMIT, document_row, row_checksum
from qsearch.store.schema import TEXT_INDEX
from qsearch.store.staging import writing
from qsearch.store.text_index import TextIndexSpec, make_text_index
from qsearch.wording import words

__all__ = ["not_told", "put_in_place", "upgrade", "write_catalog"]

_STEP = 2000

_LEFT_OUT = ("underway", "catalog_xxh3", "replaces")
"""Settings that are of the old catalog alone."""


def not_told(count: int) -> None:
    """Stand in for whoever is told how much was done, where nobody is."""


def upgrade(index: Path, advance: Callable[[int], None] = not_told) -> None:
    """Bring an index of an earlier format to the present one, in one step. The writer's lock is held.

    The segments stay as they are.

    Args:
        index: the directory.
        advance: told how many documents were just written.

    Raises:
        IndexFormatError: it is damaged; it stays as it is.
        IndexWriteError: the file system refuses.
    """
    catalog = Catalog.open(index)
    try:
        if catalog.version == FORMAT_VERSION:
            return
        settings = catalog.settings()
        checked_dimensions(settings, catalog)
        # A checksum that is made anew must not hide damage.
        of_segments = () if catalog.version >= CHANGES_VERSION else checked_entries(catalog)
        for entry, _ in of_segments:
            found = catalog.documents_digest(entry.first_document, entry.documents)
            if found != entry.documents_xxh3:
                raise IndexFormatError(
                    f"{catalog.path} is damaged: documents {entry.first_document:,} to "
                    f"{entry.last_document:,} are not what was written; restore it from a copy, or build "
                    f"the index again with {words().rebuild}"
                )
        catalog.check_digest()
        write_catalog(index, catalog, advance=advance)
    finally:
        catalog.close()
    put_in_place(index)


def write_catalog(
    index: Path,
    catalog: Catalog,
    text: TextIndexSpec | Literal["as before"] | None = "as before",
    advance: Callable[[int], None] = not_told,
) -> None:
    """Write what ``catalog`` holds at its commit, and nothing of before, as ``catalog.sqlite.new``.

    Args:
        index: the directory.
        catalog: that is copied.
        text: the text index that the new one is to have; ``None``: none.
        advance: told how many documents were just written.

    Raises:
        IndexFormatError: a document is damaged.
        IndexWriteError: the file system refuses.
    """
    with writing(index):
        new = Catalog.create_beside(index)
        try:
            with new.transaction() as connection:
                _copy(catalog, new, connection, text, advance)
        except sqlite3.IntegrityError as error:  # a value that the new one's tables do not take
            raise IndexFormatError(
                f"{catalog.path} is damaged ({error}); nothing was changed: restore it from a copy, or "
                f"build the index again with {words().rebuild}"
            ) from error
        finally:
            new.close()
        descriptor = os.open(index / NEW_CATALOG, os.O_RDWR)
        try:
            sync_file(descriptor)
        finally:
            os.close(descriptor)


def put_in_place(index: Path) -> None:
    """Have the new catalog take the place of the old one. Who has that open goes on reading it.

    The old one is as it was committed. A journal beside it says nothing then, and must not be taken for one
    of the new catalog: SQLite leaves one where it could not read it to roll back.
    """
    with writing(index):
        (index / (CATALOG + "-journal")).unlink(missing_ok=True)
        os.replace(index / NEW_CATALOG, index / CATALOG)
        sync_directory(index)


def _copy(
    catalog: Catalog,
    new: Catalog,
    connection: sqlite3.Connection,
    text: TextIndexSpec | Literal["as before"] | None,
    advance: Callable[[int], None],
) -> None:
    settings, damaged = catalog.read_settings()
    if damaged:
        raise IndexFormatError(f"{catalog.path} holds a damaged setting ({', '.join(damaged)})")
    for name in _LEFT_OUT:
        settings.pop(name, None)
    if catalog.version < CHANGES_VERSION:
        documents = settings.get("documents")
        settings |= {
            "commit": FIRST_COMMIT,
            "positions": documents,
            "measured": {
                "segments": [one.id for one in catalog.segments()],
                "rows": settings.get("rows") or documents,
                "commit": FIRST_COMMIT,
            },
            "rows": settings.get("rows") or documents,
        }
    tokenizer = catalog.tokenizer
    if text != "as before":
        tokenizer = None if text is None else text.tokenizer
        settings[TEXT_INDEX] = None if text is None else text.to_json()
    new.store_settings(connection, settings)
    for rows in _documents(catalog):
        connection.executemany("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        advance(len(rows))
    for entry in catalog.segments():
        new.store_segment(connection, entry, catalog.files(entry.id).values())
    for segment, mask in catalog.masks().items():
        connection.execute(
            "INSERT INTO masks VALUES (?, ?, ?, ?)", (segment, mask.rows, mask.documents, mask.bits)
        )
    connection.executemany(
        "INSERT INTO tail VALUES (?, ?, ?, ?, ?, ?)", [row.values() for row in catalog.tail()]
    )
    connection.executemany(
        "INSERT INTO canaries VALUES (?, ?, ?, ?, ?)",
        [(number, *canary) for number, canary in enumerate(catalog.canaries())],
    )
    if catalog.version >= CHANGES_VERSION:
        with catalog.reading() as reader:
            connection.executemany(
                "INSERT INTO samples VALUES (?, ?, ?)", reader.execute("SELECT * FROM samples")
            )
    recount(connection)
    if catalog.version >= FIELDS_VERSION:
        with catalog.reading() as reader:
            paths = indexed_paths(reader)
        for path in paths:
            store_column(connection, path)
    if tokenizer is not None:
        make_text_index(connection, tokenizer)
    new.store_settings(connection, {"catalog_xxh3": new.digest()})


def _documents(catalog: Catalog) -> Iterator[list[tuple[Any, ...]]]:
    """Rows of the new table, of documents that are there, some at a time."""
    last = -1
    while some := catalog.document_rows(last, _STEP):
        last = some[-1][0]
        if catalog.version < CHANGES_VERSION:
            yield [
                document_row(position, name, title, text, metadata, line, FIRST_COMMIT)
                for position, name, title, text, metadata, line in some
            ]
            continue
        for row in some:
            if row_checksum(row[:-1]) != row[-1]:
                raise IndexFormatError(
                    f"{catalog.path} is damaged: the document at position {row[0]} is not what was "
                    "written; nothing was changed: restore it from a copy, or build the index again with "
                    f"{words().rebuild}"
                )
        yield [(*row[:-1], None, row[-1]) for row in some]
