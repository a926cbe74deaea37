"""Embeddings to unit rows: the one place where qsearch normalises."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qsearch.kernels import lane_dot

__all__ = ["near_cosines", "unit_rows", "usable_rows"]

_BLOCK = 1024
"""Rows at a time: the float64 copies stay small and in the cache."""


def unit_rows(
    embeddings: NDArray[np.floating],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Divide every embedding by its L2 norm, in float64, and round once to float32.

    Args:
        embeddings: (n, d) float16, float32 or float64.

    Returns:
        (n, d) float32 unit rows, and (n,) bool: whether the row has a direction. Rows that are
        zero, or hold NaN or infinity, or whose norm leaves float64, have none and come back as zeros.
    """
    rows = np.empty(embeddings.shape, dtype=np.float32)
    usable = np.empty(len(embeddings), dtype=np.bool_)
    for start in range(0, len(embeddings), _BLOCK):
        block = slice(start, start + _BLOCK)
        rows[block], usable[block] = _unit_block(embeddings[block])
    return rows, usable


def near_cosines(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosines of unit rows that are nearly equal, from their distance.

    Taken directly, 1 − cosine would lose its digits.

    Args:
        left: (n, d) float32 unit rows.
        right: the same.

    Returns:
        (n,) float64.
    """
    difference = left.astype(np.float64) - right
    return np.asarray(1.0 - 0.5 * np.square(difference).sum(axis=1))


def usable_rows(embeddings: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which rows ``unit_rows`` finds a direction of; takes a tenth of its time.

    Args:
        embeddings: (n, d) float16, float32 or float64.

    Returns:
        (n,) bool.
    """
    usable = np.empty(len(embeddings), dtype=np.bool_)
    for start in range(0, len(embeddings), _BLOCK):
        block = slice(start, start + _BLOCK)
        _, usable[block] = _largest(embeddings[block])
    return usable


def _largest(
    embeddings: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The largest magnitude of each row, NaN or infinity where there is one; and whether it will do."""
    largest = np.abs(embeddings).max(axis=1, initial=0).astype(np.float64)
    return largest, np.isfinite(largest) & (largest > 0)


def _unit_block(
    embeddings: NDArray[np.floating],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    # Dividing by the largest magnitude first keeps squares of float64 input inside float64;
    # a power of two changes no bit of the quotient.
    largest, usable = _largest(embeddings)
    exponent = np.where(usable, np.frexp(np.where(usable, largest, 1.0))[1], 0)
    scaled = np.ldexp(embeddings.astype(np.float64), -exponent[:, None])
    scaled[~usable] = 0.0
    norms = np.sqrt(lane_dot(scaled, scaled))
    norms[~usable] = 1.0
    return (scaled / norms[:, None]).astype(np.float32), usable
