"""What a sample says about the mean over further queries, with a confidence."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["LowerBounds"]

_JUDGED_QUERIES = 100
"""A recall that was asked for is to be reached by the mean over so many queries, not only by the mean
over all that there may ever be."""

_UNSEEN_LOSS = 2
"""Neighbours that a query may lose which the sample has not shown."""

_DRAWS = 4000


class LowerBounds:
    """Lower bounds of means, by draws that are made once for each size of a sample."""

    def __init__(self) -> None:
        self._drawn: dict[int, NDArray[np.float32]] = {}

    def lows(self, recalls: NDArray[np.float64], k: int, confidence: float) -> NDArray[np.float64]:
        """What the mean recall of ``_JUDGED_QUERIES`` further queries reaches with a confidence.

        The quantile of a Bayesian bootstrap (Rubin, The Bayesian bootstrap, Annals of Statistics 9,
        1981): shares of the losses are drawn from a Dirichlet distribution over the sample, then so many
        queries with these shares. A query that loses more than any in the sample, or ``_UNSEEN_LOSS``
        neighbours, is counted as if it had been seen once: a sample without losses has seen only its
        own queries. No normal distribution: losses are rare and come several at once.

        Neighbours are counted in whole numbers, so that sums are exact, and quantiles quick to find.

        Args:
            recalls: (q, m) float64: recall of each query of a sample, in m cases: shares of k neighbours.
                Cases beside each other that are the same are looked at once.
            k: neighbours of each.
            confidence: between 0 and 1.

        Returns:
            (m,) float64.
        """
        lost = np.rint((1.0 - recalls) * k).astype(np.float32)
        unseen = np.maximum(lost.max(axis=0, initial=0.0), min(k, _UNSEEN_LOSS))
        every = np.concatenate([lost, unseen[None]])
        other = np.ones(every.shape[1], dtype=np.bool_)
        other[1:] = (every[:, 1:] != every[:, :-1]).any(axis=0)
        every = every[:, other]
        lossy = every.any(axis=1)  # of a good way few queries lose anything
        sums = every[lossy].T @ self._draws(len(recalls))[lossy]
        most = _JUDGED_QUERIES * k
        whole = sums.astype(np.int16 if most < 1 << 15 else np.int32)
        at = math.ceil(confidence * (_DRAWS - 1))
        lows = 1.0 - np.partition(whole, at, axis=1)[:, at] / most
        return np.asarray(lows[other.cumsum() - 1])

    def _draws(self, count: int) -> NDArray[np.float32]:
        """How often each query of a sample, and the one not seen, is drawn: (count + 1, draws)."""
        if count not in self._drawn:
            generator = np.random.default_rng(0)
            shares = generator.dirichlet(np.ones(count + 1), size=_DRAWS)
            drawn = generator.multinomial(_JUDGED_QUERIES, shares)
            self._drawn[count] = np.ascontiguousarray(drawn.T, dtype=np.float32)
        return self._drawn[count]
