"""What a condition says of one document, in plain Python: made from docs/filters.md, not from the code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qsearch.filters.conditions import (
    All,
    Among,
    And,
    Call,
    Compare,
    Contains,
    Exists,
    Field,
    Holds,
    Like,
    Literal,
    Member,
    Not,
    Or,
    Truth,
)

Document = Mapping[str, Any]
"""``id``, ``title``, and ``metadata``."""


def says(condition: Any, document: Document) -> bool | None:
    """True, False, or ``None`` where nobody can say."""
    match condition:
        case All():
            return True
        case And(some):
            found = [says(one, document) for one in some]
            return False if False in found else None if None in found else True
        case Or(some):
            found = [says(one, document) for one in some]
            return True if True in found else None if None in found else False
        case Not(one):
            inner = says(one, document)
            return None if inner is None else not inner
        case Holds(one):
            return says(one, document) is True
        case Exists(operand):
            return value_of(operand, document) is not None
        case Compare(sign, left, right):
            return compared(sign, value_of(left, document), value_of(right, document), asks(right))
        case Among(operand, values):
            value = value_of(operand, document)
            return None if value is None else any(equal(value, one) for one in values)
        case Truth(operand):
            value = value_of(operand, document)
            if isinstance(value, str):
                value = truth(value)
            return bool(value) if isinstance(value, int | float) else None
        case Like(operand, pattern, escape):
            value = value_of(operand, document)
            if value is None:
                return None
            return isinstance(value, str) and like(value, pattern, escape)
        case Member(operand, wanted):
            value = value_of(operand, document)
            if isinstance(value, list):
                return holds(value, wanted)
            return compared("=", value, wanted, asks(Literal(wanted)))
        case Contains(operand, wanted):
            value = value_of(operand, document)
            if value is None:
                return None
            if isinstance(value, list):
                return holds(value, wanted)
            return isinstance(value, str) and isinstance(wanted, str) and wanted in value
    raise AssertionError(condition)


def value_of(operand: Any, document: Document) -> Any:
    match operand:
        case Literal(value):
            return value
        case Field(parts, exact):
            if parts in (("id",), ("title",)):
                return document[parts[0]]
            found = inside(document["metadata"], parts)
            if found in (MISSING, None) and len(parts) > 1 and not exact:
                found = inside(document["metadata"], (".".join(parts),))
            return None if found is MISSING else found
        case Call(name, arguments):
            return called(name, [value_of(one, document) for one in arguments])
    raise AssertionError(operand)


MISSING = object()


def inside(value: Any, parts: tuple[str, ...]) -> Any:
    for part in parts:
        if not isinstance(value, dict) or part not in value:
            return MISSING
        value = value[part]
    return value


def number(value: Any, words: bool = False) -> int | float | None:
    """A number, or what is written as one."""
    if isinstance(value, int | float):
        return value
    if not isinstance(value, str):
        return None
    plain = value.strip(" \t\r\n")
    if words and plain.lower() in ("true", "false"):
        return int(plain.lower() == "true")
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", plain, re.ASCII):
        return None
    try:
        return int(plain)
    except ValueError:
        return float(plain)


def truth(value: Any) -> int | float | None:
    return number(value, words=True)


def asks(operand: Any) -> bool:
    """Whether a boolean was written, which a word for one equals too."""
    return isinstance(operand, Literal) and isinstance(operand.value, bool)


def holds(some: list[Any], wanted: Any) -> bool:
    return any(equal(one, wanted, asks(Literal(wanted))) for one in some if one is not None)


def equal(left: Any, right: Any, words: bool = False) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return left == right
    numbers = number(left, words), number(right, words)
    return None not in numbers and numbers[0] == numbers[1]


def compared(sign: str, left: Any, right: Any, words: bool) -> bool | None:
    if left is None or right is None:
        return None
    if sign == "=":
        return equal(left, right, words)
    if sign == "!=":
        return not equal(left, right, words)
    if not (isinstance(left, str) and isinstance(right, str)):
        left, right = number(left, words), number(right, words)
        if left is None or right is None:
            return None
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[sign]


def like(value: str, pattern: str, escape: str | None) -> bool:
    expression, escaped = "", False
    for one in pattern:
        if escaped:
            expression += re.escape(one)
            escaped = False
        elif one == escape:
            escaped = True
        else:
            expression += {"%": ".*", "_": "."}.get(one, re.escape(one))
    if escaped:
        return False
    lowered = "".join(one.lower() if one.isascii() else one for one in value)
    expression = "".join(one.lower() if one.isascii() else one for one in expression)
    return re.fullmatch(expression, lowered, re.DOTALL) is not None


def called(name: str, arguments: list[Any]) -> Any:
    scalars = [None if isinstance(one, list | dict) else one for one in arguments]
    if name == "coalesce":
        return next((one for one in scalars if one is not None), None)
    if name == "length" and isinstance(arguments[0], list):
        return len(arguments[0])
    first = scalars[0]
    if isinstance(first, bool):
        first = int(first)
    if first is None or None in scalars[1:]:
        return None
    if name == "abs":
        found = number(first)
        return None if found is None else abs(found)
    if not isinstance(first, str):
        return None
    return {"lower": str.lower, "upper": str.upper, "trim": str.strip, "length": len}[name](first)
