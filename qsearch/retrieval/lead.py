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

__all__ = ["lead", "leads"]


def lead(
    scores: NDArray[np.float32], places: NDArray[np.int64], candidates: int, depth: int
) -> NDArray[np.float64]:
    """Mean of ln(candidates / rank) over the best candidates, rank being that by binary codes.

    It is 1 where the best stand anywhere among the candidates (the mean of −ln U for U uniform in 0 to
    1), and ln(candidates) at most.

    Args:
        scores: (q, c) float32 by int8 codes; −inf for what does not count.
        places: (c,) places by binary codes, from 0, of each segment.
        candidates: of each segment.
        depth: how many of the best to look at; all, where there are fewer.

    Returns:
        (q,) float64.
    """
    found: NDArray[np.float64] = leads(scores, places, candidates, [depth])[0]
    return found


def leads(
    scores: NDArray[np.float32],
    places: NDArray[np.int64],
    candidates: int,
    depths: Sequence[int],
) -> NDArray[np.float64]:
    """The ``lead`` at several depths: (depths, q) float64.

    Args:
        scores: as there.
        places: as there.
        candidates: as there.
        depths: how many of the best to look at.
    """
    some = [min(depth, scores.shape[1]) for depth in depths]
    best = np.argpartition(-scores, sorted({depth - 1 for depth in some}), axis=1)[:, : max(some)]
    ahead = np.log(candidates / (places[best] + 0.5))
    return np.stack([ahead[:, :depth].mean(axis=1) for depth in some])
