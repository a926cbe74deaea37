"""Values that a condition may compare with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np

from qsearch.documents.values import plain
from qsearch.errors import QueryError
from qsearch.filters.conditions import Scalar

__all__ = ["MOST_VALUES", "checked_scalar", "checked_values"]

MOST_VALUES = 100_000
"""A list of values may have so many."""


def checked_scalar(value: Any, name: str) -> Scalar:
    """A value as a condition has it, and as metadata have it: dates and times are texts, NaT is missing.

    Values of classes that derive from the plain ones become plain: how these show themselves, and what
    they say they equal, counts nowhere.

    Raises:
        QueryError: it is of no kind that metadata have.
    """
    if isinstance(value, float | np.floating) and not math.isfinite(value):
        raise QueryError(f"the value of {name} is {value}: too large, or none, for a number")
    if not isinstance(value, np.ndarray):
        value = plain(value)
    if isinstance(value, str):
        text = str.__str__(value)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise QueryError(f"the value of {name} is not valid Unicode text") from None
        return text
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        whole = int.__index__(value)
        return whole if -(1 << 63) <= whole < 1 << 63 else _as_float(whole, name)
    if isinstance(value, float):
        return float.__float__(value)
    if value is None:
        raise QueryError(
            f"the value of {name} is None: whether a field is missing is asked by IS NULL in a text, "
            'and by {"$exists": false} in a mapping'
        )
    raise QueryError(
        f"the value of {name} must be a text, a number, a boolean or a date, found {type(value).__name__}"
    )


def _as_float(value: int, name: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise QueryError(f"the value of {name} is too large for a number") from None


def checked_values(values: Any, name: str = "IN") -> tuple[Scalar, ...]:
    """The same of a list of values.

    Raises:
        QueryError: it is no list, too long, or a value is none.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise QueryError(f"{name} takes a list of values, found {type(values).__name__}")
    some = list(islice(values, MOST_VALUES + 1))
    if len(some) > MOST_VALUES:
        raise QueryError(f"{name} has too many values, at most {MOST_VALUES:,} are allowed")
    return tuple(checked_scalar(one, name) for one in some)
