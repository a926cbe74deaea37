"""Where the documents of a ranking stood in each stage of the codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import binary_codes, int8_query_codes, query_words
from qsearch.kernels import hamming_distances
from qsearch.retrieval.ranking import unit_queries
from qsearch.store import Segment

__all__ = ["stage_ranks"]

_BLOCK = 1 << 14  # rows at a time, a multiple of 8


def stage_ranks(
    segments: Sequence[Segment], query: NDArray[np.float32], positions: NDArray[np.int64]
) -> dict[str, NDArray[np.int64]]:
    """Ranks of documents, from 1, among all documents by each code.

    Reads every code of the index: for looking into a search, not for searching.

    Args:
        segments: of the index.
        query: (1, d) float32.
        positions: (h,) int64.

    Returns:
        (h,) int64 ranks under ``binary`` and ``int8``; equal codes by document order.
    """
    unit = unit_queries(query)
    words = query_words(binary_codes(unit))
    codes = int8_query_codes(unit).codes[0].astype(np.int32)
    distances = [np.empty(0)]  # an index may have no rows at all
    scores = [np.empty(0)]
    for segment in segments:
        for first in range(0, segment.rows, _BLOCK):
            rows = min(_BLOCK, segment.rows - first)
            blocks = segment.binary[first // 8 : -(-(first + rows) // 8)]
            distance = hamming_distances(blocks, words, rows)[0].astype(np.float64)
            dots = segment.int8[first : first + rows].astype(np.int32) @ codes
            score = segment.scale[first : first + rows] * dots
            if segment.living is not None:  # what is gone stands before nobody
                gone = ~segment.living.to_bools(first, first + rows)
                distance[gone], score[gone] = np.inf, -np.inf
            distances.append(distance)
            scores.append(score)
    return {
        "binary": _ranks(np.concatenate(distances), positions),
        "int8": _ranks(-np.concatenate(scores), positions),
    }


def _ranks(values: NDArray[np.number], positions: NDArray[np.int64]) -> NDArray[np.int64]:
    before = np.arange(len(values))
    return np.array(
        [
            1
            + int((values < values[one]).sum())
            + int(((values == values[one]) & (before < one)).sum())
            for one in positions
        ],
        dtype=np.int64,
    )
