"""Filters of an open index: which documents a condition holds for, and which rows a search may return.

A condition costs its mask once for each commit: those that were asked for lately are kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import QueryError
from qsearch.filters import Where, as_condition
from qsearch.filters.conditions import Condition
from qsearch.lazily import cached_property
from qsearch.locks import ProcessLock
from qsearch.retrieval.allowed import Allowed
from qsearch.store import Catalog, Segment
from qsearch.store.fields import KnownFields, known_fields
from qsearch.store.selecting import by_indexes, select

__all__ = ["Selections"]

_MOST_BYTES = 256 << 20
"""Of the conditions and masks that are kept; the last ones are kept however large they are."""


class Selections:
    """The filters of one snapshot. Safe to share between threads."""

    def __init__(self, catalog: Catalog, segments: Sequence[Segment], positions: int) -> None:
        """Take what an index holds.

        Args:
            catalog: of the commit.
            segments: of the commit, in document order.
            positions: documents have positions below this one.
        """
        self._catalog, self._segments, self._positions = catalog, list(segments), positions
        self._kept: OrderedDict[str, Allowed] = OrderedDict()
        self._bytes = 0
        self._lock = ProcessLock()

    @cached_property
    def fields(self) -> KnownFields:
        """The fields that documents have."""
        return known_fields(self._catalog)

    def asked(
        self, where: Where | None, params: Mapping[str, Any] | None, missing_fields_ok: bool
    ) -> Allowed | None:
        """The rows that a filter allows, see ``options.FilterOptions``; ``None``: there is none.

        Raises:
            QueryError: as ``allowed``, or there are parameters of no condition.
        """
        if where is not None:
            return self.allowed(where, params, missing_ok=missing_fields_ok)
        if params:
            raise QueryError("there are parameters, and no condition that they are of")
        return None

    def allowed(
        self, where: Where, params: Mapping[str, Any] | None, *, missing_ok: bool
    ) -> Allowed:
        """The rows of the documents that a condition holds for, and how many documents these are.

        Raises:
            QueryError: it is no condition, a field is not there, or it took too long.
            IndexFormatError: the catalog is damaged.
        """
        condition = as_condition(where, params)
        key = _key(condition, missing_ok)
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        chosen = select(
            self._catalog, self.fields, condition, self._positions, missing_ok=missing_ok
        )
        made = Allowed.of_documents(self._segments, chosen)
        with self._lock:
            if key not in self._kept:  # another thread may have been at it
                self._kept[key] = made
                self._bytes += _size(key, made)
            while len(self._kept) > 1 and self._bytes > _MOST_BYTES:
                self._bytes -= _size(*self._kept.popitem(last=False))
        return made

    def is_quick(self, where: Where, params: Mapping[str, Any] | None, *, missing_ok: bool) -> bool:
        """Whether the rows are known already, or indexes tell them.

        Raises:
            QueryError: as ``allowed``.
        """
        condition = as_condition(where, params)
        if _key(condition, missing_ok) in self._kept:
            return True
        return by_indexes(condition, self.fields, missing_ok=missing_ok)

    def positions(
        self, where: Where, params: Mapping[str, Any] | None, *, missing_ok: bool
    ) -> NDArray[np.int64]:
        """Positions of the documents that a condition holds for, rising.

        Raises:
            QsearchError: as ``allowed``.
        """
        allowed = self.allowed(where, params, missing_ok=missing_ok)
        found = [np.empty(0, dtype=np.int64)]
        for segment, mask in zip(self._segments, allowed.masks, strict=True):
            if mask is not None and mask.allowed:
                found.append(np.unique(segment.documents_of(mask.indices())))
        return np.concatenate(found)


def _key(condition: Condition, missing_ok: bool) -> str:
    return f"{missing_ok} {condition!r}"


def _size(key: str, made: Allowed) -> int:
    return len(key) + sum(mask.bits.nbytes for mask in made.masks if mask is not None)
