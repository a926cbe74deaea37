"""The rows that may be in an answer.

Every way of retrieval leaves the others out while it searches, so that an answer is the answer over the
rows that are allowed, with as many of them as were asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qsearch.kernels import RowMask
from qsearch.store import Segment

__all__ = ["Allowed"]


@dataclass(frozen=True, slots=True)
class Allowed:
    """A mask for each segment.

    Attributes:
        masks: in the order of the segments; ``None`` where all rows are allowed.
        counts: how many rows are, in each.
    """

    masks: tuple[RowMask | None, ...]
    counts: tuple[int, ...]

    @classmethod
    def living(cls, segments: Sequence[Segment]) -> Allowed:
        """All rows but those of documents that were deleted."""
        return cls._of(segments, [segment.living for segment in segments])

    @classmethod
    def _of(cls, segments: Sequence[Segment], masks: Sequence[RowMask | None]) -> Allowed:
        return cls(
            tuple(masks),
            tuple(
                segment.rows if mask is None else mask.allowed
                for segment, mask in zip(segments, masks, strict=True)
            ),
        )

    @property
    def rows(self) -> int:
        """How many rows are allowed."""
        return sum(self.counts)

    def only(self, wanted: Sequence[bool]) -> Allowed:
        """The same for the segments that are wanted, and nothing of the others."""
        return Allowed(
            self.masks,
            tuple(count if here else 0 for count, here in zip(self.counts, wanted, strict=True)),
        )

    def of(self, wanted: Sequence[bool]) -> Allowed:
        """Of the segments that are wanted alone."""
        return Allowed(
            tuple(mask for mask, here in zip(self.masks, wanted, strict=True) if here),
            tuple(count for count, here in zip(self.counts, wanted, strict=True) if here),
        )
