"""Conditions over indexed fields: truth in three values, of every position at once."""

from __future__ import annotations

import operator
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.filters.conditions import (
    All,
    Among,
    And,
    Compare,
    Condition,
    Contains,
    Exists,
    Field,
    Holds,
    Like,
    Literal,
    Member,
    Not,
    Or,
    Scalar,
    Truth,
    fields_of,
    number_of,
)
from qsearch.store.columns import Column, damaged_field
from qsearch.store.conditions import InValues, written
from qsearch.store.format import BOOLEAN, MISSING, NUMBER, TEXT

__all__ = ["evaluated", "is_evaluable"]

_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True, eq=False)
class _Truth:
    """Where a condition is true, and where it is neither true nor false; (n,) bool each."""

    true: NDArray[np.bool_]
    unknown: NDArray[np.bool_]


def is_evaluable(condition: Condition, indexed: Callable[[Field], bool]) -> bool:
    """Whether all it says is of fields that are indexed, each by itself."""
    match condition:
        case All():
            return True
        case And(conditions) | Or(conditions):
            return all(is_evaluable(one, indexed) for one in conditions)
        case Not(inner) | Holds(inner):
            return is_evaluable(inner, indexed)
        case Compare(_, Field() as field, Literal()):
            return indexed(field)
        case Compare():
            return False
        case _:
            operand = condition.operand
            return isinstance(operand, Field) and indexed(operand)


def evaluated(
    condition: Condition,
    columns: Mapping[Field, Column | None],
    positions: int,
    connection: sqlite3.Connection,
) -> NDArray[np.bool_]:
    """Where a condition is true: (positions,) bool.

    Args:
        condition: one that is evaluable.
        columns: of its fields; ``None`` for a field that no document has.
        positions: documents have positions below this one.
        connection: to ask about distinct values, ``guarded``.
    """
    return _Evaluation(columns, positions, connection).of(condition).true


class _Evaluation:
    def __init__(
        self,
        columns: Mapping[Field, Column | None],
        positions: int,
        connection: sqlite3.Connection,
    ) -> None:
        self._columns, self._positions, self._connection = columns, positions, connection

    def of(self, condition: Condition) -> _Truth:
        match condition:
            case All():
                return self._everywhere(true=True)
            case And(conditions):
                return self._all_of(conditions)
            case Or(conditions):
                return self._one_of(conditions)
            case Not(inner):
                found = self.of(inner)
                return _Truth(~(found.true | found.unknown), found.unknown)
            case Holds(inner):
                return _Truth(self.of(inner).true, self._nowhere())
            case _:
                return self._of_a_field(condition)

    def _nowhere(self) -> NDArray[np.bool_]:
        return np.zeros(self._positions, dtype=np.bool_)

    def _everywhere(self, *, true: bool) -> _Truth:
        every = np.ones(self._positions, dtype=np.bool_)
        return _Truth(every, ~every) if true else _Truth(~every, every)

    def _all_of(self, conditions: Sequence[Condition]) -> _Truth:
        found = self.of(conditions[0])
        for one in conditions[1:]:
            more = self.of(one)
            false = ~(found.true | found.unknown) | ~(more.true | more.unknown)
            true = found.true & more.true
            found = _Truth(true, ~(true | false))
        return found

    def _one_of(self, conditions: Sequence[Condition]) -> _Truth:
        found = self.of(conditions[0])
        for one in conditions[1:]:
            more = self.of(one)
            true = found.true | more.true
            found = _Truth(true, (found.unknown | more.unknown) & ~true)
        return found

    def _of_a_field(self, condition: Condition) -> _Truth:
        """A leaf: numbers by themselves, what else there is by the distinct values."""
        (field,) = fields_of(condition)
        column = self._columns[field]
        if column is None:
            if isinstance(condition, Exists):
                return _Truth(self._nowhere(), self._nowhere())
            return self._everywhere(true=False)
        kinds = column.kinds
        if isinstance(condition, Exists):
            return _Truth(kinds != MISSING, self._nowhere())
        numbers = (kinds == NUMBER) | (kinds == BOOLEAN)
        true, unknown = _of_numbers(condition, column.values)
        found = _Truth(true & numbers, (unknown & numbers) | (kinds == MISSING))
        if column.distinct:
            coded = kinds >= TEXT
            codes = column.values[coded].astype(np.int64)
            of_true, of_unknown = self._of_values(condition, column)
            found.true[coded] = of_true[codes]
            found.unknown[coded] = of_unknown[codes]
        return found

    def _of_values(
        self, condition: Condition, column: Column
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """The same of each distinct value, by SQLite."""
        lookup = InValues()
        expression = written(condition, lookup)
        rows = self._connection.execute(
            f"SELECT code, {expression} AS told FROM field_values "  # noqa: S608 (ours, with parameters)
            f"WHERE field = {lookup.bind(column.name)} AND (told OR told IS NULL)",
            lookup.parameters,
        ).fetchall()
        true = np.zeros(column.distinct, dtype=np.bool_)
        unknown = np.zeros(column.distinct, dtype=np.bool_)
        for code, told in rows:
            if not 0 <= code < column.distinct:
                raise damaged_field(column.name, column.place)
            (unknown if told is None else true)[code] = True
        return true, unknown


def _of_numbers(
    condition: Condition, values: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where a leaf is true, and unknown, if the field is one of these numbers."""
    never = np.zeros(len(values), dtype=np.bool_)
    match condition:
        case Truth():
            return values != 0, never
        case Compare(sign, _, Literal(value)):
            number = _as_number(value)
            if number is not None:
                return _compared(sign, values, number), never
            if sign in ("=", "!="):
                return ~never if sign == "!=" else never, never
            return never, ~never
        case Among(_, given):
            numbers = [number for one in given if (number := _as_number(one)) is not None]
            return np.isin(values, [one for one in numbers if float(one) == one]), never
        case Member(_, value):
            number = _as_number(value)
            return (never if number is None else _compared("=", values, number)), never
        case Like() | Contains():
            return never, never
        case _:
            raise ValueError(f"{condition} is no condition on one field")


def _as_number(value: Scalar) -> int | float | None:
    return number_of(value) if isinstance(value, str) else value


def _compared(sign: str, values: NDArray[np.float64], number: int | float) -> NDArray[np.bool_]:
    """Exact, also where a whole number is none that a float64 holds."""
    wide = float(number)
    if wide == number:
        return np.asarray(_OPERATORS[sign](values, wide))
    # Stored numbers are those that a float64 holds: none is between the given one and its neighbour.
    if sign in ("=", "!="):
        return np.full(len(values), sign == "!=")
    below = wide if wide < number else np.nextafter(wide, -np.inf)
    if sign in ("<", "<="):
        return np.asarray(values <= below)
    return np.asarray(values > below)
