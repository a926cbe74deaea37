"""BM25, as it is defined here; the plain form of it, in Python, is in the tests.

With N documents, df of them that hold a term, tf times in this one, whose length is l tokens (a of them is
the mean), and n times the term in the query::

    idf   = ln(1 + (N − df + 0.5) / (df + 0.5))
    score = Σ  n · idf · tf / (tf + k1 · (1 − b + b · l / a))

It is the form of Lucene since 8.0: that of Robertson and Zaragoza (The Probabilistic Relevance Framework:
BM25 and Beyond, 2009) without the constant factor k1 + 1, and with an idf that is never negative. All
is float64, and a document's terms are added in the order in which they first come in the query.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bm25", "Counts", "add_term", "best", "inverse_frequency", "norms_of"]


@dataclass(frozen=True, slots=True)
class Bm25:
    """The two numbers that can be set.

    Attributes:
        k1: from 0; how much further occurrences count.
        b: 0 to 1; how much the length of a document counts against it.
    """

    k1: float = 1.2
    b: float = 0.75


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Documents that hold a term.

    Attributes:
        documents: (n,) int32: which of the documents of the commit, from 0, rising.
        counts: (n,) int32: how often, at least 1.
    """

    documents: NDArray[np.int32]
    counts: NDArray[np.int32]

    @property
    def nbytes(self) -> int:
        """Of both arrays."""
        return self.documents.nbytes + self.counts.nbytes


def inverse_frequency(documents: int, holding: int) -> float:
    """Idf of a term that so many of the documents hold."""
    return math.log(1.0 + (documents - holding + 0.5) / (holding + 0.5))


def norms_of(lengths: NDArray[np.int64], bm25: Bm25) -> NDArray[np.float64]:
    """What stands beside tf below the line, for each document.

    Args:
        lengths: (N,) tokens of each document.
        bm25: k1 and b.
    """
    average = int(lengths.sum()) / max(1, len(lengths))
    if not average:
        return np.zeros(len(lengths))
    shares = bm25.b * lengths.astype(np.float64) / average
    return bm25.k1 * ((1.0 - bm25.b) + shares)


def add_term(
    scores: NDArray[np.float64], norms: NDArray[np.float64], counts: Counts, weight: float
) -> None:
    """Add what a term gives to the score of each document that holds it.

    Args:
        scores: (N,), changed.
        norms: (N,), see ``norms_of``.
        counts: of the term.
        weight: its idf, times its number in the query.
    """
    often = counts.counts.astype(np.float64)
    scores[counts.documents] += weight * (often / (often + norms[counts.documents]))


def best(
    scores: NDArray[np.float64], k: int, allowed: NDArray[np.bool_] | None
) -> NDArray[np.int64]:
    """The k documents of highest score above 0, equal ones in document order; fewer where there are fewer.

    Args:
        scores: (N,).
        k: at least 1.
        allowed: (N,) bool: which documents may be in the answer; ``None``: all.
    """
    held = scores > 0
    if allowed is not None:
        held &= allowed
    found = np.flatnonzero(held)
    if len(found) > 4 * k:
        some = scores[found]
        found = found[some >= np.partition(some, len(some) - k)[len(some) - k]]
    order = np.lexsort((found, -scores[found]))[:k]
    return found[order]
