"""Query files: JSON Lines as in BEIR, a table of ids and texts as in MS MARCO, or a text a line.

Also the queries of a dataset.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

from qsearch.documents.compression import without_suffix
from qsearch.documents.datasets import dataset_queries, is_dataset
from qsearch.documents.delimiter import only_delimiter, said_delimiter, sniffed_delimiter
from qsearch.documents.document import content, surrogate_in
from qsearch.documents.foreign import refuse_name
from qsearch.documents.json_values import read_values
from qsearch.documents.lines import TextLine, text_lines
from qsearch.errors import CorpusError, QueryError

__all__ = [
    "check_text",
    "checked_ids",
    "read_encoded_texts",
    "read_queries",
    "read_query_lines",
    "read_query_texts",
]

_WHAT = "query"

_IDS = ("_id", "id", "query_id", "query-id", "queryid", "qid")
_TEXTS = ("text", "query", "question")
"""Names of fields, the first that is there counts."""


class _Given(NamedTuple):
    """What stands in a file: a query, and its id and title if it has some."""

    where: str
    number: int
    name: str | None
    text: str
    title: str | None = None


def check_text(which: str, text: str) -> None:
    """Whether a text can be searched for.

    Args:
        which: query it is, for the message.
        text: the text.

    Raises:
        QueryError: it is empty, or no Unicode text.
    """
    if not text.strip():
        raise QueryError(f"{which} is empty")
    place = surrogate_in(text)
    if place is not None:
        raise QueryError(
            f"{which} is not valid Unicode text: the character at {place} is half of a surrogate pair"
        )


def read_queries(path: str) -> Iterator[tuple[str, str]]:
    """(id, text) of every query; line numbers where none has an id.

    The format is told by the name, and by the first line where the name says nothing: JSON Lines
    (``.jsonl``, ``.json``, ``.ndjson``: ``{"_id": …, "text": …}``; also a JSON array, or objects spread
    over lines), a table (``.tsv``, ``.csv``: id and text, with or without a header), or a query a line
    (``.txt``).

    Args:
        path: of a file, also a compressed one, of a folder with a ``queries.jsonl``, or ``-``; or
            ``irds:NAME`` for a dataset of ir_datasets.

    Raises:
        QueryError: a line is not what it should be, an id stands twice, or some have one and others not.
        CorpusError: the file cannot be read.
    """
    return ((name, query.text) for name, query in _named(path))


def _named(path: str) -> Iterator[tuple[str, _Given]]:
    seen: dict[str, str] = {}
    have_ids: bool | None = None
    for query in _given(path):
        where, number, given, *_ = query
        if have_ids is not None and have_ids != (given is not None):
            raise QueryError(
                f"{where}: has {'no' if have_ids else 'an'} id, though earlier queries have "
                f'{"one" if have_ids else "none"}; give all an "_id", or none'
            )
        have_ids = given is not None
        name = str(number) if given is None else given
        if name in seen:
            raise QueryError(f"{where}: has the id {name!r}, which {seen[name]} has already")
        seen[name] = where
        yield name, query


def read_query_lines(path: str) -> Iterator[tuple[str, str]]:
    """(line number, text) of every line that is not blank.

    Args:
        path: of a file, also a compressed one, or ``-``.

    Raises:
        QueryError: a line is not UTF-8.
        CorpusError: the file cannot be read.
    """
    return ((str(number), line) for _, number, line in text_lines(path, _WHAT) if line.strip())


def read_query_texts(path: str) -> list[str]:
    """The texts of a query file.

    Args:
        path: see ``read_queries``.

    Raises:
        QueryError, CorpusError: see ``read_queries``.
    """
    return [text for _, text in read_queries(path)]


def read_encoded_texts(path: str) -> list[str]:
    """The texts of a file as an index encodes them: with their titles, where records of JSON have some.

    Args:
        path: see ``read_queries``.

    Raises:
        QueryError, CorpusError: see ``read_queries``.
    """
    return [content(query.title, query.text) for _, query in _named(path)]


def _given(path: str) -> Iterator[_Given]:
    if is_dataset(path):
        for number, (name, text) in enumerate(dataset_queries(path), 1):
            yield _Given(f"{path}: query {number}", number, name, text)
        return
    if path != "-" and Path(path).is_dir():
        path = _queries_in(Path(path))
    kind = Path(without_suffix(path)).suffix.lower()
    refuse_name(path, kind)
    read = text_lines(path, _WHAT)
    lines = (line for line in read if line.text.strip())
    first = next(lines, None)
    if first is None:
        return
    every = chain([first], lines)
    if kind in (".txt", ".text"):
        yield from _texts(every)
    elif kind in (".jsonl", ".json", ".ndjson"):
        yield from _objects(first, every, chain([first], read))
    elif kind in (".tsv", ".tab"):
        yield from _table(every, "\t")
    elif kind == ".csv" and (said := said_delimiter(first.text)):
        yield from _table(lines, said)
    elif kind == ".csv":
        yield from _table(every, only_delimiter(first.text) or sniffed_delimiter([first.text]))
    elif first.text.lstrip().startswith(("{", "[")):
        yield from _objects(first, every, chain([first], read))
    elif "\t" in first.text:
        yield from _table(every, "\t")
    else:
        yield from _texts(every)


def _texts(lines: Iterable[TextLine]) -> Iterator[_Given]:
    return (_Given(where, number, None, text) for where, number, text in lines)


def _queries_in(folder: Path) -> str:
    """The queries of a folder in BEIR's form."""
    found = [
        one for one in folder.glob("queries.jsonl*") if without_suffix(one.name) == "queries.jsonl"
    ]
    if len(found) == 1:
        return str(found[0])
    raise CorpusError(
        "is a folder; give the file with the queries (BEIR calls it queries.jsonl)",
        path=str(folder),
    )


def _objects(
    first: TextLine, lines: Iterable[TextLine], with_blank: Iterable[TextLine]
) -> Iterator[_Given]:
    """A line each; or the elements of an array, or objects over several lines, as in a corpus."""
    if first.text.lstrip().startswith("[") or first.text.strip() == "{":
        lines = _spread(first, with_blank)
    for where, number, line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise QueryError(
                f"{where}: is not valid JSON ({error}); there must be an object a line, or an array of "
                "objects"
            ) from error
        if not isinstance(record, dict):
            raise QueryError(f'{where}: must be an object with a "text"')
        fields = {str(key).lower(): value for key, value in reversed(record.items())}
        text = next((fields[one] for one in _TEXTS if one in fields), None)
        if not isinstance(text, str):
            found = ", ".join(map(repr, list(record)[:8]))
            raise QueryError(
                f'{where}: must be an object with a "text"' + (f", found {found}" if found else "")
            )
        title = fields.get("title")
        yield _Given(where, number, _name(fields), text, title if isinstance(title, str) else None)


def _spread(first: TextLine, lines: Iterable[TextLine]) -> Iterator[TextLine]:
    """The values, each as if it were a line, numbered by their place."""
    before = first.where.removesuffix(str(first.number))
    blocks = (line.text.encode() + b"\n" for line in lines)
    for value in read_values(b"", blocks, first.number):
        where = f"{before}{value.line}: record {value.number}"
        if value.reason is not None:
            raise QueryError(f"{where}: {value.reason}")
        yield TextLine(where, value.number, value.raw.decode())


def _name(fields: dict[str, Any]) -> str | None:
    given = next((fields[one] for one in _IDS if fields.get(one) is not None), None)
    return None if given is None else str(given)


def _table(lines: Iterator[TextLine], delimiter: str) -> Iterator[_Given]:
    """Rows of a table. Tab-separated texts may hold quotes, which mean nothing there."""
    first = next(lines, None)
    if first is None:  # a table that says what parts its columns, and has none
        return
    place = first

    def texts() -> Iterator[str]:
        nonlocal place
        for place in chain([first], lines):
            yield place.text + "\n"

    quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    columns: tuple[int | None, int] | None = None
    width = 0
    try:
        for row in csv.reader(texts(), delimiter=delimiter, quoting=quoting):
            if columns is None:
                header = _columns(row)
                columns, width = header or (0, 1), len(row) if header else 2
                if header:
                    continue
            if len(row) != width:
                raise QueryError(
                    f"{place.where}: has {len(row)} column{'s' * (len(row) != 1)}, expected {width}; a "
                    "table of queries has an id and a text in each row, or a header that names them (a "
                    "file of a query a line is called .txt)"
                )
            of_id, of_text = columns
            name = None if of_id is None else row[of_id].strip() or None
            yield _Given(place.where, place.number, name, row[of_text])
    except csv.Error as error:
        raise QueryError(f"{place.where}: is no row of a table ({error})") from error


def _columns(row: list[str]) -> tuple[int | None, int] | None:
    """Where a header says that id and text are; ``None`` where a row is no header."""
    names = [one.strip().lower() for one in row]
    of_text = next((names.index(one) for one in _TEXTS if one in names), None)
    if of_text is None:
        return None
    of_id = next((names.index(one) for one in _IDS if one in names), None)
    return None if of_id is None and len(row) > 1 else (of_id, of_text)


def checked_ids(ids: str | Iterable[str]) -> list[str]:
    """The ids that are meant.

    Raises:
        QueryError: they are no strings.
    """
    try:
        some = [ids] if isinstance(ids, str) else list(ids)
    except TypeError:
        raise QueryError(f"ids must be strings, found {type(ids).__name__}") from None
    for one in some:
        if not isinstance(one, str):
            raise QueryError(f"ids must be strings, found {one!r}")
        if surrogate_in(one) is not None:
            raise QueryError(f"the id {one!r} is not valid Unicode text")
    return some
