"""Two rankings become one.

The convex combination is that of Bruch, Gai and Ingber (An Analysis of Fusion Functions for Hybrid
Retrieval, TOIS 42 (2023) 20, https://arxiv.org/abs/2210.11934), with their theoretical minimum: a score is
put between the lowest that it could have, −1 for cosines and 0 for BM25, and the best one that was found.
Reciprocal ranks are those of Cormack, Clarke and Büttcher (SIGIR 2009).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["RECIPROCAL_K", "convex", "reciprocal_ranks"]

RECIPROCAL_K = 60


def convex(
    cosines: NDArray[np.float64], bm25: NDArray[np.float64], weight: float
) -> NDArray[np.float64]:
    """``weight · (cosine + 1) / (best cosine + 1) + (1 − weight) · bm25 / best bm25``, 0 to 1.

    Args:
        cosines: (n,) of documents.
        bm25: (n,) of the same ones.
        weight: of the cosines, 0 to 1.
    """
    by_meaning = _shares(cosines + 1.0)
    return weight * by_meaning + (1.0 - weight) * _shares(bm25)


def _shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    most = values.max(initial=0.0)
    return values / most if most > 0 else np.zeros(len(values))


def reciprocal_ranks(*ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Σ 1 / (60 + rank).

    Args:
        *ranks: (n,) each, from 1; 0 where a ranking does not have the document, which adds nothing.
    """
    total = np.zeros(len(ranks[0]))
    for one in ranks:
        total += np.where(one > 0, 1.0 / (RECIPROCAL_K + np.maximum(one, 1)), 0.0)
    return total
