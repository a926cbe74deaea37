"""Scoring the texts of several queries, all pairs together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import EncoderError
from qsearch.reranking.protocols import Reranker

__all__ = ["ScoredTexts", "score_texts"]


@dataclass(frozen=True, slots=True, eq=False)
class ScoredTexts:
    """The texts of one query, scored.

    Attributes:
        scores: (n,) float32, finite.
        truncated: how many of the texts were cut, or their query.
    """

    scores: NDArray[np.float32]
    truncated: int


def score_texts(
    reranker: Reranker,
    queries: Sequence[str],
    texts: Sequence[Sequence[str]],
    advance: Callable[[int], None] | None = None,
) -> list[ScoredTexts]:
    """Score each query with each of its texts.

    Args:
        reranker: what scores.
        queries: q of them.
        texts: of each query any number.
        advance: is told how many pairs were just done.

    Returns:
        For each query.

    Raises:
        EncoderError: the reranker fails, or does not give a finite number for each pair.
    """
    pairs = [(query, text) for query, some in zip(queries, texts, strict=True) for text in some]
    if not pairs:
        return [ScoredTexts(np.empty(0, dtype=np.float32), 0) for _ in queries]
    name = reranker.identity().model
    given = np.asarray(reranker.score(pairs, advance))
    if given.shape != (len(pairs),) or given.dtype.kind not in "fiu":
        raise EncoderError(
            f"the reranker {name} gave {given.dtype} {given.shape} for {len(pairs)} pairs, expected one "
            "number for each"
        )
    scores = given.astype(np.float32)
    unusable = np.flatnonzero(~np.isfinite(scores))
    if len(unusable):
        query, text = pairs[int(unusable[0])]
        raise EncoderError(
            f"the reranker {name} gave {scores[unusable[0]]} for the query {query[:60]!r} and the text "
            f"{text[:60]!r}: there is no order by it"
        )
    cut = np.asarray(reranker.truncated(pairs), dtype=np.bool_)
    ends = np.cumsum([len(some) for some in texts])[:-1]
    return [
        ScoredTexts(of_query, int(cut_of_query.sum()))
        for of_query, cut_of_query in zip(np.split(scores, ends), np.split(cut, ends), strict=True)
    ]
