"""Binary codes: one sign bit per dimension, and the block layout that a scan likes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qsearch.kernels.reference import BLOCK_ROWS

__all__ = ["binary_codes", "pack_blocks", "query_words", "unpack_blocks"]

_WORD_BYTES = 8


def binary_codes(rows: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Sign bits: bit = ``x > 0``, packed in big-endian bit order.

    The same bits as ``sentence_transformers.quantize_embeddings(rows, "ubinary")`` and as faiss
    reads them; where d is not a multiple of 8 the last byte is filled with zeros.

    Args:
        rows: (n, d) float32.

    Returns:
        (n, ceil(d / 8)) uint8.
    """
    return np.packbits(rows > 0, axis=1)


def query_words(codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Binary codes as little-endian 64-bit words, filled with zeros.

    Args:
        codes: (n, b) uint8.

    Returns:
        (n, ceil(b / 8)) uint64.
    """
    n, size = codes.shape
    words = -(-size // _WORD_BYTES)
    padded = np.zeros((n, words * _WORD_BYTES), dtype=np.uint8)
    padded[:, :size] = codes
    return padded.view("<u8")


def pack_blocks(codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Transpose codes into blocks of eight rows, so that one register holds a word of each row.

    Args:
        codes: (n, b) uint8.

    Returns:
        (ceil(n / 8), ceil(b / 8), 8) uint64: word ``j`` of row ``8 b + r`` is ``[b, j, r]``;
        places behind the last row are zero.
    """
    words = query_words(codes)
    n, per_row = words.shape
    blocks = -(-n // BLOCK_ROWS)
    padded = np.zeros((blocks * BLOCK_ROWS, per_row), dtype="<u8")
    padded[:n] = words
    return np.ascontiguousarray(padded.reshape(blocks, BLOCK_ROWS, per_row).transpose(0, 2, 1))


def unpack_blocks(blocks: NDArray[np.uint64], n_rows: int, code_bytes: int) -> NDArray[np.uint8]:
    """Undo ``pack_blocks``.

    Args:
        blocks: (ceil(n_rows / 8), w, 8) uint64.
        n_rows: rows to return.
        code_bytes: bytes of one code, at most 8 w.

    Returns:
        (n_rows, code_bytes) uint8.
    """
    rows = np.ascontiguousarray(blocks.transpose(0, 2, 1)).view(np.uint8)
    return np.ascontiguousarray(rows.reshape(-1, rows.shape[-1])[:n_rows, :code_bytes])
