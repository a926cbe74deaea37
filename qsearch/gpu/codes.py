"""Codes and intervals of queries, made on a device: ``qsearch.codes.bounds`` in torch, in the same float64.

Sums may be added up in another order than there, which the intervals allow for: they bound what any order
gives. So codes and intervals may differ from the CPU's in their last bits, and answers do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import int8_margins, rotated_margins
from qsearch.kernels import Margins

if TYPE_CHECKING:
    import torch

__all__ = ["LIFT", "Batch", "Head", "Rotation", "coded_batch", "coded_head", "margins_there"]

_MOST = 127

LIFT = 2.0**-24
"""Scores are rounded to float32 at the end, which may lift a cosine by half a unit in the last place."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Queries on a device.

    Attributes:
        vectors: (q, d) float32, as they came.
        units: (q, d) float64: divided by their length and rounded to float32.
        codes: (q, ⌈d/32⌉ 32) int8.
        intervals: (q, 4) float64 of these, see ``codes.int8_query_codes``.
    """

    vectors: torch.Tensor
    units: torch.Tensor
    codes: torch.Tensor
    intervals: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """Queries as the rotated codes of one segment see them, and what they need.

    All but the codes is in units of each query's factor.

    Attributes:
        codes: (q, ⌈h/32⌉ 32) int8.
        factors: (q, 2) float32: residual and rest factor, rounded up.
        thresholds: (q,) float32: what bounds of rows are held against, rounded down.
    """

    codes: torch.Tensor
    factors: torch.Tensor
    thresholds: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Rotation:
    """Principal axes of a segment on a device.

    Attributes:
        axes: (⌈h/32⌉ 32, d) float64; 0 behind the last.
        margins: for the intervals of queries.
        margins_there: (7,) float64: the same on the device.
    """

    axes: torch.Tensor
    margins: Margins
    margins_there: torch.Tensor

    @classmethod
    def of(
        cls, rotation: NDArray[np.float32], error: float, width: int, device: object
    ) -> Rotation:
        """Bring them there.

        Args:
            rotation: (h, d).
            error: of it.
            width: ⌈h/32⌉ 32.
            device: a ``torch.device``.
        """
        import torch

        axes = np.zeros((width, rotation.shape[1]))
        axes[: len(rotation)] = rotation
        margins = rotated_margins(rotation, error)
        return cls(torch.from_numpy(axes).to(device), margins, margins_there(margins, device))


def margins_there(margins: Margins, device: object) -> torch.Tensor:
    """(7,) float64 on a device, in the order of ``kernels.Margins``."""
    import torch

    return torch.tensor(margins, dtype=torch.float64, device=device)


def coded_batch(vectors: torch.Tensor, width: int) -> Batch:
    """Queries against the int8 codes of rows.

    Args:
        vectors: (q, d) float32, checked.
        width: columns of the codes; those behind d are 0.
    """
    import torch

    wide = vectors.double()
    units = (wide / (wide * wide).sum(dim=1, keepdim=True).sqrt()).float().double()
    codes, intervals = _coded(
        units, width, torch.zeros_like(units[:, 0]), int8_margins(units.shape[1])
    )
    return Batch(vectors, units, codes, intervals)


def coded_head(batch: Batch, rotation: Rotation, needed: torch.Tensor) -> Head:
    """Queries against the rotated codes of a segment, see ``codes.rotated_query_codes``.

    Thresholds are as ``scan_threshold`` of kernels/native/bounds.hpp: whatever may reach ``needed`` passes.

    Args:
        batch: q queries.
        rotation: of the segment.
        needed: (q,) float32.
    """
    kept = batch.units @ rotation.axes.T
    missing = (batch.units * batch.units).sum(dim=1) - (kept * kept).sum(dim=1)
    codes, intervals = _coded(kept, kept.shape[1], missing, rotation.margins)
    factors = _away((intervals[:, 1:3] / intervals[:, :1]).float(), math.inf)
    exact = (needed.double() - LIFT - intervals[:, 3]) / intervals[:, 0]
    return Head(codes, factors, _away(_away(exact.float(), -math.inf), -math.inf))


def _coded(
    values: torch.Tensor, width: int, missing: torch.Tensor, margins: Margins
) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes and intervals, as ``kernels.reference`` defines them.

    Args:
        values: (q, m) float64.
        width: columns of the codes; those behind m are 0.
        missing: (q,) float64, the squared lengths of what no code is of.
        margins: see ``kernels.Margins``.
    """
    import torch

    largest = values.abs().amax(dim=1)
    factor = torch.where(largest > 0, largest / _MOST, 1.0)
    rounded = (values / factor[:, None]).round()
    lost = values - factor[:, None] * rounded
    length = factor * (rounded * rounded).sum(dim=1).sqrt() * margins.growth
    residual = (lost * lost).sum(dim=1).sqrt() * margins.growth + margins.roundoffs * length
    rest = (missing.clamp(min=0.0) + margins.hidden).sqrt() * margins.outward
    slack = (residual + margins.added) * margins.times + margins.constant
    codes = rounded.to(torch.int8)
    if width > values.shape[1]:
        codes = torch.nn.functional.pad(codes, (0, width - values.shape[1]))
    return codes, torch.stack([factor, length, rest, slack], dim=1)


def _away(values: torch.Tensor, to: float) -> torch.Tensor:
    import torch

    return torch.nextafter(values, torch.full_like(values, to))
