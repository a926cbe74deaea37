"""Sketches: what a search by graph knows of a row before it reads its code.

The signs of a row less the center of all rows, and a factor: for a query q and a row x with
y = x − center and the signs s of y, q · y is estimated as (q · s) · (y · y) / Σ|y| (Gao and Long, "RaBitQ",
SIGMOD 2024, without its rotation).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qsearch.kernels import LINE_WORDS, sketch_bits, sketch_lines

__all__ = ["center_of", "sketches_of"]


def center_of(blocks: Iterator[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The mean of all rows, given in blocks of (n, d) float32."""
    total, count = None, 0
    for block in blocks:
        some = block.sum(axis=0, dtype=np.float64)
        total = some if total is None else total + some
        count += len(block)
    if total is None:
        raise ValueError("there are no rows")
    center: NDArray[np.float32] = (total / count).astype(np.float32)
    return center


def sketches_of(rows: NDArray[np.float32], center: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Sketches of rows.

    Args:
        rows: (n, d) float32 unit rows.
        center: (d,) float32.

    Returns:
        (n, lines, 8) uint64, little-endian: bit i of a row is set where component i is above the center's;
        the last 32 bits are the float32 factor.
    """
    lines = sketch_lines(rows.shape[1])
    bits = sketch_bits(rows.shape[1], lines)
    apart = (rows - center)[:, :bits].astype(np.float64)
    raw = np.zeros((len(rows), 8 * LINE_WORDS * lines), dtype=np.uint8)
    packed = np.packbits(apart > 0, axis=1, bitorder="little")
    raw[:, : packed.shape[1]] = packed
    sizes = np.abs(apart).sum(axis=1)
    squares = np.einsum("ij,ij->i", apart, apart)
    factors = np.divide(squares, sizes, out=np.zeros(len(rows)), where=sizes > 0)
    raw[:, -4:] = factors.astype("<f4")[:, None].view(np.uint8)
    return raw.view("<u8").reshape(len(rows), lines, LINE_WORDS)
