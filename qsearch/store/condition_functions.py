"""Functions that conditions need, and SQLite has not, or has otherwise."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from qsearch.filters.conditions import number_of

__all__ = ["FUNCTION_NAMES", "add_functions"]

_LOWEST = -(1 << 63)


def _inner(metadata: str | None, names: str) -> str | None:
    """A value that SQLite's paths cannot say, as a JSON object with the one key ``v``.

    Args:
        metadata: of a document.
        names: of the field, as JSON; the first one of which the document has a value counts.
    """
    whole: Any = None if metadata is None else json.loads(metadata)
    for parts in json.loads(names):
        value = whole
        for part in parts:
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            return json.dumps({"v": value}, ensure_ascii=False)
    return None


def _text(source: str | None, parts: str, key: int | None = None) -> str | None:
    """The text at a place of some JSON, NUL and all; ``None``: there is none."""
    value: Any = None if source is None else json.loads(source)
    for part in [*json.loads(parts), *([] if key is None else [key])]:
        if isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None


def _like(text: str, pattern: str, escape: str | None = None) -> bool:
    """``LIKE`` where SQLite's would be wrong: to it NUL is the end, and some code points are one.

    Args:
        text: to look at.
        pattern: ``%`` for anything, ``_`` for a character; ASCII letters in any case.
        escape: the character before one that stands for itself.
    """
    pieces, each = [""], iter(pattern)
    for one in each:
        if one == escape:
            following = next(each, None)
            if following is None:
                return False
            pieces[-1] += re.escape(_lowered(following))
        elif one == "%":
            pieces.append("")
        else:
            pieces[-1] += "." if one == "_" else re.escape(_lowered(one))
    text, flags = _lowered(text), re.DOTALL
    begin, *middle = (re.compile(one, flags) for one in pieces)
    if not middle:
        return begin.fullmatch(text) is not None
    found = begin.match(text)
    # Each piece where it is found first, so that nothing is tried twice; the last one has to be the end.
    for looked_for in middle[:-1]:
        found = found and looked_for.search(text, found.end())
    if found is None:
        return False
    at_the_end = re.compile(rf"(?:{pieces[-1]})\Z", flags)
    return at_the_end.search(text, found.end()) is not None


def _lowered(text: str) -> str:
    return "".join(one.lower() if one.isascii() else one for one in text)


def _truth(text: str) -> int | float | None:
    """What a text says where a boolean is asked for."""
    plain = text.strip(" \t\r\n").lower()
    if plain in ("true", "false"):
        return int(plain == "true")
    return number_of(text)


def call(name: str, *arguments: Any) -> Any:
    """A function of a condition; ``None`` where it has no value.

    Args:
        name: of ``filters.conditions.FUNCTIONS``.
        arguments: texts, numbers, or ``None``.
    """
    if name == "coalesce":
        return next((one for one in arguments if one is not None), None)
    first, *more = arguments
    if first is None or any(one is None for one in more):
        return None
    return _CALLS[name](first, *more)


def _of_text(work: Callable[..., Any]) -> Callable[..., Any]:
    return lambda first, *more: work(first, *more) if isinstance(first, str) else None


def _abs(value: Any) -> Any:
    number = number_of(value) if isinstance(value, str) else value
    if number is None:
        return None
    return float(-number) if number == _LOWEST else abs(number)


def _round(value: Any, digits: Any = 0) -> Any:
    number = number_of(value) if isinstance(value, str) else value
    if number is None or not isinstance(digits, int | float):
        return None
    return number if isinstance(number, int) else round(number, int(max(0, min(digits, 30))))


def _substr(text: str, first: Any, length: Any = None) -> str | None:
    """From the first-th character on, from 1; negative numbers count from the end."""
    if not isinstance(first, int) or not isinstance(length, int | None):
        return None
    start = first - 1 if first > 0 else max(0, len(text) + first) if first < 0 else 0
    return text[start:] if length is None else text[start : start + max(0, length)]


_CALLS: Mapping[str, Callable[..., Any]] = {
    "abs": _abs,
    "length": _of_text(len),
    "lower": _of_text(str.lower),
    "round": _round,
    "substr": _of_text(_substr),
    "trim": _of_text(str.strip),
    "upper": _of_text(str.upper),
}

_NAMES = ("abs", "coalesce", "length", "lower", "round", "substr", "trim", "upper")

FUNCTION_NAMES = frozenset(
    {
        "qs_holds",
        "qs_inner",
        "qs_like",
        "qs_number",
        "qs_text",
        "qs_truth",
        "coalesce",
        "instr",
        "like",
        "typeof",
    }
    | {"json_array_length", "json_each", "json_extract", "json_type", "min"}
    | {f"qs_{name}" for name in _NAMES}
)
"""All functions that an expression may call."""

_LAST = "qs_truth"
"""The one that is made last: where it is there, all are."""


def add_functions(connection: sqlite3.Connection) -> None:
    """Have a connection know the functions of conditions.

    They are made once: SQLite refuses to make one anew while a statement is not at its end, and in a
    transaction that writes to an index of words some are not.
    """
    if _knows_functions(connection):
        return
    connection.create_function("qs_inner", 2, _inner, deterministic=True)
    connection.create_function("qs_text", -1, _text, deterministic=True)
    connection.create_function("qs_holds", 2, lambda text, part: part in text, deterministic=True)
    connection.create_function("qs_like", -1, _like, deterministic=True)
    connection.create_function("qs_number", 1, number_of, deterministic=True)
    for name in _NAMES:
        # A closure, because a function of SQLite is told its arguments only.
        def called(*arguments: Any, name: str = name) -> Any:
            return call(name, *arguments)

        connection.create_function(f"qs_{name}", -1, called, deterministic=True)
    connection.create_function(_LAST, 1, _truth, deterministic=True)


def _knows_functions(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute(f"SELECT {_LAST}('1')").fetchone()
    except sqlite3.OperationalError:  # there is no such function
        return False
    return True
