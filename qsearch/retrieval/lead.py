"""How sure the codes were of a query: what tells a query that they serve well from one that they do not.

Binary codes choose candidates, int8 codes say which of these are the best. Where the signs of a query say
much about its neighbours, the best stand at the very front of the candidates, and next to none can stand
behind the last. Where they say little, as for a query that is unlike all documents, the best are spread
over all candidates, and as many are likely to be missing. This can be seen in every single search, with no
more than the search has looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["leads"]


def leads(
    scores: NDArray[np.float32],
    places: NDArray[np.int64],
    grid: Sequence[int],
    depths: Sequence[int],
) -> NDArray[np.float64]:
    """Mean of ln(candidates / rank) over the best candidates, rank being that by binary codes.

    It is 1 where the best stand anywhere among the candidates (the mean of −ln U for U uniform in 0 to
    1), and ln(candidates) at most. Of equal scores the first counts, as everywhere: what is measured about
    leads holds for those that a search finds only if both break ties alike.

    Args:
        scores: (q, c) float32 by int8 codes; −inf for what does not count.
        places: (c,) places by binary codes, from 0, of each segment.
        grid: numbers of candidates of each segment; c is of the largest.
        depths: how many of the best to look at; all, where there are fewer.

    Returns:
        (depths, grid, q) float64.
    """
    found = np.empty((len(depths), len(grid), len(scores)))
    # Best first: the score as an integer of the same order (0 and −0 are equal), then the number.
    bits = (scores + np.float32(0)).view(np.int32)
    rising = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64)
    keys = (-rising << 32) | np.arange(scores.shape[1])
    for number, candidates in enumerate(grid):
        some = keys[:, places < candidates]
        ends = [min(depth, some.shape[1]) for depth in depths]
        best = np.partition(some, sorted({end - 1 for end in ends}), axis=1)[:, : max(ends)]
        ahead = np.log(candidates / (places[best & 0xFFFFFFFF] + 0.5))
        found[:, number] = [ahead[:, :end].mean(axis=1) for end in ends]
    return found
