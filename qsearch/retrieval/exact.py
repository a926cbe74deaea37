"""Exact search over the float rows: the reference that every other way is held against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import unit_rows
from qsearch.errors import IndexFormatError
from qsearch.kernels import cosine_gather
from qsearch.retrieval.ranking import Ranking, top_k
from qsearch.store import Segment

__all__ = ["search_exact"]

_BLOCK_ROWS = 16_384
_BATCH = 64


def search_exact(segments: Sequence[Segment], queries: NDArray[np.float32], k: int) -> Ranking:
    """The k documents of highest exact score, for every query, proven.

    A float32 matrix product finds approximate scores; every row that its rounding error could hide
    is scored exactly. With unit roundoff u = 2⁻²⁴, unit rows x and the unit query v (both rounded to
    float32 from exact unit vectors, so of length 1 ± u), the product s of any summation order obeys
    ``|s − x · v| ≤ γ_d ‖x‖ ‖v‖`` with ``γ_d = d u / (1 − d u)`` (Higham, Accuracy and Stability of
    Numerical Algorithms, 2nd ed., section 3.1), and rounding v and the lengths of x changes the
    cosine by less than 3 u. So ``|s − cos| ≤ e`` with ``e = (1.01 d + 8) u``, in which the factor
    also covers underflow. Scores are compared after rounding to float32, which moves a cosine by
    at most u / 2. A row outside the top k by more than ``2 e + u`` is out with certainty.

    Args:
        segments: all segments of the index.
        queries: (q, d) float32, checked.
        k: at most the number of documents.
    """
    d = queries.shape[1]
    unit_roundoff = 2.0**-24
    if d * unit_roundoff > 0.005:
        raise ValueError(f"the error bound does not hold for {d} dimensions")
    margin = np.float32(2.0 * (1.01 * d + 8.0) * unit_roundoff + 2.0 * unit_roundoff)
    scores = np.empty((len(queries), k), dtype=np.float32)
    positions = np.empty((len(queries), k), dtype=np.int64)
    for start in range(0, len(queries), _BATCH):
        stop = min(start + _BATCH, len(queries))
        found = _search_batch(segments, queries[start:stop], k, margin)
        for offset, (best_scores, best_positions) in enumerate(found):
            scores[start + offset] = best_scores
            positions[start + offset] = best_positions
    return Ranking(positions, scores, np.ones(len(queries), dtype=np.bool_))


def _search_batch(
    segments: Sequence[Segment], queries: NDArray[np.float32], k: int, margin: np.float32
) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    units = unit_rows(queries)[0]
    count = len(queries)
    # Per query: rows that may be in the top k, in one list per segment, with approximate scores;
    # and the k best approximate scores so far.
    kept_rows: list[list[list[NDArray[np.int64]]]] = [[[] for _ in segments] for _ in range(count)]
    kept_scores: list[list[list[NDArray[np.float32]]]] = [
        [[] for _ in segments] for _ in range(count)
    ]
    best = [np.empty(0, dtype=np.float32) for _ in range(count)]
    threshold = np.full(count, -np.inf, dtype=np.float32)
    for number, segment in enumerate(segments):
        for first in range(0, segment.rows, _BLOCK_ROWS):
            block = segment.vectors[first : first + _BLOCK_ROWS]
            approximate = units @ block.T
            if not np.isfinite(approximate).all():
                raise IndexFormatError(
                    f"segment {segment.id} holds rows that are not finite; 'qsearch verify' tells "
                    "which file is damaged"
                )
            for i in map(int, np.flatnonzero(approximate.max(axis=1) >= threshold)):
                rows = np.flatnonzero(approximate[i] >= threshold[i])
                some = approximate[i, rows]
                best[i] = np.concatenate([best[i], some])
                if len(best[i]) > k:
                    best[i] = np.partition(best[i], len(best[i]) - k)[len(best[i]) - k :]
                if len(best[i]) == k:
                    threshold[i] = best[i].min() - margin
                    reaching = some >= threshold[i]
                    rows, some = rows[reaching], some[reaching]
                kept_rows[i][number].append(rows + first)
                kept_scores[i][number].append(some)
    results = []
    for i in range(count):
        scores, positions = [], []
        for number, segment in enumerate(segments):
            if not kept_rows[i][number]:
                continue
            approximate = np.concatenate(kept_scores[i][number])
            rows = np.concatenate(kept_rows[i][number])[approximate >= threshold[i]]
            scores.append(cosine_gather(segment.vectors, queries[i : i + 1], rows[None, :])[0])
            positions.append(rows + segment.first_position)
        results.append(top_k(np.concatenate(scores), np.concatenate(positions), k))
    return results
