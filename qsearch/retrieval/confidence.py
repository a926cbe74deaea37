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

        Args:
            recalls: (q, m) float64: recall of each query of a sample, in m cases.
            k: neighbours of each.
            confidence: between 0 and 1.

        Returns:
            (m,) float64.
        """
        losses = 1.0 - recalls
        unseen = np.maximum(losses.max(axis=0, initial=0.0), min(1.0, _UNSEEN_LOSS / k))
        every = np.concatenate([losses, unseen[None]]).astype(np.float32)
        lossy = every.any(axis=1)  # of a good way few queries lose anything
        sums = every[lossy].T @ self._draws(len(recalls))[lossy]
        at = math.ceil(confidence * (_DRAWS - 1))
        return np.asarray(1.0 - np.partition(sums, at, axis=1)[:, at] / _JUDGED_QUERIES)

    def _draws(self, count: int) -> NDArray[np.float32]:
        """How often each query of a sample, and the one not seen, is drawn: (count + 1, draws)."""
        if count not in self._drawn:
            generator = np.random.default_rng(0)
            shares = generator.dirichlet(np.ones(count + 1), size=_DRAWS)
            drawn = generator.multinomial(_JUDGED_QUERIES, shares)
            self._drawn[count] = np.ascontiguousarray(drawn.T, dtype=np.float32)
        return self._drawn[count]
