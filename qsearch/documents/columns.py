"""What holds for the columns of every tabular format, and how much of a record is reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from qsearch.errors import CorpusError

__all__ = ["REPORTED_BYTES", "doubled_names", "shown", "unique_columns"]

REPORTED_BYTES = 65_536
"""How much of a very long record is kept for the report of what was left out."""


def unique_columns(name: str, columns: Sequence[str], number: int) -> list[str]:
    """Refuse a header that names a column twice: one of the two would be lost.

    Raises:
        CorpusError: it does, in the corpus ``name`` on line ``number``.
    """
    if doubled := doubled_names(columns):
        raise CorpusError(
            f"names a column twice: {', '.join(map(repr, doubled[:8]))}", path=name, line=number
        )
    return list(columns)


def doubled_names(names: Iterable[str]) -> list[str]:
    """Names that occur more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


def once_each(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Of a name that is there twice one value would be dropped in silence.

    Raises:
        ValueError: a name is there twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"{doubled_names(name for name, _ in pairs)[0]!r} is there twice")
    return found


def shown(record: object) -> bytes:
    """The record as Python shows it, or its beginning."""
    try:
        return repr(record)[:REPORTED_BYTES].encode("utf-8", "backslashreplace")
    except Exception:  # an integer of too many digits, deep nesting, a class of the user
        return b""
