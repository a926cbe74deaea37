"""A condition as a mapping, in the operators that people know from elsewhere, becomes a tree.

What is denied here is the complement, as these operators mean it elsewhere: ``$ne``, ``$nin`` and ``$not``
are true of a document that has no such field.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from qsearch.errors import QueryError
from qsearch.filters.conditions import (
    MOST_DEPTH,
    All,
    Among,
    And,
    Compare,
    Comparison,
    Condition,
    Contains,
    Exists,
    Field,
    Holds,
    Literal,
    Not,
    Or,
)
from qsearch.filters.values import checked_scalar, checked_values

__all__ = ["OPERATORS", "from_mapping"]

_COMPARISONS: dict[str, Comparison] = {
    "$eq": "=",
    "$gt": ">",
    "$gte": ">=",
    "$lt": "<",
    "$lte": "<=",
}

MOST_CONDITIONS = 10_000
"""A mapping may be made of so many."""

OPERATORS = (
    "$eq",
    "$ne",
    "$gt",
    "$gte",
    "$lt",
    "$lte",
    "$in",
    "$nin",
    "$exists",
    "$contains",
    "$and",
    "$or",
    "$not",
)
"""All there are."""


def from_mapping(given: Mapping[Any, Any]) -> Condition:
    """The tree of a condition.

    Args:
        given: fields with values or operators, ``$and`` and ``$or`` with lists of conditions, ``$not`` with
            a condition; all of them must hold. An empty one holds for every document.

    Raises:
        QueryError: an operator is not known, or cannot take what it is given.
    """
    left = [MOST_CONDITIONS]
    return _all_of(given, 1, left)


def _all_of(given: Mapping[Any, Any], depth: int, left: list[int]) -> Condition:
    """All of a mapping must hold.

    Args:
        given: the mapping.
        depth: of mappings around it, and this one.
        left: how many conditions there may still be. A mapping that is in another one many times is read
            each time: what is small to write down may be without end.
    """
    left[0] -= len(given)
    if left[0] < 0:
        raise QueryError(
            f"the condition is made of more than {MOST_CONDITIONS:,}; long lists of values go into $in"
        )
    if depth > MOST_DEPTH:
        raise QueryError(f"the condition is nested more than {MOST_DEPTH} deep")
    some: list[Condition] = []
    for name, value in given.items():
        if not isinstance(name, str):
            raise QueryError(f"names of fields are texts, found {type(name).__name__}")
        if name in ("$and", "$or"):
            some.append(_list_of(name, value, depth, left))
        elif name == "$not":
            if not isinstance(value, Mapping):
                raise QueryError(f"$not takes a condition, found {type(value).__name__}")
            some.append(Not(Holds(_all_of(value, depth + 1, left))))
        elif name.startswith("$"):
            raise _unknown(name)
        else:
            some.append(_of_field(name, value, depth))
    if not some:
        return All()
    return some[0] if len(some) == 1 else And(tuple(some))


def _list_of(name: str, value: Any, depth: int, left: list[int]) -> Condition:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise QueryError(f"{name} takes a list of conditions, which is not empty")
    inner = []
    for one in value:
        if not isinstance(one, Mapping):
            raise QueryError(f"{name} takes a list of conditions, found {type(one).__name__} in it")
        inner.append(_all_of(one, depth + 1, left))
    return And(tuple(inner)) if name == "$and" else Or(tuple(inner))


def _of_field(name: str, value: Any, depth: int) -> Condition:
    field = Field(tuple(name.split(".")))
    if not all(field.parts):
        field = Field((name,), exact=True)
    if not isinstance(value, Mapping):
        if value is None:
            return Not(Exists(field))
        return Compare("=", field, Literal(checked_scalar(value, name)))
    if not value:
        raise QueryError(f"{name} has no operator; there are {', '.join(OPERATORS)}")
    some = [_operated(field, name, operator, operand, depth) for operator, operand in value.items()]
    return some[0] if len(some) == 1 else And(tuple(some))


def _operated(field: Field, name: str, operator: Any, operand: Any, depth: int) -> Condition:
    told = f"{name} {operator}"
    if operator in _COMPARISONS:
        if operand is None and operator == "$eq":
            return Not(Exists(field))
        return Compare(_COMPARISONS[operator], field, Literal(checked_scalar(operand, told)))
    if operator == "$ne":
        if operand is None:
            return Exists(field)
        return Not(Holds(Compare("=", field, Literal(checked_scalar(operand, told)))))
    if operator == "$in":
        return Among(field, checked_values(operand, told))
    if operator == "$nin":
        return Not(Holds(Among(field, checked_values(operand, told))))
    if operator == "$exists":
        if not isinstance(operand, bool):
            raise QueryError(f"{told} takes true or false, found {operand!r}")
        return Exists(field) if operand else Not(Exists(field))
    if operator == "$contains":
        return Contains(field, checked_scalar(operand, told))
    if operator == "$not":
        if depth >= MOST_DEPTH:
            raise QueryError(f"the condition is nested more than {MOST_DEPTH} deep")
        return Not(Holds(_of_field(name, operand, depth + 1)))
    if operator in ("$and", "$or"):
        raise QueryError(
            f"{operator} stands before the fields: {{{operator!r}: [{{{name!r}: …}}, …]}}"
        )
    if (
        isinstance(operator, str)
        and not operator.startswith("$")
        and "$" + operator not in OPERATORS
    ):
        raise QueryError(
            f"{name} has {operator!r}, which is no operator; a field of an object is named "
            f"'{name}.{operator}', and operators are {', '.join(OPERATORS)}"
        )
    raise _unknown(operator)


def _unknown(operator: Any) -> QueryError:
    near = difflib.get_close_matches(str(operator), OPERATORS, 1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return QueryError(f"there is no operator {operator!r}; there are {', '.join(OPERATORS)}{meant}")
