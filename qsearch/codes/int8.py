"""int8 codes: one scale per row, no calibration, and what the code loses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsearch.kernels import lane_dot

__all__ = ["Int8Codes", "int8_codes", "round_up"]


class Int8Codes(NamedTuple):
    """int8 codes of n rows.

    Attributes:
        codes: (n, d) int8.
        scale: (n,) float32; row ≈ scale · code.
        residual: (n,) float32, at least ‖row − scale · code‖₂.
    """

    codes: NDArray[np.int8]
    scale: NDArray[np.float32]
    residual: NDArray[np.float32]


def int8_codes(rows: NDArray[np.float32]) -> Int8Codes:
    """Code each row by itself: ``scale = max|x| / 127``, ``code = rint(x / scale)``, in float32.

    No sample calibrates anything and nothing clips, so a row's code is the same alone and among
    millions. The residual is computed in float64 and rounded up: with u = 2⁻⁵³ each difference,
    square, sum and root adds a relative error below u, at most d + 3 of them in a chain, and the
    factor below is larger than their product.

    Args:
        rows: (n, d) float32, finite.

    Returns:
        The codes. A row of zeros has scale 0, code 0 and residual 0.
    """
    d = rows.shape[1]
    scale = np.abs(rows).max(axis=1, initial=0) / np.float32(127)
    divisor = np.where(scale > 0, scale, np.float32(1))
    # Only subnormal numbers, which no unit row consists of, could pass 127: their scale is inexact.
    codes = np.clip(np.rint(rows / divisor[:, None]), -127, 127).astype(np.int8)
    lost = rows.astype(np.float64) - scale.astype(np.float64)[:, None] * codes
    exact = np.sqrt(lane_dot(lost, lost)) * (1.0 + (d + 8) * 2.0**-53)
    return Int8Codes(codes, scale, round_up(exact))


def round_up(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The smallest float32 numbers that are not below ``values``."""
    rounded = values.astype(np.float32)
    above = np.nextafter(rounded, np.float32(np.inf))
    return np.where(rounded < values, above, rounded)
