"""What a query's code says about a score at most: intervals, rounded outwards.

For a row with scale s, code c, residual r and rest T, and a query with code g,

    cosine ≤ factor · s · (g · c) + residual_factor · r + rest_factor · T + slack.

docs/exactness.md derives it, term by term.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsearch.codes.rotated import ROUNDOFF, product_error, rest_slack
from qsearch.kernels import Margins, code_projections, code_rows, most_code
from qsearch.kernels.reference import GROUP

__all__ = [
    "FLOAT_ROUNDOFF",
    "QueryCodes",
    "int8_margins",
    "int8_query_codes",
    "rotated_margins",
    "rotated_query_codes",
]

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


def int8_margins(d: int) -> Margins:
    """Margins for the intervals of ``int8_query_codes``, of d dimensions."""
    return _margins(d, added=0.0, times=1 + 4 * FLOAT_ROUNDOFF, constant=UNIT_SLACK)


def rotated_margins(rotation: NDArray[np.float32], error: float) -> Margins:
    """Margins for the intervals of ``rotated_query_codes``.

    Args:
        rotation: see ``fit_rotation``.
        error: see ``rotation_error``.
    """
    h, d = rotation.shape
    return _margins(
        h,
        added=product_error(h, d),
        times=(1 + error) * (1 + 4 * FLOAT_ROUNDOFF),
        constant=1.1 * error + UNIT_SLACK + SCAN_SLACK,
    )._replace(hidden=rest_slack(h, d, error), outward=1 + 4 * ROUNDOFF)


def _margins(components: int, *, added: float, times: float, constant: float) -> Margins:
    # The products of factor and code are rounded too, each by at most a roundoff of its value.
    growth, roundoffs = 1 + (components + 8) * ROUNDOFF, 2 * ROUNDOFF
    return Margins(growth, roundoffs, added, times, constant, hidden=0.0, outward=0.0)


def int8_query_codes(units: NDArray[np.float32]) -> QueryCodes:
    """Codes and intervals against ``int8_codes`` of the rows.

    Args:
        units: (q, d) float32 unit rows.
    """
    return QueryCodes(*code_rows(units, int8_margins(units.shape[1])))


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
    padded = -(-len(rotation) // GROUP) * GROUP
    margins = rotated_margins(rotation, error)
    return QueryCodes(
        *code_projections(units, rotation, padded, margins, most_code(len(units)), threads)
    )
