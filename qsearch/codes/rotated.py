"""Rotated codes: int8 codes of the leading principal components, and what the rest can add at most.

An orthogonal change of axes leaves every inner product as it is. Along the principal axes of real
embeddings most of a vector's length lies in the first components, so a scan that reads only these
knows every score up to ``‖rest of the query‖ · ‖rest of the row‖`` (Cauchy-Schwarz), and reads half
the bytes or less. Nothing is centred: that would change the order of inner products.

docs/exactness.md derives the bounds.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsearch.codes.int8 import round_up
from qsearch.kernels.reference import GROUP, ROTATED_BLOCK_ROWS

__all__ = [
    "RotatedCodes",
    "fit_rotation",
    "fit_rotation_to",
    "least_rotation_error",
    "product_error",
    "rest_slack",
    "rotated_codes",
    "rotation_error",
]

_ENERGY = 0.88
"""Share of the squared length that the kept components hold. Fewer components let more rows through
the scan, more cost more to read: on 100,000 real texts (384 dimensions) 0.88 keeps 192, and the time
of a search changes by less than a tenth from 160 to 224."""

_STEP = 32
"""The number of kept components is a multiple of this."""

ROUNDOFF: float = 2.0**-53
"""Unit roundoff of float64."""


class RotatedCodes(NamedTuple):
    """Rotated codes of n rows, in blocks of 16.

    Attributes:
        blocks: (ceil(n / 16), ceil(h / 4), 16, 4) uint8: component ``4 g + i`` of row ``16 b + r`` is
            ``[b, g, r, i]``, as code + 128; padding is 128.
        bounds: (ceil(n / 16), 3, 16) float32 for each row: scale, residual (at least the L2 norm of
            what the code loses of the kept components) and rest (at least the L2 norm of the
            others); 0 behind the last row.
    """

    blocks: NDArray[np.uint8]
    bounds: NDArray[np.float32]


def fit_rotation(
    second_moments: NDArray[np.float64], energy: float = _ENERGY
) -> NDArray[np.float32]:
    """The leading principal axes, enough of them to hold the share ``energy`` of squared length.

    Args:
        second_moments: (d, d) float64, ``X.T @ X`` of unit rows.
        energy: between 0 and 1.

    Returns:
        (h, d) float32 with orthonormal rows, up to ``rotation_error``: rounding them costs some 1e-6
        of a score's bound, and halves what is stored.
    """
    values, vectors = np.linalg.eigh(second_moments)
    kept = _kept(values, energy)
    return np.ascontiguousarray(vectors[:, ::-1][:, :kept].T, dtype=np.float32)


def fit_rotation_to(rows: NDArray[np.float32], energy: float = _ENERGY) -> NDArray[np.float32]:
    """As ``fit_rotation``, from fewer rows than dimensions: their n×n products have the same axes.

    Args:
        rows: (n, d) float32 unit rows, n below d.
        energy: between 0 and 1.
    """
    wide = rows.astype(np.float64)
    values, vectors = np.linalg.eigh(wide @ wide.T)
    # Axes of next to no length would be noise, and not orthogonal.
    rank = int((values > 1e-6 * values[-1]).sum())
    kept = min(rank, _kept(values, energy))
    chosen = slice(len(values) - kept, None)
    axes = (vectors[:, chosen].T @ wide) / np.sqrt(values[chosen])[:, None]
    return np.ascontiguousarray(axes[::-1], dtype=np.float32)


def _kept(rising: NDArray[np.float64], energy: float) -> int:
    """How many of the axes with these eigenvalues are to be kept."""
    shares = np.cumsum(rising[::-1].clip(min=0.0))
    needed = int(np.searchsorted(shares, energy * shares[-1])) + 1
    return min(len(rising), -(-needed // _STEP) * _STEP)


def rotation_error(rotation: NDArray[np.floating]) -> float:
    """An upper bound on ``‖W Wᵀ − I‖₂`` for the stored rotation W.

    The Frobenius norm of the computed difference, and what computing it can have hidden.

    Args:
        rotation: (h, d) float32, or float64 of the same values.
    """
    h, d = rotation.shape
    wide = rotation.astype(np.float64)
    difference = wide @ wide.T - np.eye(h)
    found = float(np.sqrt(np.square(difference).sum()))
    return float(found * (1.0 + (h * h + 8) * ROUNDOFF) + least_rotation_error(h, d))


def least_rotation_error(h: int, d: int) -> float:
    """What computing ``rotation_error`` of an (h, d) matrix can have hidden: no bound is below."""
    return 1.1 * (d + 2) * ROUNDOFF * h


def product_error(h: int, d: int) -> float:
    """An upper bound on ``‖fl(W x) − W x‖₂`` for a unit row x, whatever the order of summation.

    Each component errs by at most ``γ_d |w| · |x|`` (Higham, Accuracy and Stability of Numerical
    Algorithms, 2nd ed., section 3.1), and ``‖|W| |x|‖₂ ≤ ‖W‖_F ‖x‖₂``.
    """
    return 1.1 * d * ROUNDOFF * math.sqrt(h)


def rest_slack(h: int, d: int, error: float) -> float:
    """What the squared length of a rest can be above ``‖x‖² − ‖W x‖²``, both computed in float64.

    Args:
        h: rows of the rotation W.
        d: components of a unit row x.
        error: see ``rotation_error``.
    """
    return 1.1 * error + 2.2 * product_error(h, d) + 1.1 * (2 * d + 32) * ROUNDOFF


def rotated_codes(
    rows: NDArray[np.float32], rotation: NDArray[np.floating], error: float
) -> RotatedCodes:
    """Code the kept components of each row by itself, as ``int8_codes`` does.

    Args:
        rows: (n, d) float32 unit rows.
        rotation: see ``fit_rotation``.
        error: see ``rotation_error``.
    """
    n, d = rows.shape
    h = len(rotation)
    wide = rows.astype(np.float64)
    kept = wide @ rotation.T.astype(np.float64)
    scale = (np.abs(kept).max(axis=1, initial=0) / 127.0).astype(np.float32)
    divisor = np.where(scale > 0, scale, np.float32(1)).astype(np.float64)
    # The scale is rounded, and may so be a little too small for the largest component.
    codes = np.clip(np.rint(kept / divisor[:, None]), -127, 127)
    lost = kept - scale.astype(np.float64)[:, None] * codes
    residual = np.sqrt(np.einsum("ij,ij->i", lost, lost)) * (
        1.0 + (h + 8) * ROUNDOFF
    ) + product_error(h, d)
    blocks = -(-n // ROTATED_BLOCK_ROWS)
    groups = -(-h // GROUP)
    padded = np.full((blocks * ROTATED_BLOCK_ROWS, groups * GROUP), 128, dtype=np.uint8)
    padded[:n, :h] = codes + 128.0
    bounds = np.zeros((3, blocks * ROTATED_BLOCK_ROWS), dtype=np.float32)
    bounds[0, :n] = scale
    bounds[1, :n] = round_up(residual)
    whole, length = np.einsum("ij,ij->i", wide, wide), np.einsum("ij,ij->i", kept, kept)
    rest = np.sqrt((whole - length).clip(min=0.0) + rest_slack(h, d, error)) * (1 + 4 * ROUNDOFF)
    bounds[2, :n] = round_up(rest)
    return RotatedCodes(
        np.ascontiguousarray(
            padded.reshape(blocks, ROTATED_BLOCK_ROWS, groups, GROUP).transpose(0, 2, 1, 3)
        ),
        np.ascontiguousarray(bounds.reshape(3, blocks, ROTATED_BLOCK_ROWS).transpose(1, 0, 2)),
    )
