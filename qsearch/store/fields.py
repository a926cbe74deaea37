"""Which fields the metadata of documents have, of which kinds, and in how many documents.

The catalog keeps these counts from format 4 on, and every commit brings them up to date.
"""

from __future__ import annotations

import difflib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qsearch.errors import IndexFormatError, QueryError
from qsearch.filters.conditions import Condition, Exists, Field, fields_of, spelled
from qsearch.store.catalog import Catalog
from qsearch.store.format import FIELDS_VERSION
from qsearch.wording import words

__all__ = [
    "BUILT_IN",
    "MOST_FIELDS",
    "FieldCounts",
    "FieldReport",
    "KnownFields",
    "add_counts",
    "by_name",
    "count_fields",
    "kinds_of",
    "known_fields",
    "read_counts",
    "recount",
    "resolved_field",
    "resolved_fields",
]

MOST_FIELDS = 1000
"""So many fields are counted. Who has more uses names as values."""

LEFT_OUT = ""
"""The name of the row that says that there are more: no field is spelled so."""

_MOST_DEPTH = 8

BUILT_IN = ("id", "title")
"""Fields that every document has, or may have, beside its metadata."""

FieldCounts = Counter[tuple[str, str]]
"""How many documents have a value of a kind: by the field's name, as conditions spell it, and the kind."""


@dataclass(frozen=True, slots=True)
class FieldReport:
    """What is known of a field of the metadata.

    Attributes:
        name: as conditions spell it.
        documents: how many have it, null not counted.
        kinds: how many have a value of each kind: ``boolean``, ``number``, ``text``, ``list``, ``object``.
        indexed: whether conditions on it are fast.
    """

    name: str
    documents: int
    kinds: Mapping[str, int]
    indexed: bool


def kinds_of(metadata: Mapping[str, Any], outer: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Name and kind of every value, those inside of objects too; no null."""
    for name, value in metadata.items():
        if value is None:
            continue
        parts = (*outer, name)
        yield spelled(parts), _kind(value)
        if isinstance(value, dict) and len(parts) < _MOST_DEPTH:
            yield from kinds_of(value, parts)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    return "object" if isinstance(value, dict) else "list"


def count_fields(rows: Iterable[str | None]) -> FieldCounts:
    """Count the fields of the metadata of documents, as the catalog has it.

    What is damaged has none: whoever reads or verifies the document says so.
    """
    counts: FieldCounts = Counter()
    for metadata in rows:
        if metadata is None:
            continue
        try:
            decoded = json.loads(metadata)
        except (TypeError, ValueError, RecursionError):
            continue
        counts.update(kinds_of(decoded) if isinstance(decoded, dict) else ())
    return counts


def by_name(counts: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    """The same counts: by kind, of each name."""
    found: dict[str, dict[str, int]] = {}
    for (name, kind), documents in counts.items():
        found.setdefault(name, {})[kind] = documents
    return found


def add_counts(connection: sqlite3.Connection, counts: Mapping[tuple[str, str], int]) -> None:
    """Add to the counts of fields, inside of a transaction.

    Fields that no document has any more stay, with 0. Where there are more than ``MOST_FIELDS``, a row
    without a name says that some are left out.
    """
    known = {row[0] for row in connection.execute("SELECT DISTINCT name FROM fields")}
    for (name, kind), documents in counts.items():
        if name not in known and len(known) >= MOST_FIELDS:
            name, kind, documents = LEFT_OUT, "", 1
        known.add(name)
        connection.execute(
            "INSERT INTO fields VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET "
            "documents = max(0, documents + excluded.documents)",
            (name, kind, documents),
        )


def recount(connection: sqlite3.Connection) -> None:
    """Count the fields of all documents anew, inside of a transaction."""
    connection.execute("DELETE FROM fields")
    rows = connection.execute("SELECT metadata FROM documents WHERE metadata IS NOT NULL")
    add_counts(connection, count_fields(row[0] for row in rows))


def read_counts(connection: sqlite3.Connection) -> tuple[dict[str, dict[str, int]], bool]:
    """Documents by field and kind, and whether these are all fields.

    Raises:
        IndexFormatError: a value is of another type.
    """
    counts: dict[tuple[str, str], int] = {}
    for name, kind, documents in connection.execute(
        "SELECT name, kind, documents FROM fields ORDER BY name, kind"
    ):
        if not isinstance(name, str) or not isinstance(kind, str) or type(documents) is not int:
            raise IndexFormatError(
                f"the catalog is damaged: what it counts of the field {str(name)[:40]!r} is no number; "
                f"{words().verify} tells more, {words().rebuild} builds the index again"
            )
        counts[name, kind] = documents
    found = by_name(counts)
    return found, found.pop(LEFT_OUT, None) is None


@dataclass(frozen=True, slots=True)
class KnownFields:
    """What is known of the fields of an index.

    Attributes:
        counts: documents by field and kind.
        complete: whether these are all fields.
        indexed: those that are indexed.
    """

    counts: Mapping[str, Mapping[str, int]]
    complete: bool
    indexed: frozenset[str]

    def reports(self) -> list[FieldReport]:
        """Each field that a document has, by name."""
        return [
            FieldReport(name, sum(kinds.values()), dict(kinds), name in self.indexed)
            for name, kinds in sorted(self.counts.items())
            if any(kinds.values()) or name in self.indexed
        ]


def known_fields(catalog: Catalog) -> KnownFields:
    """What a catalog knows of fields; one of an earlier format has to read all metadata for it."""
    with catalog.view(), catalog.reading() as connection:
        if catalog.version >= FIELDS_VERSION:
            counts, complete = read_counts(connection)
            rows = connection.execute("SELECT field FROM indexed").fetchall()
            indexed = frozenset(row[0] for row in rows)
            if not all(isinstance(name, str) for name in indexed):
                raise IndexFormatError(
                    f"the catalog is damaged: it lists a field that has no name; {words().verify} tells "
                    f"more, {words().rebuild} builds the index again"
                )
            for name in indexed - set(counts):  # of no document so far
                counts[name] = {}
            if "title" in indexed:
                titles = f"SELECT count(title) FROM documents WHERE {catalog.visible}"  # noqa: S608
                counts["title"] = {"text": connection.execute(titles).fetchone()[0]}
            return KnownFields(counts, complete, indexed)
        every = connection.execute("SELECT metadata FROM documents WHERE metadata IS NOT NULL")
        found = by_name(count_fields(row[0] for row in every))
        return KnownFields(found, True, frozenset())


def resolved_fields(
    condition: Condition, known: KnownFields, *, missing_ok: bool = False
) -> dict[Field, Sequence[tuple[str, ...]]]:
    """What each field of a condition is.

    A name with dots is one of an object inside of an object, and where a document has none, a name that has
    dots. What is known of fields is of the newest commit, and of documents that are gone too: so where both
    are known, each document is asked for both.

    Args:
        condition: of the user.
        known: fields that there are.
        missing_ok: whether a field may be one that no document has.

    Returns:
        The names that it may have, from the outermost object on; of a document the first one counts that it
        has a value of. None for a field that is nowhere.

    Raises:
        QueryError: no document has it.
    """
    names = {*known.counts, *known.indexed, *BUILT_IN}
    found: dict[Field, Sequence[tuple[str, ...]]] = {}
    for field in fields_of(condition):
        if field in found:
            continue
        choices: Sequence[tuple[str, ...]] = (field.parts,)
        if len(field.parts) > 1 and not field.exact:
            choices = (field.parts, (".".join(field.parts),))
        there = [one for one in choices if spelled(one) in names]
        if not known.complete:
            found[field] = choices
        elif there or missing_ok:
            found[field] = there
        else:
            raise _unknown(field, known, sorted(names))
    return found


def resolved_field(field: Field, known: KnownFields, *, missing_ok: bool) -> tuple[str, ...]:
    """The name of a field that is to be indexed, from the outermost object on.

    Raises:
        QueryError: no document has it, or it needs no index.
    """
    names = resolved_fields(Exists(field), known, missing_ok=missing_ok)[field]
    parts = names[0] if names else field.parts
    if parts == ("id",):
        raise QueryError("conditions on the id are fast as it is")
    return parts


def _outer(field: Field) -> Iterator[str]:
    """The fields that a field is inside of."""
    return (spelled(field.parts[:count]) for count in range(1, len(field.parts)))


def _unknown(field: Field, fields: KnownFields, known: Sequence[str]) -> QueryError:
    name = spelled(field.parts)
    by_case = [one for one in known if one.lower() == name.lower()]
    near = by_case or difflib.get_close_matches(name, known, 3, 0.5)
    told = ", ".join(near or known[:12])
    more = "" if near or len(known) <= 12 else f" and {len(known) - 12} more"
    which = "the nearest are" if len(near) > 1 else "the nearest is" if near else "there are"
    text = " (a document's text is searched, not filtered)" if name == "text" else ""
    outer = next((one for one in _outer(field) if fields.counts.get(one, {}).get("list")), None)
    if outer is not None:
        text = f" ({outer} holds lists, and conditions do not look into objects of a list)"
    elif field.exact and len(field.parts) == 1 and not near:
        text = " (double quotes name a field; a text stands in single quotes)"
    return QueryError(
        f"no document has a field {name}{text}; {which} {told}{more}. {words().missing_fields_ok} lets a "
        "condition speak of fields that are not there"
    )
