"""Candidates by Hamming distance of sign bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import binary_codes, query_words, unpack_blocks
from qsearch.kernels import RowMask, hamming_nearest, has_native_kernels
from qsearch.retrieval.ranking import Candidates
from qsearch.store import Segment

__all__ = ["BinaryCandidates"]


class BinaryCandidates:
    """The binary codes of one segment.

    The native kernel scans them where they lie on disk; where there is none, a
    ``faiss.IndexBinaryFlat`` does (d / 8 bytes a row in memory), or NumPy under a mask.
    """

    def __init__(self, segment: Segment) -> None:
        """Take the binary codes of ``segment``."""
        self._segment = segment
        self._faiss: Any = None

    def nearest(
        self,
        queries: NDArray[np.float32],
        count: int,
        threads: int | None = None,
        mask: RowMask | None = None,
    ) -> Candidates:
        """Rows of smallest Hamming distance; see ``CandidateSource``."""
        codes = binary_codes(queries)
        segment = self._segment
        if has_native_kernels() or mask is not None:
            rows = hamming_nearest(
                segment.binary, query_words(codes), segment.rows, count, threads, mask
            )
        else:
            rows = np.asarray(self._faiss_index().search(codes, count)[1], dtype=np.int64)
        scanned = segment.rows if mask is None else mask.scanned
        looked = np.full(len(queries), scanned, dtype=np.int64)
        return Candidates(rows, looked, codes.shape[1])

    def _faiss_index(self) -> Any:
        if self._faiss is None:
            import faiss

            segment = self._segment
            code_bytes = -(-segment.vectors.shape[1] // 8)
            index = faiss.IndexBinaryFlat(code_bytes * 8)
            step = 1 << 17
            for first in range(0, segment.rows, step):
                rows = min(step, segment.rows - first)
                blocks = segment.binary[first // 8 : -(-(first + rows) // 8)]
                index.add(unpack_blocks(blocks, rows, code_bytes))
            self._faiss = index
        return self._faiss
