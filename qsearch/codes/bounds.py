"""What a query's code says about a score at most: intervals, rounded outwards.

For a row with scale s, code c, residual r and rest T, and a query with code g,

    cosine ≤ factor · s · (g · c) + residual_factor · r + rest_factor · T + slack.

docs/exactness.md derives it, term by term.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsearch.codes.rotated import ROUNDOFF, product_error, rest_slack
from qsearch.kernels import code_projections, code_rows, most_code
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
    codes, sums = code_rows(units)
    intervals = []
    for factor, squared, lost in sums.tolist():
        length, residual = _lengths(factor, squared, lost, units.shape[1])
        intervals.append((factor, length, 0.0, residual * (1 + 4 * FLOAT_ROUNDOFF) + UNIT_SLACK))
    return QueryCodes(codes, _table(intervals))


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
    padded = -(-h // GROUP) * GROUP
    codes, sums = code_projections(units, rotation, padded, most_code(len(units)), threads)
    products = product_error(h, d)
    beside = 1.1 * error + UNIT_SLACK + SCAN_SLACK
    hidden = rest_slack(h, d, error)
    intervals = []
    for factor, squared, lost, kept, whole in sums.tolist():
        length, residual = _lengths(factor, squared, lost, h)
        rest = math.sqrt(max(0.0, whole - kept) + hidden) * (1 + 4 * ROUNDOFF)
        slack = (residual + products) * ((1 + error) * (1 + 4 * FLOAT_ROUNDOFF)) + beside
        intervals.append((factor, length, rest, slack))
    return QueryCodes(codes, _table(intervals))


def _lengths(factor: float, squared: float, lost: float, components: int) -> tuple[float, float]:
    """At least ``‖factor · code‖``, and at least what the code loses.

    Args:
        factor: of the code.
        squared: the sum of the code's squares.
        lost: the sum of the squares of what it loses.
        components: over so many.
    """
    growth = 1 + (components + 8) * ROUNDOFF
    length = factor * math.sqrt(squared) * growth
    # The products of factor and code are rounded too, each by at most a roundoff of its value.
    return length, math.sqrt(lost) * growth + 2 * ROUNDOFF * length


def _table(intervals: list[tuple[float, float, float, float]]) -> NDArray[np.float64]:
    # Made of Python's numbers, which are the same: a step of NumPy takes longer than all of one query.
    return np.array(intervals, dtype=np.float64).reshape(len(intervals), 4)
