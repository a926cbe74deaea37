"""Indexed fields: their values as arrays, in the catalog, so that a condition on them takes milliseconds.

A field has a kind and a value for each position. Numbers are there as they are. Of texts, lists and
objects there are the codes of the field's distinct values, over which SQLite evaluates what is said of
them. Blocks of positions are rows of a table, brought up to date by each commit; so they speak of the
newest commit, and who reads an earlier one asks about the documents whose metadata changed since.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from qsearch.errors import IndexFormatError
from qsearch.filters.conditions import spelled
from qsearch.store.condition_functions import add_functions
from qsearch.store.conditions import InMetadata
from qsearch.store.format import (
    BOOLEAN,
    LARGE,
    LIST,
    MISSING,
    MOST_POSITIONS,
    NUMBER,
    OBJECT,
    TEXT,
)
from qsearch.store.rows import row_checksum
from qsearch.wording import words

__all__ = [
    "BLOCK",
    "Column",
    "damaged_field",
    "drop_column",
    "field_problems",
    "indexed_paths",
    "load_column",
    "store_column",
    "update_column",
]

BLOCK = 1024
"""Positions of a block: what a change of one document writes."""

_KINDS = {
    None: MISSING,
    "null": MISSING,
    "integer": NUMBER,
    "real": NUMBER,
    "true": BOOLEAN,
    "false": BOOLEAN,
    "text": TEXT,
    "array": LIST,
    "object": OBJECT,
}
_EXACT = 1 << 53


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """The values of a field.

    Attributes:
        name: of the field.
        kinds: (n,) uint8, of each position.
        values: (n,) float64: the number, or that of the distinct value.
        distinct: how many distinct values there are beside numbers.
        place: of the catalog, for messages.
    """

    name: str
    kinds: NDArray[np.uint8]
    values: NDArray[np.float64]
    distinct: int
    place: object


def _checksum(field: str, block: int, kinds: bytes, values: bytes) -> int:
    found = xxhash.xxh3_64_intdigest(f"{field}\0{block}\0".encode() + kinds + values)
    return found - (1 << 64) if found >> 63 else found


def load_column(
    connection: sqlite3.Connection, name: str, positions: int, place: object
) -> Column | None:
    """The values of a field at the newest commit; ``None`` where it is not indexed.

    Args:
        connection: to read from.
        name: of the field, as conditions spell it.
        positions: documents have positions below this one.
        place: of the catalog, for the message.

    Raises:
        IndexFormatError: they are damaged.
    """
    codes = _codes(connection, name, place)
    if codes is None:
        return None
    if _values_of(connection, name) != codes:
        raise damaged_field(name, place)
    rows = connection.execute(
        "SELECT block, kinds, vals, xxh3 FROM field_blocks WHERE field = ? ORDER BY block", (name,)
    ).fetchall()
    for block, of_kinds, of_values, checksum in rows:
        if not _is_block(name, block, of_kinds, of_values, checksum):
            raise damaged_field(name, place)
    if next(_blocks_missing(connection, [row[0] for row in rows], positions), None) is not None:
        raise damaged_field(name, place)
    kinds = np.frombuffer(b"".join([row[1] for row in rows]), dtype=np.uint8)[:positions]
    values = np.frombuffer(b"".join([row[2] for row in rows]), dtype="<f8")[:positions]
    whole = range(0, BLOCK * len(rows), BLOCK)
    if len(kinds) < positions or any(
        row[0] * BLOCK != first or (len(row[1]) != BLOCK and first != whole[-1])
        for row, first in zip(rows, whole, strict=True)
    ):
        kinds, values = _spread_out(rows, positions)  # blocks that hold nothing are not there
    if kinds.max(initial=0) > LARGE:
        raise damaged_field(name, place)
    coded = kinds >= TEXT
    if coded.any() and not (values[coded].max() < codes and values[coded].min() >= 0):
        raise damaged_field(name, place)
    return Column(name, kinds, values, codes, place)


def _spread_out(
    rows: Sequence[tuple[int, bytes, bytes, int]], positions: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Kinds and values of blocks at their places, with nothing where there is no block."""
    kinds = np.zeros(positions, dtype=np.uint8)
    values = np.zeros(positions, dtype=np.float64)
    for block, of_kinds, of_values, _ in rows:
        first = block * BLOCK
        count = max(0, min(len(of_kinds), positions - first))
        kinds[first : first + count] = np.frombuffer(of_kinds, dtype=np.uint8)[:count]
        values[first : first + count] = np.frombuffer(of_values, dtype="<f8")[:count]
    return kinds, values


def _codes(connection: sqlite3.Connection, name: str, place: object) -> int | None:
    """How many distinct values a field has; ``None`` where it is not indexed. Takes no longer for many.

    Raises:
        IndexFormatError: the codes go farther, or not so far.
    """
    told = connection.execute("SELECT codes FROM indexed WHERE field = ?", (name,)).fetchone()
    if told is None:
        return None
    (highest,) = connection.execute(
        "SELECT max(code) FROM field_values WHERE field = ?", (name,)
    ).fetchone()
    given = 0 if highest is None else highest + 1 if type(highest) is int else -1
    if type(told[0]) is not int or told[0] != given:
        raise damaged_field(name, place)
    return given


def _is_block(name: str, block: object, kinds: object, values: object, checksum: object) -> bool:
    """Whether a row of ``field_blocks`` is what was written."""
    return (
        type(block) is int
        and 0 <= block <= MOST_POSITIONS // BLOCK
        and isinstance(kinds, bytes)
        and isinstance(values, bytes)
        and 8 * len(kinds) == len(values) <= 8 * BLOCK
        and _checksum(name, block, kinds, values) == checksum
    )


def _values_of(connection: sqlite3.Connection, name: str) -> int:
    """How many distinct values of a field are stored."""
    query = "SELECT count(*) FROM field_values WHERE field = ?"
    return int(connection.execute(query, (name,)).fetchone()[0])


def _blocks_missing(
    connection: sqlite3.Connection, there: Sequence[int], positions: int
) -> Iterator[int]:
    """Blocks that are not ``there``, although there are documents of them below ``positions``."""
    for block in sorted(set(range(-(-positions // BLOCK))) - set(there)):
        if connection.execute(
            "SELECT 1 FROM documents WHERE position >= ? AND position < ? LIMIT 1",
            (block * BLOCK, min(positions, (block + 1) * BLOCK)),
        ).fetchone():
            yield block


def damaged_field(name: str, place: object) -> IndexFormatError:
    """An error that says that an indexed field is damaged."""
    return IndexFormatError(
        f"{place} is damaged: the indexed field {name} is not what was written; {words().verify} tells "
        f"more, {words().index_field} makes it anew"
    )


def field_problems(connection: sqlite3.Connection, commit: int, *, deep: bool) -> Iterator[str]:
    """What is wrong with indexed fields.

    Args:
        connection: to read from.
        commit: the newest, which they speak of.
        deep: also derive them again from the documents.
    """
    for row in connection.execute("SELECT field, code, kind, value, xxh3 FROM field_values"):
        if row_checksum(row[:-1]) != row[-1]:
            yield f"a value of {row[0]} is not what was written"
    for row in connection.execute("SELECT field, block, kinds, vals, xxh3 FROM field_blocks"):
        if not _is_block(*row):
            yield f"block {row[1]} of {row[0]} is not what was written"
    paths = indexed_paths(connection)
    for name, codes in connection.execute("SELECT field, codes FROM indexed").fetchall():
        if (found := _values_of(connection, name)) != codes:
            yield f"of {name} there are {found} values, and {codes} were written"
        blocks = connection.execute("SELECT block FROM field_blocks WHERE field = ?", (name,))
        for block in _blocks_missing(connection, [row[0] for row in blocks], _end(connection)):
            yield f"block {block} of {name} is missing"
    if deep:
        for path in paths:
            yield from _differences(connection, path, commit)


def _end(connection: sqlite3.Connection) -> int:
    """Behind the highest position that a commit has given."""
    row = connection.execute("SELECT value FROM settings WHERE key = 'positions'").fetchone()
    return 0 if row is None else int(json.loads(row[0]))


def _differences(
    connection: sqlite3.Connection, parts: tuple[str, ...], commit: int
) -> Iterator[str]:
    """Values that are not those of the documents; what a change under way has stored is not looked at."""
    name = spelled(parts)
    lookup = InMetadata({})
    kind, value = lookup.raw(parts)
    add_functions(connection)
    codes = {
        (row[0], row[1]): row[2]
        for row in connection.execute(
            "SELECT kind, value, code FROM field_values WHERE field = ?", (name,)
        )
    }
    (last,) = connection.execute("SELECT coalesce(max(position), -1) FROM documents").fetchone()
    column = load_column(connection, name, last + 1, "the catalog")
    if column is None:
        return
    for position, told, found in connection.execute(
        f"SELECT position, {kind}, {value} FROM documents "  # noqa: S608 (ours, with parameters)
        "WHERE came <= :commit AND position NOT IN "
        "(SELECT position FROM earlier WHERE until > :commit)",
        {**lookup.parameters, "commit": commit},
    ):
        of_kind, number = _stored(told, found)
        if of_kind >= TEXT:
            number = codes.get((of_kind, found))
        if (column.kinds[position], column.values[position]) != (of_kind, number):
            yield f"the value of {name} at position {position} is not that of the document"
            return


def indexed_paths(connection: sqlite3.Connection) -> list[tuple[str, ...]]:
    """The fields that are indexed: their names, from the outermost object on.

    Raises:
        IndexFormatError: a name is not that of its field.
    """
    found = []
    for name, path in connection.execute("SELECT field, path FROM indexed ORDER BY field"):
        try:
            parts = json.loads(path)
        except (TypeError, ValueError, RecursionError):
            parts = None
        plain = isinstance(parts, list) and all(isinstance(one, str) for one in parts)
        if not plain or not parts or spelled(parts) != name:
            raise damaged_field(str(name)[:40], "the catalog")
        found.append(tuple(parts))
    return found


def store_column(connection: sqlite3.Connection, parts: tuple[str, ...]) -> None:
    """Index a field, inside of a transaction; what there is of it is replaced.

    Args:
        connection: that writes.
        parts: name of the field, from the outermost object on.
    """
    name = spelled(parts)
    drop_column(connection, name)
    connection.execute("INSERT INTO indexed VALUES (?, ?, 0)", (name, json.dumps(parts)))
    (last,) = connection.execute("SELECT max(position) FROM documents").fetchone()
    blocks = range(0 if last is None else last // BLOCK + 1)
    _write(connection, parts, name, blocks)


def drop_column(connection: sqlite3.Connection, name: str) -> None:
    """Forget an indexed field, inside of a transaction."""
    for table in ("field_blocks", "field_values", "indexed"):
        connection.execute(f"DELETE FROM {table} WHERE field = ?", (name,))  # noqa: S608 (ours)


def update_column(
    connection: sqlite3.Connection, parts: tuple[str, ...], positions: Iterable[int]
) -> None:
    """Bring the values of some documents up to date, inside of a transaction.

    Args:
        connection: that writes.
        parts: name of the field, from the outermost object on.
        positions: of documents that came, or whose metadata changed.
    """
    name = spelled(parts)
    blocks = sorted({position // BLOCK for position in positions})
    _write(connection, parts, name, blocks)


def _write(
    connection: sqlite3.Connection,
    parts: tuple[str, ...],
    name: str,
    blocks: Sequence[int],
) -> None:
    """Derive blocks from the documents that the catalog holds, those of the past too."""
    lookup = InMetadata({})
    kind, value = lookup.raw(parts)
    known: dict[tuple[int, Any], int] = {}
    add_functions(connection)
    query = (
        f"SELECT position, {kind}, {value} FROM documents "  # noqa: S608 (ours, with parameters)
        "WHERE position >= :first AND position < :last"
    )
    count = _codes(connection, name, "the catalog") or 0
    for block in blocks:
        first = block * BLOCK
        rows = connection.execute(
            query, {**lookup.parameters, "first": first, "last": first + BLOCK}
        ).fetchall()
        if not rows:
            connection.execute(
                "DELETE FROM field_blocks WHERE field = ? AND block = ?", (name, block)
            )
            continue
        length = max(row[0] for row in rows) - first + 1
        kinds = np.zeros(length, dtype=np.uint8)
        values = np.zeros(length, dtype="<f8")
        for position, told, found in rows:
            of_kind, number = _stored(told, found)
            kinds[position - first] = of_kind
            if of_kind >= TEXT:
                key = of_kind, found
                code = known.get(key)
                if code is None:
                    code, count = _code(connection, name, of_kind, found, count)
                    known[key] = code
                values[position - first] = code
            else:
                values[position - first] = number
        row = name, block, kinds.tobytes(), values.tobytes()
        connection.execute(
            "INSERT OR REPLACE INTO field_blocks VALUES (?, ?, ?, ?, ?)", (*row, _checksum(*row))
        )
    connection.execute("UPDATE indexed SET codes = ? WHERE field = ?", (count, name))


def _stored(told: str | None, value: Any) -> tuple[int, float | None]:
    """The kind of a value that JSON's kind is told of, and what stands for it, where that is a number."""
    kind = _KINDS[told]
    if kind == NUMBER and isinstance(value, int) and not -_EXACT <= value <= _EXACT:
        kind = LARGE
    if kind in (NUMBER, BOOLEAN):
        return kind, float(value)
    return kind, 0.0 if kind == MISSING else None


def _code(
    connection: sqlite3.Connection, name: str, kind: int, value: Any, count: int
) -> tuple[int, int]:
    """The number of a distinct value, and how many there are."""
    found = connection.execute(
        "SELECT code FROM field_values WHERE field = ? AND kind = ? AND value = ?",
        (name, kind, value),
    ).fetchone()
    if found is not None:
        return int(found[0]), count
    row = name, count, kind, value
    connection.execute("INSERT INTO field_values VALUES (?, ?, ?, ?, ?)", (*row, row_checksum(row)))
    return count, count + 1
