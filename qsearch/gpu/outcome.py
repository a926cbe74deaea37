"""What a pass over the rows of a device found, and the best of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["OF_QUERIES", "Outcome", "Room", "better", "safe_rank", "together"]

_ALIGNED = 4
"""Numbers of 4 bytes."""

OF_QUERIES = "rows", "scores", "needed", "found", "scored"
"""What an outcome holds for each query."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one pass over rows found for q queries; on a device, or brought from it.

    Attributes:
        rows: (q, k) int32 device rows, best first; −1 behind the last.
        scores: (q, k) float32; −inf behind the last.
        needed: (q,) float32: rows that cannot reach it were left out.
        found: (q,) int32, how many the scan left, which may be more than there were places.
        scored: (q,) int32, how many were scored, likewise.
        damaged: (1,) int32, how many rows were not finite.
        places: for what the scan left, of each query: a number, or (q,) numbers.
        room: for what was scored, likewise.
    """

    rows: Any
    scores: Any
    needed: Any
    found: Any
    scored: Any
    damaged: Any
    places: Any
    room: Any


class Room:
    """Where a pass puts its outcome on a device: all in one piece, which is brought from there at once.

    Attributes:
        packed: (n,) int32: the parts one behind the other, each from a multiple of 16 bytes on, because
            Triton compiles other kernels for what is not.
        outcome: its parts.
    """

    def __init__(self, count: int, k: int, places: int, room: int, device: Any) -> None:
        """Make it, with counts of 0.

        Args:
            count: of queries.
            k: rows wanted.
            places: see ``Outcome``.
            room: likewise.
            device: as torch names it.
        """
        import torch

        self._shape, self._limits = (count, k), (places, room)
        self._starts = [0]
        for size in (count * k, count * k, count, count, count, 1):
            self._starts.append(self._starts[-1] + -(-size // _ALIGNED) * _ALIGNED)
        self.packed = torch.zeros(self._starts[-1], dtype=torch.int32, device=device)
        self.outcome = self._parts(self.packed, torch.float32)

    def brought(self, packed: NDArray[np.int32] | None = None) -> Outcome:
        """The outcome in NumPy's arrays.

        Args:
            packed: what was copied to the CPU's memory already; ``None``: it is waited for.
        """
        if packed is None:
            packed = self.packed.cpu().numpy()
        return self._parts(packed, np.float32)

    def _parts(self, packed: Any, floats: Any) -> Outcome:
        """Of an array of NumPy or a tensor of torch, with the type of scores there."""
        count, k = self._shape
        rows, scores, needed, found, scored, damaged, _ = self._starts
        return Outcome(
            packed[rows : rows + count * k].reshape(count, k),
            packed[scores : scores + count * k].view(floats).reshape(count, k),
            packed[needed : needed + count].view(floats),
            packed[found : found + count],
            packed[scored : scored + count],
            packed[damaged : damaged + 1],
            *self._limits,
        )


def better(left: Outcome, right: Outcome, k: int) -> Outcome:
    """The best of two passes over different rows."""
    rows = np.concatenate([left.rows, right.rows], axis=1)
    scores = np.concatenate([left.scores, right.scores], axis=1)
    order = np.lexsort((np.where(rows < 0, np.iinfo(np.int64).max, rows), -scores), axis=1)[:, :k]
    return Outcome(
        np.take_along_axis(rows, order, axis=1),
        np.take_along_axis(scores, order, axis=1),
        right.needed,
        left.found + right.found,
        left.scored + right.scored,
        left.damaged + right.damaged,
        left.places,
        left.room,
    )


def together(parts: Sequence[tuple[NDArray[np.intp], Outcome]], count: int) -> Outcome:
    """One outcome of passes for different queries, each of which had as many places as its pass.

    Args:
        parts: which of the queries, and what was found for them.
        count: of all queries.
    """
    first = parts[0][1]
    whole = {}
    for name in (*OF_QUERIES, "places", "room"):
        shape = np.shape(getattr(first, name))[1:]
        whole[name] = np.empty((count, *shape), dtype=np.asarray(getattr(first, name)).dtype)
        for which, one in parts:
            whole[name][which] = getattr(one, name)
    return replace(first, **whole)


@lru_cache(1024)
def safe_rank(k: int, share: float) -> int:
    """After a share of all rows, the rank whose score the k-th best of all hardly ever falls below.

    The least j for which at least j of k − 1 rows are in the share with a probability below 1 in 2,000.
    """
    if share >= 1.0:
        return k
    p, tail, chance = max(share, 1e-12), 1.0, 0.0
    for rank in range(k):
        if tail <= 0.0005 and rank:
            return rank
        chance = math.exp(
            math.lgamma(k) - math.lgamma(rank + 1) - math.lgamma(k - rank)
            + rank * math.log(p) + (k - 1 - rank) * math.log1p(-p)
        )  # fmt: skip
        tail -= chance
    return k
