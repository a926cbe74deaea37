"""Which documents a condition holds for: SQLite evaluates it, and may do nothing else meanwhile."""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import IndexFormatError, QueryError
from qsearch.filters.conditions import And, Condition, Field, fields_of, spelled
from qsearch.patience import is_wanted
from qsearch.store.catalog import Catalog
from qsearch.store.columns import Column, load_column
from qsearch.store.condition_functions import FUNCTION_NAMES, add_functions
from qsearch.store.conditions import InMetadata, Lookup, written
from qsearch.store.evaluating import evaluated, is_evaluable
from qsearch.store.fields import KnownFields, resolved_fields
from qsearch.store.format import CHANGES_VERSION
from qsearch.wording import words

__all__ = ["MOST_SECONDS", "by_indexes", "select"]

MOST_SECONDS = 60.0
"""A condition that takes longer is given up."""

_TABLES = frozenset({"documents", "earlier", "field_values", "json_each"})
_INSTRUCTIONS = 20_000
"""Of SQLite's machine, between two looks at the clock: some milliseconds."""

_AT_A_TIME = 1 << 16

_TOO_MUCH = ("parser stack overflow", "Expression tree is too large", "too many SQL variables")
"""What SQLite says of a statement that is sound, and more than it takes."""

_FEW = 0.05
"""Where indexed fields leave fewer than this share of the positions, only these are looked at further."""


def select(
    catalog: Catalog,
    known: KnownFields,
    condition: Condition,
    positions: int,
    *,
    missing_ok: bool = False,
) -> NDArray[np.bool_]:
    """Where a condition holds, at the commit that the catalog reads.

    Args:
        catalog: of the index.
        known: its fields.
        condition: of the user.
        positions: documents have positions below this one.
        missing_ok: whether the condition may speak of fields that no document has.

    Returns:
        (positions,) bool. It may hold at positions of documents that are gone.

    Raises:
        QueryError: a field is not there, or it took too long.
        IndexFormatError: the catalog is damaged.
    """
    resolved = resolved_fields(condition, known, missing_ok=missing_ok)
    try:
        return _Selection(catalog, known, resolved, positions).of(condition)
    except MemoryError as error:
        raise IndexFormatError(
            f"{catalog.path} says that it has given {positions:,} positions, for which there is not "
            f"enough memory; if that cannot be, {words().rebuild} builds the index again"
        ) from error


class _Selection:
    def __init__(
        self,
        catalog: Catalog,
        known: KnownFields,
        resolved: Mapping[Field, Sequence[tuple[str, ...]]],
        positions: int,
    ) -> None:
        self._catalog, self._resolved = catalog, resolved
        self._positions, self._indexed = positions, known.indexed
        self._ends = time.monotonic() + MOST_SECONDS

    def of(self, condition: Condition) -> NDArray[np.bool_]:
        with self._catalog.view(), self._catalog.reading() as connection:
            # What is known may be from before: who has the index may have dropped one since.
            if self._indexed:
                rows = connection.execute("SELECT field FROM indexed").fetchall()
                self._indexed &= {row[0] for row in rows}
            if is_evaluable(condition, self._is_indexed):
                found, changed = self._evaluated(connection, condition)
                found[changed] = False
                if not changed:
                    return found
                return self._with(found, self._among(connection, condition, changed))
            first = [one for one in _all_of(condition) if is_evaluable(one, self._is_indexed)]
            if first:
                found, changed = self._evaluated(connection, And(tuple(first)))
                found[changed] = True
                if np.count_nonzero(found) <= _FEW * self._positions:
                    among = np.flatnonzero(found).tolist()
                    nothing = np.zeros(self._positions, dtype=np.bool_)
                    return self._with(nothing, self._among(connection, condition, among))
        return self._every(condition)

    def _every(self, condition: Condition) -> NDArray[np.bool_]:
        """By reading all metadata, some at a time: a commit does not wait for all.

        Whatever is committed in between, what was there at our commit is kept, and is what counts.
        """
        found = np.zeros(self._positions, dtype=np.bool_)
        for start in range(0, max(1, self._positions), _AT_A_TIME):
            with (
                self._catalog.view(),
                self._catalog.reading() as connection,
                guarded(connection, self._ends),
            ):
                here = f"position >= {start} AND position < {start + _AT_A_TIME}"
                more = self._selected(connection, condition, here)
            found = self._with(found, more)
        return found

    def _with(self, found: NDArray[np.bool_], more: NDArray[np.int64]) -> NDArray[np.bool_]:
        found[more[more < self._positions]] = True
        return found

    def _is_indexed(self, field: Field) -> bool:
        return _is_indexed(self._resolved[field], self._indexed)

    def _evaluated(
        self, connection: sqlite3.Connection, condition: Condition
    ) -> tuple[NDArray[np.bool_], list[int]]:
        """Where it holds by the indexed fields, and the positions where these have changed since."""
        columns: dict[Field, Column | None] = {}
        for field in fields_of(condition):
            if field not in columns:
                columns[field] = None
                for parts in self._resolved[field]:
                    name = spelled(parts)
                    columns[field] = load_column(
                        connection, name, self._positions, self._catalog.path
                    )
        changed: list[int] = []
        if self._catalog.version >= CHANGES_VERSION:
            query = "SELECT DISTINCT position FROM earlier WHERE until > ?"
            changed = [row[0] for row in connection.execute(query, (self._catalog.commit,))]
        with guarded(connection, self._ends):
            found = evaluated(condition, columns, self._positions, connection)
        # A row of no document says nothing.
        return found, [one for one in changed if type(one) is int and 0 <= one < self._positions]

    def _among(
        self, connection: sqlite3.Connection, condition: Condition, among: Sequence[int]
    ) -> NDArray[np.int64]:
        with guarded(connection, self._ends):
            return self._selected(connection, condition, "1", among)

    def _selected(
        self,
        connection: sqlite3.Connection,
        condition: Condition,
        here: str,
        among: Sequence[int] | None = None,
    ) -> NDArray[np.int64]:
        commit = self._catalog.commit if self._catalog.version >= CHANGES_VERSION else None
        return selected(
            connection,
            condition,
            InMetadata(self._resolved),
            f"{here} AND {self._catalog.visible}",
            commit,
            among,
        )


def by_indexes(condition: Condition, known: KnownFields, *, missing_ok: bool = False) -> bool:
    """Whether indexes of fields tell all that a condition asks.

    Args:
        condition: of the user.
        known: fields of the index.
        missing_ok: whether the condition may speak of fields that no document has.

    Raises:
        QueryError: a field is not there.
    """
    resolved = resolved_fields(condition, known, missing_ok=missing_ok)
    return is_evaluable(condition, lambda field: _is_indexed(resolved[field], known.indexed))


def _is_indexed(names: Sequence[tuple[str, ...]], indexed: Collection[str]) -> bool:
    return not names or (len(names) == 1 and spelled(names[0]) in indexed)


def _all_of(condition: Condition) -> tuple[Condition, ...]:
    return condition.conditions if isinstance(condition, And) else (condition,)


@contextmanager
def guarded(connection: sqlite3.Connection, ends: float) -> Iterator[None]:
    """Let a connection read the tables that a condition speaks of, call its functions, and nothing else.

    Args:
        connection: to read from.
        ends: when it is given up, by ``time.monotonic``.

    Raises:
        QueryError: it took too long, or nobody waits for it any more.
    """

    def allow(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        if action == sqlite3.SQLITE_SELECT:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ and first in _TABLES:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_FUNCTION and second in FUNCTION_NAMES:
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    with _interruptible(connection):
        add_functions(connection)
        # Its table is declared when it is first used, which is no reading.
        connection.execute("SELECT 1 FROM json_each('[]')").fetchone()
        connection.set_authorizer(allow)
        connection.set_progress_handler(
            lambda: time.monotonic() > ends or not is_wanted(), _INSTRUCTIONS
        )
        try:
            yield
        except (sqlite3.OperationalError, sqlite3.DataError) as error:
            if any(one in str(error) for one in _TOO_MUCH):
                raise QueryError(
                    f"the condition is too large or nested too deep for SQLite ({error}); long lists go "
                    "into one IN"
                ) from error
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                if not is_wanted():
                    raise QueryError("nobody waits for the answer any more") from error
                raise QueryError(
                    f"the condition took longer than {MOST_SECONDS:.0f} s; conditions on fields that are "
                    f"indexed are fast ({words().index_field})"
                ) from error
            raise
        finally:
            connection.set_progress_handler(None, 0)
            connection.set_authorizer(None)


@contextmanager
def _interruptible(connection: sqlite3.Connection) -> Iterator[None]:
    """Have Ctrl-C end what SQLite is doing, and be dealt with behind this block.

    SQLite calls functions of ours, and what these raise becomes an error of SQLite's or nothing; and what
    the block has set must be taken back.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    came: list[BaseException] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        try:
            handler(number, frame)
        except BaseException as error:  # one that does not raise has other plans
            came.append(error)
            connection.interrupt()

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is interrupt:  # it may have put another one there
            signal.signal(signal.SIGINT, handler)
        if came:
            raise came[0]


def selected(
    connection: sqlite3.Connection,
    condition: Condition,
    lookup: Lookup,
    visible: str,
    commit: int | None,
    among: Sequence[int] | None = None,
) -> NDArray[np.int64]:
    """Positions of the documents of a commit that a condition holds for, rising.

    Args:
        connection: to read from, ``guarded``.
        condition: of the user.
        lookup: what its fields are.
        visible: a condition for the documents that there are.
        commit: of which metadata are wanted; ``None``: no others are kept.
        among: positions of the documents to look at; ``None``: all.
    """
    expression = written(condition, lookup)
    source = f"SELECT position, id, title, metadata FROM documents WHERE {visible}"  # noqa: S608 (ours)
    if commit is not None and _kept(connection, commit):
        # Of several versions that were replaced since, the first one is meant: SQLite takes the other
        # columns from the row with the least "until".
        earlier = (
            "SELECT position AS was, metadata AS old, min(until) AS until FROM earlier "  # noqa: S608
            f"WHERE until > {commit} GROUP BY position"
        )
        source = (
            "SELECT position, id, title, CASE WHEN was IS NULL THEN metadata ELSE old END AS metadata "  # noqa: S608
            f"FROM documents LEFT JOIN ({earlier}) ON was = position WHERE {visible}"
        )
    query = f"SELECT position FROM ({source}) WHERE {expression}"  # noqa: S608 (ours, with parameters)
    if among is None:
        return _positions(connection, f"{query} ORDER BY position", lookup)
    parts = []
    for start in range(0, len(among), _AT_A_TIME):
        some = "[" + ",".join(map(str, among[start : start + _AT_A_TIME])) + "]"
        lookup.parameters["among"] = some
        inside = "position IN (SELECT value FROM json_each(:among))"
        parts.append(_positions(connection, f"{query} AND {inside} ORDER BY position", lookup))
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def _positions(connection: sqlite3.Connection, query: str, lookup: Lookup) -> NDArray[np.int64]:
    rows = connection.execute(query, lookup.parameters)
    return np.fromiter((row[0] for row in rows), dtype=np.int64)


def _kept(connection: sqlite3.Connection, commit: int) -> bool:
    """Whether metadata of a commit are kept that a later one replaced."""
    query = "SELECT 1 FROM earlier WHERE until > ? LIMIT 1"
    return connection.execute(query, (commit,)).fetchone() is not None
