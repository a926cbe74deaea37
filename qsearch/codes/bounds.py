"""What a query's code says about a score at most: intervals, rounded outwards.

For a row with scale s, code c, residual r and rest T, and a query with code g,

    cosine ≤ factor · s · (g · c) + residual_factor · r + rest_factor · T + slack.

docs/exactness.md derives it, term by term.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsearch.codes.rotated import ROUNDOFF, product_error, rest_length
from qsearch.kernels import code_rows, most_code, project
from qsearch.kernels.reference import GROUP

__all__ = ["FLOAT_ROUNDOFF", "QueryCodes", "int8_query_codes", "rotated_query_codes"]

FLOAT_ROUNDOFF: float = 2.0**-24
"""Unit roundoff of float32."""

UNIT_SLACK = 4.0 * FLOAT_ROUNDOFF
"""Rows and queries are unit vectors rounded to float32: what that moves a cosine at most."""

SCAN_SLACK = 20.0 * FLOAT_ROUNDOFF
"""The scan computes in float32: at most six roundings of numbers below 3."""


class QueryCodes(NamedTuple):
    """Codes of q queries.

    Attributes:
        codes: (q, m) int8.
        intervals: (q, 4) float64: factor, residual factor, rest factor, slack.
    """

    codes: NDArray[np.int8]
    intervals: NDArray[np.float64]


def int8_query_codes(units: NDArray[np.float32]) -> QueryCodes:
    """Codes and intervals against ``int8_codes`` of the rows.

    Args:
        units: (q, d) float32 unit rows.
    """
    codes, factor, length, residual = _code(units.astype(np.float64), units.shape[1])
    intervals = np.zeros((len(units), 4))
    intervals[:, 0] = factor
    intervals[:, 1] = length
    intervals[:, 3] = residual * (1 + 4 * FLOAT_ROUNDOFF) + UNIT_SLACK
    return QueryCodes(codes, intervals)


def rotated_query_codes(
    units: NDArray[np.float32],
    rotation: NDArray[np.float32],
    error: float,
    threads: int | None = None,
) -> QueryCodes:
    """Codes and intervals against ``rotated_codes`` of the rows.

    Args:
        units: (q, d) float32 unit rows.
        rotation: see ``fit_rotation``.
        error: see ``rotation_error``.
        threads: ``None``: all.

    Returns:
        Codes padded with zeros to a multiple of 4, none beyond what the kernel in use takes.
    """
    h, d = rotation.shape
    # No product of NumPy: the threads of its BLAS spin for a while behind it, and a scan that follows has
    # to share the processors with them (half as fast, on two).
    kept = project(units, rotation, threads)
    codes, factor, length, residual = _code(kept, -(-h // GROUP) * GROUP, most_code(len(units)))
    slack = (residual + product_error(h, d)) * ((1 + error) * (1 + 4 * FLOAT_ROUNDOFF))
    intervals = np.empty((len(units), 4))
    intervals[:, 0] = factor
    intervals[:, 1] = length
    intervals[:, 2] = rest_length(units, kept, error)
    intervals[:, 3] = slack + (1.1 * error + UNIT_SLACK + SCAN_SLACK)
    return QueryCodes(codes, intervals)


def _code(
    values: NDArray[np.float64], padded: int, most: int = 127
) -> tuple[NDArray[np.int8], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Codes, factor, at least ``‖factor · code‖``, at least ``‖values − factor · code‖``."""
    codes, sums = code_rows(values, padded, most)
    growth = 1 + (values.shape[1] + 8) * ROUNDOFF
    factor = sums[:, 0]
    length = factor * np.sqrt(sums[:, 1]) * growth
    # The products of factor and code are rounded too, each by at most a roundoff of its value.
    residual = np.sqrt(sums[:, 2]) * growth + 2 * ROUNDOFF * length
    return codes, factor, length, residual
