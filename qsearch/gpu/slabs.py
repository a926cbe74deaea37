"""Which rows lie on which device, or come there together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qsearch.errors import QueryError
from qsearch.gpu.rows import TILE, Chosen, DeviceRows, bytes_of_rows
from qsearch.gpu.search import DeviceSearch
from qsearch.kernels import RowMask, allowed_rows
from qsearch.retrieval.allowed import Allowed
from qsearch.store import Segment

if TYPE_CHECKING:
    import torch

__all__ = ["Slab", "slabs_of"]

_LEAST_ROWS = 1 << 16
"""Where a device holds fewer rows of a larger index at a time, a search would do nothing but load."""

_KEPT = 8
"""Filters whose rows stay marked on a device: those that were asked for lately."""


@dataclass(slots=True, eq=False)
class Slab:
    """Rows that lie on a device together: pieces of segments.

    Attributes:
        device: where.
        pieces: number of the segment, first row, row behind the last.
        segments: these pieces.
        search: of these rows, on the device; ``None``: they are brought there for every search.
        living: how many of them were not deleted.
    """

    device: torch.device
    pieces: list[tuple[int, int, int]]
    segments: list[Segment]
    search: DeviceSearch | None = None
    living: int = field(init=False)
    _marked: OrderedDict[int, tuple[Allowed, Chosen]] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self.living = sum(allowed_rows(one.rows, one.living) for one in self.segments)

    def allowed(self, allowed: Allowed) -> int:
        """How many of the rows are allowed."""
        kept = self._marked.get(id(allowed))
        if kept is not None:
            return kept[1].rows
        return sum(
            allowed_rows(one.rows, mask)
            for one, mask in zip(self.segments, self._masks(allowed), strict=True)
        )

    def chosen(self, rows: DeviceRows, allowed: Allowed) -> Chosen:
        """Mark the rows that are allowed, on the device.

        Args:
            rows: of this slab.
            allowed: of all segments of the index.
        """
        if self.search is None or self.search.rows is not rows:
            return rows.chosen(self._masks(allowed))
        kept = self._marked.get(id(allowed))
        if kept is None:  # what is kept stays, and nothing else has its id
            kept = self._marked[id(allowed)] = allowed, rows.chosen(self._masks(allowed))
            if len(self._marked) > _KEPT:
                self._marked.popitem(last=False)
        self._marked.move_to_end(id(allowed))
        return kept[1]

    def _masks(self, allowed: Allowed) -> list[RowMask | None]:
        every = []
        for number, first, last in self.pieces:
            mask = allowed.masks[number]
            every.append(None if mask is None else mask.piece(first, last))
        return every


def slabs_of(
    segments: Sequence[tuple[int, Segment]],
    devices: Sequence[torch.device],
    budgets: Sequence[int],
    *,
    whole: bool,
) -> list[Slab]:
    """Rows in document order, as many together as a device holds, or as are its part.

    Args:
        segments: with their numbers in the index.
        devices: each holds a part.
        budgets: bytes that each may take.
        whole: whether all of them together hold all rows.

    Raises:
        QueryError: a device holds so little that there is no use in it.
    """
    if not whole:
        of_row = max((bytes_of_rows(one) / one.rows for _, one in segments), default=0.0)
        rows = sum(one.rows for _, one in segments)
        least = min(budgets) / max(of_row, 1.0)
        if least < min(_LEAST_ROWS, rows):
            name = devices[min(range(len(budgets)), key=lambda place: budgets[place])]
            raise QueryError(
                f"the memory of {name} that is free holds {int(least):,} rows at a time"
            )
    return list(_cut(segments, devices, budgets, whole))


def _cut(
    segments: Sequence[tuple[int, Segment]],
    devices: Sequence[torch.device],
    budgets: Sequence[int],
    whole: bool,
) -> Iterator[Slab]:
    needed = sum(bytes_of_rows(one) for _, one in segments)
    number = 0
    room = _part(needed, budgets, 0, whole)
    pieces: list[tuple[int, int, int]] = []
    some: list[Segment] = []
    for place, segment in segments:
        each = bytes_of_rows(segment) / segment.rows
        first = 0
        while first < segment.rows:
            if pieces and room < TILE * each:
                yield Slab(devices[number % len(devices)], pieces, some)
                number += 1
                room, pieces, some = _part(needed, budgets, number, whole), [], []
            last = segment.rows
            if (last - first) * each > room:
                last = first + max(TILE, int(room / each) // TILE * TILE)
            last = min(last, segment.rows)
            pieces.append((place, first, last))
            some.append(segment.piece(first, last))
            room -= (last - first) * each
            first = last
    if pieces:
        yield Slab(devices[number % len(devices)], pieces, some)


def _part(needed: int, budgets: Sequence[int], number: int, whole: bool) -> float:
    """Bytes of the slab of a number: a part of all, or what a device holds; the last takes the rest."""
    if not whole:
        return budgets[number % len(budgets)]
    if number >= len(budgets) - 1:
        return float("inf")
    return needed * budgets[number] / sum(budgets)
