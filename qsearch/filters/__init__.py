"""Filters: conditions on metadata, as SQL's words or as a mapping, become one typed tree.

What a document's values are, and which rows are its, is for others to know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qsearch.errors import QueryError
from qsearch.filters.conditions import Condition, Field
from qsearch.filters.operators import OPERATORS, from_mapping
from qsearch.filters.sql import parsed, parsed_field

__all__ = ["OPERATORS", "Condition", "Where", "as_condition", "as_field"]

Where = str | Mapping[str, Any]
"""A condition as it is given."""


def as_condition(where: Where, params: Mapping[str, Any] | None = None) -> Condition:
    """The tree of a condition.

    Args:
        where: SQL's words (``filters/sql.py`` has the grammar), or a mapping (``OPERATORS``).
        params: values of the ``:names`` in a text.

    Raises:
        QueryError: it is no condition; the message says what is allowed.

    Examples:
        >>> as_condition("year >= 2020") == as_condition({"year": {"$gte": 2020}})
        True
        >>> as_condition("lang IN :some", {"some": ["en", "de"]}) == as_condition(
        ...     {"lang": {"$in": ["en", "de"]}}
        ... )
        True
    """
    if isinstance(where, str):
        if params is not None and not isinstance(params, Mapping):
            raise QueryError(
                f"parameters are a mapping of names to values, found {type(params).__name__}"
            )
        return parsed(where, params)
    if isinstance(where, Mapping):
        if params:
            raise QueryError(
                "parameters go with a condition in SQL's words; a mapping has its values in it"
            )
        return from_mapping(where)
    raise QueryError(f"a condition is a text or a mapping, found {type(where).__name__}")


def as_field(name: str) -> Field:
    """The field of a name, as conditions have it.

    Raises:
        QueryError: it is no name.
    """
    return parsed_field(name)
