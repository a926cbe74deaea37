"""The rows that may be in an answer.

Every way of retrieval leaves the others out while it searches, so that an answer is the answer over the
rows that are allowed, with as many of them as were asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qsearch.kernels import RowMask, allowed_rows
from qsearch.store import Segment

__all__ = ["Allowed"]


@dataclass(frozen=True, slots=True)
class Allowed:
    """A mask for each segment.

    Attributes:
        masks: in the order of the segments; ``None`` where all rows are allowed.
        counts: how many rows are, in each.
        documents: how many documents these rows are of, where a filter chose them; else ``None``.
    """

    masks: tuple[RowMask | None, ...]
    counts: tuple[int, ...]
    documents: int | None = None

    @classmethod
    def living(cls, segments: Sequence[Segment]) -> Allowed:
        """All rows but those of documents that were deleted."""
        return cls._of(segments, [segment.living for segment in segments])

    @property
    def scanned(self) -> int:
        """How many rows a scan reads: all of a block that holds one that is allowed."""
        return sum(
            count if mask is None else mask.scanned
            for mask, count in zip(self.masks, self.counts, strict=True)
        )

    @classmethod
    def of_documents(cls, segments: Sequence[Segment], chosen: NDArray[np.bool_]) -> Allowed:
        """The rows of documents that a filter chose, and that were not deleted.

        Args:
            segments: of the index.
            chosen: by position; documents behind the last are not chosen.
        """
        masks: list[RowMask] = []
        documents = 0
        for segment in segments:
            here = segment.of_positions(chosen)
            rows = here
            if segment.passages is not None:
                rows = here[segment.numbers_of(np.arange(segment.rows))]
            mask = RowMask.of(rows)
            if segment.living is not None:
                mask = mask & segment.living
            documents += mask.allowed
            if segment.passages is not None:
                owners = segment.passages[mask.indices(), 0]
                documents += int(np.count_nonzero(np.diff(owners, prepend=-1))) - mask.allowed
            masks.append(mask)
        return cls(tuple(masks), tuple(one.allowed for one in masks), documents)

    @classmethod
    def _of(cls, segments: Sequence[Segment], masks: Sequence[RowMask | None]) -> Allowed:
        return cls(
            tuple(masks),
            tuple(
                allowed_rows(segment.rows, mask)
                for segment, mask in zip(segments, masks, strict=True)
            ),
        )

    @property
    def rows(self) -> int:
        """How many rows are allowed."""
        return sum(self.counts)

    def of(self, wanted: Sequence[bool]) -> Allowed:
        """Of the segments that are wanted alone."""
        return Allowed(
            tuple(mask for mask, here in zip(self.masks, wanted, strict=True) if here),
            tuple(count for count, here in zip(self.counts, wanted, strict=True) if here),
        )
