"""Query files: a JSON object a line, as in BEIR, or a text a line."""

from __future__ import annotations

import json
from collections.abc import Iterator

from qsearch.documents.compression import without_suffix
from qsearch.documents.lines import ByteSource
from qsearch.errors import QueryError

__all__ = ["read_queries", "read_query_lines", "read_query_texts"]


def read_queries(path: str) -> Iterator[tuple[str, str]]:
    """(id, text) of every line ``{"_id": …, "text": …}``; line numbers where none has an id.

    Args:
        path: of a file, also a compressed one, or ``-``.

    Raises:
        QueryError: a line is no such object, an id stands twice, or some have one and others not.
        CorpusError: the file cannot be read.
    """
    seen: dict[str, str] = {}
    have_ids: bool | None = None
    for where, number, line in _lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise QueryError(f"{where}: is not valid JSON ({error})") from error
        text = record.get("text") if isinstance(record, dict) else None
        if not isinstance(text, str):
            raise QueryError(f'{where}: must be an object with a "text"')
        given = record.get("_id", record.get("id"))
        if have_ids is not None and have_ids != (given is not None):
            raise QueryError(
                f"{where}: has {'no' if have_ids else 'an'} id, though earlier queries have "
                f'{"one" if have_ids else "none"}; give all an "_id", or none'
            )
        have_ids = given is not None
        name = str(number if given is None else given)
        if name in seen:
            raise QueryError(f"{where}: has the id {name!r}, which {seen[name]} has already")
        seen[name] = where
        yield name, text


def read_query_lines(path: str) -> Iterator[tuple[str, str]]:
    """(line number, text) of every line that is not blank.

    Args:
        path: of a file, also a compressed one, or ``-``.

    Raises:
        QueryError: a line is not UTF-8.
        CorpusError: the file cannot be read.
    """
    return ((str(number), line) for _, number, line in _lines(path) if line.strip())


def read_query_texts(path: str) -> list[str]:
    """The texts of a query file, which is a text a line if its name ends so (``.txt``, ``.txt.gz``).

    Args:
        path: see ``read_queries``.

    Raises:
        QueryError, CorpusError: see ``read_queries``.
    """
    name = without_suffix(path).lower()
    read = read_query_lines if name.endswith((".txt", ".text")) else read_queries
    return [text for _, text in read(path)]


def _lines(path: str) -> Iterator[tuple[str, int, str]]:
    with ByteSource(path) as source:
        for number, line, too_long in source.lines():
            where = f"standard input, line {number}" if path == "-" else f"{path}:{number}"
            if too_long:
                raise QueryError(f"{where}: is longer than any query")
            try:
                yield where, number, line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise QueryError(f"{where}: is not UTF-8 (at byte {error.start + 1})") from error
