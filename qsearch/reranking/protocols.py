"""What a reranker must be able to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from qsearch.reranking.identity import RerankerIdentity

__all__ = ["Pair", "Reranker"]

Pair = tuple[str, str]
"""A query, and a text that may answer it."""


@runtime_checkable
class Reranker(Protocol):
    """Scores pairs of query and text. Implement it to bring a reranker of your own.

    A pair must get the same score whatever stands beside it in the list.
    """

    def identity(self) -> RerankerIdentity:
        """Say what the scores depend on."""
        ...

    def score(
        self, pairs: Sequence[Pair], advance: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Score pairs.

        Args:
            pairs: n of (query, text).
            advance: may be told how many pairs were just done, for a progress bar.

        Returns:
            (n,) float32, finite; higher is better.
        """
        ...

    def truncated(self, pairs: Sequence[Pair]) -> NDArray[np.bool_]:
        """Which of the pairs are longer than the maximum length, and are cut: (n,) bool."""
        ...
