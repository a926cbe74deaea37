"""What is told where a condition holds for no document, so that nobody takes silence for an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qsearch.cli.output import Console
    from qsearch.index import Index

__all__ = ["tell_no_document"]


def tell_no_document(
    console: Console,
    index: Index,
    where: Any,
    params: Mapping[str, Any] | None,
    missing_fields_ok: bool,
) -> None:
    """Say that the index is empty, or that the condition holds for no document, and what may be the reason.

    An answer may be empty for other reasons: no document has the words of the query.
    """
    if not len(index):
        console.note("the index holds no document")
        return
    if where is None or index.count(where, params=params, missing_fields_ok=missing_fields_ok):
        return
    from qsearch.filters import as_condition
    from qsearch.filters.advice import advice

    kinds = {one.name: one.kinds for one in index.fields}
    reasons = advice(as_condition(where, params), kinds)
    console.note("; ".join(["the condition holds for no document", *reasons]))
