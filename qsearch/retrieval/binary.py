"""Candidates by Hamming distance of sign bits, through faiss's flat binary index."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import binary_codes, unpack_blocks
from qsearch.store import Segment

__all__ = ["BinaryCandidates"]


class BinaryCandidates:
    """The binary codes of one segment in a ``faiss.IndexBinaryFlat`` (d / 8 bytes a row)."""

    def __init__(self, segment: Segment) -> None:
        """Read the segment's binary codes into memory."""
        import faiss

        code_bytes = -(-segment.vectors.shape[1] // 8)
        self._index = faiss.IndexBinaryFlat(code_bytes * 8)
        step = 1 << 17
        for first in range(0, segment.rows, step):
            rows = min(step, segment.rows - first)
            blocks = segment.binary[first // 8 : -(-(first + rows) // 8)]
            self._index.add(unpack_blocks(blocks, rows, code_bytes))

    def nearest(self, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Rows of smallest Hamming distance; see ``CandidateSource``."""
        _, rows = self._index.search(binary_codes(queries), count)
        return np.asarray(rows, dtype=np.int64)
