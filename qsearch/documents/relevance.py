"""A relevance, wherever it comes from."""

from __future__ import annotations

__all__ = ["relevance_of"]

_MOST_RELEVANT = 1_000_000


def relevance_of(value: object) -> int | None:
    """A number as a relevance; ``None``: it is no whole number, or beyond a million.

    trec_eval counts how many documents have each relevance up to the highest: it takes memory for a table
    as long as that, and of numbers that no int holds it makes others.

    Examples:
        >>> relevance_of(2.0), relevance_of(-1), relevance_of(0.5), relevance_of(10**9)
        (2, -1, None, None)
    """
    if isinstance(value, bool | str):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number is refused
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if abs(number) <= _MOST_RELEVANT and number.is_integer() else None
