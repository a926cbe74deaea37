"""What a pass over the rows of a device found, and the best of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qsearch.gpu.steps import Found

if TYPE_CHECKING:
    import torch

__all__ = ["Outcome", "better", "safe_rank", "top"]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one pass over rows found for q queries; on a device, or brought from it.

    Attributes:
        rows: (q, k) device rows, best first; −1 behind the last.
        scores: (q, k) float32; −inf behind the last.
        needed: (q,) float32: rows that cannot reach it were left out.
        found: (q,) how many the scan left, which may be more than there were places.
        scored: (q,) how many were scored, likewise.
        damaged: (1,) how many rows were not finite.
        places: that there were, for each query.
    """

    rows: Any
    scores: Any
    needed: Any
    found: Any
    scored: Any
    damaged: Any
    places: int

    def each(self) -> tuple[Any, ...]:
        """All arrays."""
        return self.rows, self.scores, self.needed, self.found, self.scored, self.damaged

    def brought(self) -> Outcome:
        """The same in NumPy's arrays. Waits for the device."""
        rows, scores, needed, found, scored, damaged = (one.cpu().numpy() for one in self.each())
        return Outcome(rows, scores, needed, found, scored, damaged, self.places)


def top(best: Found, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k best rows by score, equal ones by row: (q, k), filled up with −1 and −inf."""
    import torch

    places = best.rows.shape[1]
    there = torch.arange(places, device=best.rows.device) < best.counts[:, None]
    # As integers scores have the same order; 0 and −0 are equal.
    bits = (best.scores + 0.0).view(torch.int32)
    order = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()
    keys = torch.where(
        there, (order << 32) | (0xFFFFFFFF - best.rows.long()), torch.iinfo(torch.int64).min
    )
    chosen = keys.topk(min(k, places), dim=1).indices
    held = there.gather(1, chosen)
    rows = torch.where(held, best.rows.gather(1, chosen).long(), -1)
    scores = torch.where(held, best.scores.gather(1, chosen), -torch.inf)
    return rows, scores


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
    )


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
