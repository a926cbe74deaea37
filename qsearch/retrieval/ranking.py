"""Rankings: what every way of retrieval returns, and how candidates become one.

The order is the same everywhere: by the score rounded to float32, highest first; equal scores by
position, lowest first. So two ways that look at the same documents return the same ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import unit_rows
from qsearch.errors import QueryError
from qsearch.kernels import cosine_gather
from qsearch.store import Segment

__all__ = ["CandidateSource", "Ranking", "check_queries", "search_candidates", "top_k"]


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The best documents for each of q queries.

    Attributes:
        positions: (q, k) int64 document positions, best first; −1 behind the last document found.
        scores: (q, k) float32 cosines; −inf where there is no document.
        certified: (q,) bool: whether it is proven that no other document belongs here.
    """

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]
    certified: NDArray[np.bool_]


class CandidateSource(Protocol):
    """Chooses rows of one segment by their codes. The seam behind which kernels are exchanged."""

    def nearest(self, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Rows that are likely to be the nearest.

        Args:
            queries: (q, d) float32 unit rows.
            count: how many rows to return for each query, at most the rows of the segment.

        Returns:
            (q, count) int64 rows without repetition, in any order; −1 where there are fewer.
        """
        ...


def check_queries(queries: Any, dimensions: int) -> NDArray[np.float32]:
    """Make (q, d) float32 of what a caller gave, or say what is wrong with it.

    Raises:
        QueryError: another shape or dimension, not finite, or a vector of zeros.
    """
    try:
        array = np.asarray(queries)
        if array.dtype.kind not in "fiu":
            raise TypeError(f"dtype {array.dtype}")
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(array, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise QueryError(f"query vectors must be an array of numbers ({error})") from error
    if array.ndim != 2:
        raise QueryError(
            f"query vectors must have shape (queries, {dimensions}), found {array.shape}"
            + ("; one vector v is given as v[None, :]" if array.ndim == 1 else "")
        )
    if array.shape[1] != dimensions:
        raise QueryError(
            f"the index has {dimensions} dimensions, the query vectors have {array.shape[1]}"
        )
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        raise QueryError(
            f"query vector {int(np.argmin(finite))} holds NaN or infinity (as float32)"
        )
    nonzero = array.any(axis=1)
    if not nonzero.all():
        raise QueryError(
            f"query vector {int(np.argmin(nonzero))} is zero (as float32) and has no direction"
        )
    return array


def top_k(
    scores: NDArray[np.float32], positions: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k best of one query's candidates, in the order of a ranking.

    Args:
        scores: (c,) float32.
        positions: (c,) int64, without repetition.
        k: at most c are returned.
    """
    if len(scores) > 4 * k:
        # Everything that reaches the k-th score stays: its ties are broken by position below.
        reaching = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        scores, positions = scores[reaching], positions[reaching]
    order = np.lexsort((positions, -scores))[:k]
    return scores[order], positions[order]


def search_candidates(
    segments: Sequence[Segment],
    sources: Sequence[CandidateSource],
    queries: NDArray[np.float32],
    k: int,
    count: int,
) -> Ranking:
    """Choose candidates in every segment by their codes, and rank them by their exact scores.

    Args:
        segments: all segments of the index.
        sources: one per segment.
        queries: (q, d) float32, checked.
        k: documents to return, at most those there are.
        count: candidates for each query, at least k, from each segment.
    """
    units = unit_rows(queries)[0]
    found_scores: list[NDArray[np.float32]] = []
    found_positions: list[NDArray[np.int64]] = []
    for segment, source in zip(segments, sources, strict=True):
        rows = source.nearest(units, min(count, segment.rows))
        found_scores.append(cosine_gather(segment.vectors, queries, rows))
        found_positions.append(np.where(rows >= 0, rows + segment.first_position, -1))
    scores = np.concatenate(found_scores, axis=1)
    positions = np.concatenate(found_positions, axis=1)
    ranked_scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    ranked_positions = np.full((len(queries), k), -1, dtype=np.int64)
    for i in range(len(queries)):
        there = positions[i] >= 0
        best = top_k(scores[i, there], positions[i, there], k)
        ranked_scores[i, : len(best[0])], ranked_positions[i, : len(best[1])] = best
    # Codes alone prove nothing, unless every document was a candidate.
    everything = all(count >= segment.rows for segment in segments)
    complete = (positions >= 0).sum(axis=1) == sum(segment.rows for segment in segments)
    return Ranking(ranked_positions, ranked_scores, complete & everything)
