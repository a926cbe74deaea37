"""Values that a condition may compare with."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from qsearch.errors import QueryError
from qsearch.filters.conditions import Scalar

__all__ = ["MOST_VALUES", "checked_scalar", "checked_values"]

MOST_VALUES = 100_000
"""A list of values may have so many."""


def checked_scalar(value: Any, name: str) -> Scalar:
    """A value as a condition has it: dates and times are ISO texts, numbers of NumPy plain ones.

    Raises:
        QueryError: it is of no kind that metadata have.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise QueryError(f"the value of {name} is not valid Unicode text") from None
        return value
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(1 << 63) <= value < 1 << 63 else _as_float(value, name)
    if isinstance(value, float):
        if math.isnan(value) or math.isinf(value):
            raise QueryError(f"the value of {name} is {value}: too large, or none, for a number")
        return value
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
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise QueryError(f"{name} takes a list of values, found {type(values).__name__}")
    some = list(values)
    if len(some) > MOST_VALUES:
        raise QueryError(f"{name} has {len(some):,} values, at most {MOST_VALUES:,} are allowed")
    return tuple(checked_scalar(one, name) for one in some)
