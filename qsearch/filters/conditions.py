"""The tree that a filter is, whatever it was written in.

Truth has three values, as in SQL: what is said of a value that is missing is neither true nor false, and a
document is allowed only where the whole is true. Values compare as docs/filters.md says: numbers with
numbers, texts with texts by their code points, a text that is written as a number with numbers as that
number; values of other kinds are different from each other, and neither is before the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal as OneOf

__all__ = [
    "FUNCTIONS",
    "MOST_DEPTH",
    "RESERVED",
    "All",
    "Among",
    "And",
    "Call",
    "Compare",
    "Comparison",
    "Condition",
    "Contains",
    "Exists",
    "Field",
    "Holds",
    "Like",
    "Literal",
    "Member",
    "Not",
    "Operand",
    "Or",
    "Scalar",
    "Truth",
    "fields_of",
    "number_of",
    "spelled",
]

Scalar = bool | int | float | str
"""A value that fields are compared with."""

Comparison = OneOf["=", "!=", "<", "<=", ">", ">="]

FUNCTIONS = {
    "abs": (1, 1),
    "coalesce": (2, 20),
    "length": (1, 1),
    "lower": (1, 1),
    "round": (1, 2),
    "substr": (2, 3),
    "trim": (1, 1),
    "upper": (1, 1),
}
"""Functions of a condition, and the least and the largest number of their arguments."""

RESERVED = frozenset(
    {"and", "or", "not", "in", "is", "null", "true", "false", "between", "like", "escape", "glob"}
    | {
        "regexp",
        "match",
        "exists",
        "select",
        "from",
        "where",
        "union",
        "case",
        "when",
        "then",
        "else",
    }
    | {"end", "cast", "collate", "isnull", "notnull", "distinct"}
)
"""Words that name a field only in double quotes."""

MOST_DEPTH = 50
"""So deep a condition may be nested."""

_PLAIN = re.compile(r"[^\W\d]\w*", re.ASCII)
_NUMBER = re.compile(r"[ \t\n\r]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t\n\r]*")


@dataclass(frozen=True, slots=True)
class Field:
    """A value of the document.

    Attributes:
        parts: its name, and those of the objects that it is in, from the outermost.
        exact: whether a name with dots in it was quoted, and so is one name.
    """

    parts: tuple[str, ...]
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that was written, or given."""

    value: Scalar


@dataclass(frozen=True, slots=True)
class Call:
    """A function of ``FUNCTIONS``."""

    name: str
    arguments: tuple[Operand, ...]


Operand = Field | Literal | Call


@dataclass(frozen=True, slots=True)
class All:
    """True of every document."""


@dataclass(frozen=True, slots=True)
class Compare:
    """``left operator right``."""

    operator: Comparison
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class Among:
    """The operand equals one of some values."""

    operand: Operand
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Like:
    """A text is like a pattern: ``%`` for anything, ``_`` for a character; ASCII letters in any case."""

    operand: Operand
    pattern: str
    escape: str | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """A list holds the value; of what is no list: it equals it."""

    operand: Operand
    value: Scalar


@dataclass(frozen=True, slots=True)
class Contains:
    """A list holds the value, or a text holds it as a part."""

    operand: Operand
    value: Scalar


@dataclass(frozen=True, slots=True)
class Exists:
    """There is a value, and it is not null. Never unknown."""

    operand: Operand


@dataclass(frozen=True, slots=True)
class Truth:
    """The value itself is true: a number other than 0. Of a text, list or object it is unknown."""

    operand: Operand


@dataclass(frozen=True, slots=True)
class Not:
    """False where it is true, true where it is false; else unknown."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class Holds:
    """True where it is true, else false: never unknown."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class And:
    """All of them."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of them at least."""

    conditions: tuple[Condition, ...]


Condition = (
    All | Compare | Among | Like | Member | Contains | Exists | Truth | Not | Holds | And | Or
)


def fields_of(node: Condition | Operand) -> Iterator[Field]:
    """Every field that a condition speaks of, in order, with repetitions."""
    if isinstance(node, Field):
        yield node
        return
    for one in fields(node):
        value = getattr(node, one.name)
        for inner in value if isinstance(value, tuple) else (value,):
            if isinstance(inner, Condition | Operand):
                yield from fields_of(inner)


def spelled(parts: tuple[str, ...]) -> str:
    """The name of a field as a condition has it: quoted where it must be."""
    return ".".join(
        one
        if _PLAIN.fullmatch(one) and one.lower() not in RESERVED
        else '"' + one.replace('"', '""') + '"'
        for one in parts
    )


def number_of(text: str) -> int | float | None:
    """The number that a text is written as; ``None``: none.

    Decimal digits of ASCII with sign, point and exponent, and white space around; no ``inf``, no ``0x``.
    What does not fit 64 bits is a float, as SQLite has it.
    """
    if len(text) > 400 or _NUMBER.fullmatch(text) is None:
        return None
    try:
        whole = int(text)
    except ValueError:
        return float(text)
    return whole if -(1 << 63) <= whole < 1 << 63 else float(whole)
