"""Why a condition may hold for no document: fields compared with what their values never equal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

from qsearch.filters.conditions import (
    Among,
    Compare,
    Condition,
    Field,
    Like,
    Literal,
    Operand,
    Scalar,
    number_of,
    spelled,
)

__all__ = ["advice"]

Kinds = Mapping[str, Mapping[str, int]]
"""How many documents have a value of a kind, by the field's name, as conditions spell it."""


def advice(condition: Condition, kinds: Kinds) -> list[str]:
    """What is odd about comparisons of a condition, a sentence for each field.

    Args:
        condition: that held for no document.
        kinds: of the values that fields have.

    Examples:
        >>> from qsearch.filters import as_condition
        >>> advice(as_condition("tags = 'sea'"), {"tags": {"list": 3}})
        ["tags holds lists: 'value' IN tags asks for one of a list"]
        >>> advice(as_condition("year = 2020"), {"year": {"number": 3}})
        []
    """
    told: dict[str, str] = {}
    for operand, values in _compared(condition):
        if not isinstance(operand, Field):
            continue
        choices = (spelled(operand.parts), spelled((".".join(operand.parts),)))
        name = next((one for one in choices if one in kinds), None)
        if name is None:
            continue
        there = {kind for kind, documents in kinds[name].items() if documents}
        sentence = _odd(name, there, values, kinds) if len(there) == 1 else None
        if sentence is not None:
            told.setdefault(name, sentence)
    return list(told.values())


def _compared(node: object) -> Iterator[tuple[Operand, tuple[Scalar, ...]]]:
    """What is compared with which values, everywhere in a condition."""
    if isinstance(node, Compare) and isinstance(node.right, Literal):
        yield node.left, (node.right.value,)
    elif isinstance(node, Among):
        yield node.operand, node.values
    elif isinstance(node, Like):
        yield node.operand, (node.pattern,)
    elif is_dataclass(node):
        for one in fields(node):
            value = getattr(node, one.name)
            for inner in value if isinstance(value, tuple) else (value,):
                yield from _compared(inner)


def _odd(name: str, there: set[str], values: tuple[Scalar, ...], kinds: Kinds) -> str | None:
    (kind,) = there
    numbers = [one for one in values if isinstance(one, int | float) and not isinstance(one, bool)]
    texts = [one for one in values if isinstance(one, str)]
    if kind == "list":
        return f"{name} holds lists: 'value' IN {name} asks for one of a list"
    if kind == "object":
        inside = [one for one in kinds if one.startswith(f"{name}.")][:5]
        return f"{name} holds objects; compare what is in them" + (
            f": {', '.join(inside)}" if inside else ""
        )
    if kind == "text" and numbers:
        return (
            f"{name} holds texts: a number is compared only with those that are written as one (12.5, not "
            "12,5), and a date is a text in single quotes ('2026-01-31')"
        )
    if kind == "boolean" and texts:
        return f"{name} holds booleans: TRUE and FALSE stand without quotes"
    if kind == "number" and any(number_of(one) is None for one in texts):
        return f"{name} holds numbers, and was compared with a text"
    return None
