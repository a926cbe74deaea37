"""Row masks: which rows of a segment are allowed in an answer.

A row is not allowed where its document was deleted, or a filter does not hold for it. Kernels leave such
rows out while they search, so that what they return is the answer over the rows that are allowed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qsearch.lazily import cached_property

__all__ = ["RowMask"]

_BLOCK = 16
"""Rows that a mask is padded to: the largest block of any codes."""


def allowed_rows(rows: int, mask: RowMask | None) -> int:
    """How many of so many rows are allowed; ``None``: all."""
    return rows if mask is None else mask.allowed


@dataclass(frozen=True, eq=False)
class RowMask:
    """A bit for each row of a segment.

    Attributes:
        bits: (2 ⌈n/16⌉,) uint8: row r is allowed where bit r mod 8 of byte ⌊r/8⌋ is set; no bit behind the
            last row is.
        rows: n.
    """

    bits: NDArray[np.uint8]
    rows: int

    @staticmethod
    def of(allowed: NDArray[np.bool_]) -> RowMask:
        """A mask of (n,) bool."""
        packed = np.zeros(-(-len(allowed) // _BLOCK) * _BLOCK // 8, dtype=np.uint8)
        some = np.packbits(allowed, bitorder="little")
        packed[: len(some)] = some
        return RowMask(packed, len(allowed))

    @cached_property
    def allowed(self) -> int:
        """How many rows are."""
        return int(np.bitwise_count(self.bits).sum(dtype=np.int64))

    @cached_property
    def blocks(self) -> int:
        """How many blocks of sixteen rows hold one that is allowed."""
        return int(np.count_nonzero(self.bits.view(np.uint16)))

    @property
    def scanned(self) -> int:
        """How many rows these blocks have."""
        return _BLOCK * self.blocks

    def to_bools(self, first: int = 0, last: int | None = None) -> NDArray[np.bool_]:
        """Rows ``first`` (a multiple of 8) to ``last``, as (last − first,) bool."""
        last = self.rows if last is None else last
        some = self.bits[first // 8 : -(-last // 8)]
        return np.unpackbits(some, bitorder="little", count=last - first).view(np.bool_)

    def piece(self, first: int, last: int) -> RowMask:
        """Rows ``first`` to ``last``, not copied: multiples of 16, or the end."""
        return RowMask(self.bits[first // 8 : -(-last // _BLOCK) * _BLOCK // 8], last - first)

    def indices(self) -> NDArray[np.int64]:
        """The rows that are allowed, in rising order."""
        return np.flatnonzero(self.to_bools())

    def __and__(self, other: RowMask) -> RowMask:
        """The rows that both allow."""
        if self.rows != other.rows:
            raise ValueError(f"masks are of {self.rows} and of {other.rows} rows")
        return RowMask(self.bits & other.bits, self.rows)
