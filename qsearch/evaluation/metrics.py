"""Measures of a ranking."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["ndcg_at_k", "recall_at_k"]


def recall_at_k(found: NDArray[np.int64], truth: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Share of the exact top k that was found, for each query.

    Args:
        found: (q, at least k) positions, best first; −1 marks an empty place.
        truth: (q, at least k) positions of an exact search.
        k: how many to look at.

    Returns:
        (q,) float64.

    Examples:
        >>> recall_at_k(np.array([[3, 1, 9]]), np.array([[1, 2, 3]]), k=3)
        array([0.66666667])
    """
    hits = (found[:, :k, None] == truth[:, None, :k]).any(axis=1)
    return np.asarray(hits.sum(axis=1) / k, dtype=np.float64)


def ndcg_at_k(ranking: Sequence[str], judgements: Mapping[str, float], k: int) -> float:
    """Normalised discounted cumulative gain of one ranking, with linear gain.

    ``DCG = Σ rel_i / log2(i + 1)`` over ranks i = 1 … k, divided by the DCG of the best possible
    ranking (Järvelin and Kekäläinen, 2002; the ``ndcg_cut`` of trec_eval).

    Args:
        ranking: document ids, best first, without repetition.
        judgements: relevance by document id; documents that are not in it count 0.
        k: how many ranks to look at.

    Returns:
        0 to 1; 0 where no document is relevant.

    Examples:
        >>> ndcg_at_k(["b", "a"], {"a": 1.0}, k=10)
        0.6309297535714575
    """
    gains = [judgements.get(document, 0.0) for document in ranking[:k]]
    best = sorted((gain for gain in judgements.values() if gain > 0), reverse=True)[:k]
    ideal = _dcg(best)
    return _dcg(gains) / ideal if ideal > 0 else 0.0


def _dcg(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))
