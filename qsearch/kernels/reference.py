"""The definition of every kernel, in plain NumPy, and the oracle of the tests.

Floating point addition is not associative, so a sum is defined only together with its order. Here
a sum over dimensions always runs over ``LANES`` parallel float64 accumulators (component ``i`` goes
to lane ``i mod LANES``, in rising order of ``i``), which are then folded in halves: lane ``j`` takes
lane ``j + 8``, then ``j + 4``, ``j + 2``, ``j + 1``. The product of two float32 numbers is exact in
float64, so a fused multiply-add gives the same bits as a product and a sum, and every vector width
up to ``LANES`` doubles can follow this order at full speed. That is why a score depends neither on
the batch nor on the thread, the kernel or the device.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsearch.kernels.masks import RowMask

__all__ = [
    "BLOCK_ROWS",
    "GROUP",
    "LANES",
    "ROTATED_BLOCK_ROWS",
    "Margins",
    "best_scores",
    "code_projections",
    "code_rows",
    "cosine_gather",
    "first_unusable",
    "hamming_distances",
    "hamming_nearest",
    "int8_gather",
    "kept_rows",
    "lane_dot",
    "normalize",
    "project",
]

LANES = 16
"""Parallel float64 accumulators of a sum over dimensions."""

BLOCK_ROWS = 8
"""Rows in one block of transposed sign bits: eight 64-bit words fill a 512-bit register."""

ROTATED_BLOCK_ROWS = 16
GROUP = 4
"""A block of rotated codes holds 16 rows, four components of each side by side: 64 bytes, which one
instruction multiplies and adds up to sixteen sums."""


def lane_dot(left: NDArray[np.floating], right: NDArray[np.floating]) -> NDArray[np.float64]:
    """Dot products of rows in the defined order.

    Args:
        left: (..., d) float32 (or float64; then products are rounded).
        right: (..., d), broadcast against ``left``.

    Returns:
        (...) float64.
    """
    d = left.shape[-1]
    shape = np.broadcast_shapes(left.shape[:-1], right.shape[:-1])
    lanes = np.zeros((*shape, LANES), dtype=np.float64)
    for start in range(0, d, LANES):
        stop = min(start + LANES, d)
        lanes[..., : stop - start] += np.multiply(
            left[..., start:stop], right[..., start:stop], dtype=np.float64
        )
    width = LANES
    while width > 1:
        width //= 2
        lanes[..., :width] += lanes[..., width : 2 * width]
    return lanes[..., 0].copy()


def first_unusable(rows: NDArray[np.float32]) -> int:
    """Number of the first row that is zero, or holds NaN or infinity; n where none does.

    Args:
        rows: (n, d) float32.
    """
    # A square of a float32 number is neither 0 nor infinite in float64, unless the number is.
    squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    unusable = ~((squares > 0) & (squares < np.inf))
    return int(np.argmax(unusable)) if unusable.any() else len(rows)


def normalize(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows divided by their L2 norms, in float64, and rounded once to float32.

    Args:
        rows: (n, d) float32, not zero.
    """
    wide = rows.astype(np.float64)
    units: NDArray[np.float32] = (wide / np.sqrt(lane_dot(rows, rows))[:, None]).astype(np.float32)
    return units


class Margins(NamedTuple):
    """What the rounding of codes may hide; ``codes/bounds.py`` says why it is enough.

    Attributes:
        growth: the factor that a computed length may be too small by.
        roundoffs: the part of a length that rounded products may miss.
        added: the part of a residual that was lost before there were codes.
        times: the factor that a residual counts with.
        constant: what a bound has beside it.
        hidden: what the squared length of a rest may have lost.
        outward: the factor of that length; 0 where there is no rest.
    """

    growth: float
    roundoffs: float
    added: float
    times: float
    constant: float
    hidden: float
    outward: float


def code_rows(
    rows: NDArray[np.float32], margins: Margins, most: int = 127
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Code rows, in float64: ``factor = max|x| / most`` (1 for zeros), ``code = rint(x / factor)``.

    Args:
        rows: (n, d) float32.
        margins: for the intervals.
        most: no code is beyond it, 1 to 127.

    Returns:
        (n, d) int8 codes, and (n, 4) float64 intervals: factor, residual factor, rest factor, slack.
    """
    return _coded(rows.astype(np.float64), rows.shape[1], np.zeros(len(rows)), margins, most)


def code_projections(
    rows: NDArray[np.float32],
    axes: NDArray[np.float32],
    padded: int,
    margins: Margins,
    most: int = 127,
    products: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Code the products of every row with every axis, as ``code_rows`` does.

    Args:
        rows: (n, d) float32.
        axes: (h, d) float32.
        padded: columns of the codes, at least h; those behind h are 0.
        margins: for the intervals.
        most: no code is beyond it, 1 to 127.
        products: (n, h) float64, where they are known; ``None``: see ``project``.

    Returns:
        (n, padded) int8 codes, and (n, 4) float64 intervals.
    """
    kept = project(rows, axes) if products is None else products
    return _coded(kept, padded, lane_dot(rows, rows) - lane_dot(kept, kept), margins, most)


def _coded(
    values: NDArray[np.float64],
    padded: int,
    missing: NDArray[np.float64],
    margins: Margins,
    most: int,
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Codes of rows, and their intervals; ``missing`` are the squared lengths of what no code is of."""
    factor = np.abs(values).max(axis=1, initial=0.0) / most
    factor[factor == 0] = 1.0
    rounded = np.rint(values / factor[:, None])
    lost = values - factor[:, None] * rounded
    codes = np.zeros((len(values), padded), dtype=np.int8)
    codes[:, : values.shape[1]] = rounded
    length = factor * np.sqrt(np.square(rounded).sum(axis=1)) * margins.growth
    residual = np.sqrt(lane_dot(lost, lost)) * margins.growth + margins.roundoffs * length
    rest = np.sqrt(np.maximum(missing, 0.0) + margins.hidden) * margins.outward
    slack = (residual + margins.added) * margins.times + margins.constant
    return codes, np.stack([factor, length, rest, slack], axis=1)


def project(rows: NDArray[np.float32], axes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Products of every row with every axis, in float64 and the defined order.

    Args:
        rows: (n, d) float32.
        axes: (h, d) float32.

    Returns:
        (n, h) float64.
    """
    return lane_dot(rows[:, None, :], axes[None, :, :])


def cosine_gather(
    rows: NDArray[np.float32], queries: NDArray[np.float32], indices: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Exact scores of chosen rows: cosine, accumulated in float64, rounded once to float32.

    ``score = (q · x) / sqrt((q · q)(x · x))``, sums in the defined order, so the score of a vector
    with itself is exactly 1 and scaling a query by a power of two changes nothing.

    Args:
        rows: (n, d) float32, not zero.
        queries: (q, d) float32, not zero.
        indices: (q, c) int64 row numbers; −1 marks an empty place.

    Returns:
        (q, c) float32 cosines; −inf at empty places.
    """
    count, width = indices.shape
    scores = np.full((count, width), -np.inf, dtype=np.float32)
    step = max(1, (1 << 22) // max(1, rows.shape[1]))  # bounds the gathered copy to 16 MiB
    squared = lane_dot(queries, queries)
    for i in range(count):
        places = np.flatnonzero(indices[i] >= 0)
        for start in range(0, len(places), step):
            some = places[start : start + step]
            gathered = rows[indices[i, some]]
            products = lane_dot(gathered, queries[i])
            norms = np.sqrt(lane_dot(gathered, gathered) * squared[i])
            scores[i, some] = (products / norms).astype(np.float32)
    return scores


def int8_gather(
    codes: NDArray[np.int8],
    scale: NDArray[np.float32],
    queries: NDArray[np.int8],
    indices: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Approximate scores of chosen rows, up to a factor for each query: ``scale · (code · query)``.

    The product of the codes is an integer; it is converted to float32 and multiplied by the scale.

    Args:
        codes: (n, d) int8.
        scale: (n,) float32.
        queries: (q, d) int8.
        indices: (q, c) int64 row numbers; −1 marks an empty place.

    Returns:
        (q, c) float32; −inf at empty places.
    """
    scores = np.full(indices.shape, -np.inf, dtype=np.float32)
    for i, query in enumerate(queries):
        places = np.flatnonzero(indices[i] >= 0)
        rows = indices[i, places]
        dots = codes[rows].astype(np.int32) @ query.astype(np.int32)
        scores[i, places] = scale[rows] * dots.astype(np.float32)
    return scores


def best_scores(
    falling: NDArray[np.float32], there: NDArray[np.int64], ranks: NDArray[np.int64] | int
) -> NDArray[np.float32]:
    """(q,) the score at a rank, from 1, or the last that there is.

    Args:
        falling: (q, c) scores, best first.
        there: (q,) how many of them there are.
        ranks: (q,), or one for all.
    """
    last = np.minimum(ranks, there).clip(min=1)[:, None] - 1
    found: NDArray[np.float32] = np.take_along_axis(falling, last, axis=1)[:, 0]
    return found


def kept_rows(
    falling: NDArray[np.float32],
    there: NDArray[np.int64],
    k: int,
    kept: int,
    blurs: NDArray[np.float32],
) -> NDArray[np.int64]:
    """(q,) how many of the best by int8 codes the floats decide between.

    Args:
        falling: (q, c) scores by int8 codes, best first.
        there: (q,) how many of them there are.
        k: rows that are wanted.
        kept: so many at least, where there are.
        blurs: (q,) what is within so much of the k-th is kept too.
    """
    with np.errstate(invalid="ignore"):  # of damaged codes
        least = best_scores(falling, there, min(k, kept)) - blurs
        near = (falling >= least[:, None]).sum(axis=1)
    found: NDArray[np.int64] = np.minimum(np.maximum(kept, near), there)
    return found


def hamming_distances(
    blocks: NDArray[np.uint64], queries: NDArray[np.uint64], n_rows: int
) -> NDArray[np.int32]:
    """Hamming distances of sign bits in transposed blocks.

    Args:
        blocks: (ceil(n_rows / 8), w, 8) uint64: word ``j`` of row ``8 b + r`` is ``[b, j, r]``.
        queries: (q, w) uint64.
        n_rows: rows in ``blocks``; the places behind them are padding.

    Returns:
        (q, n_rows) int32, number of differing bits.
    """
    differing = np.bitwise_count(blocks[None] ^ queries[:, None, :, None])
    distances: NDArray[np.int32] = differing.sum(axis=2, dtype=np.int32)
    return distances.reshape(len(queries), -1)[:, :n_rows]


def hamming_nearest(
    blocks: NDArray[np.uint64],
    queries: NDArray[np.uint64],
    n_rows: int,
    count: int,
    mask: RowMask | None = None,
) -> NDArray[np.int64]:
    """The ``count`` allowed rows of smallest Hamming distance, ties by row number.

    Args:
        blocks: as in ``hamming_distances``.
        queries: (q, w) uint64.
        n_rows: rows in ``blocks``.
        count: how many rows to return, at most those that are allowed.
        mask: which are; ``None``: all.

    Returns:
        (q, count) int64 row numbers, in rising order of (distance, row).
    """
    result = np.empty((len(queries), count), dtype=np.int64)
    rows = np.arange(n_rows, dtype=np.int64) if mask is None else mask.indices()
    for i in range(len(queries)):
        distances = hamming_distances(blocks, queries[i : i + 1], n_rows)[0][rows]
        # (distance, row) packed in one integer: a partition then breaks ties by row.
        keys = distances.astype(np.int64) * n_rows + rows
        nearest = keys if count == len(keys) else np.partition(keys, count - 1)[:count]
        result[i] = np.sort(nearest) % n_rows
    return result
