"""How far apart scores by int8 codes must be to say which of two rows is nearer.

A code rounds each component to a multiple of a step, so it is off by a number that is spread evenly within
half a step, of variance step² / 12; and a cosine of two unit rows that are rounded, one by a step r and one
by q, by one of variance (r² + q²) / 12. Of two such cosines the difference has twice that. What lies within
three standard deviations of the k-th best by codes may belong to the k best: where many documents are all
but the same, as copies of a page are, that can be hundreds, and their floats decide. Elsewhere it is hardly
any.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import QueryCodes
from qsearch.lazily import cached_property
from qsearch.store import Segment, sample_rows

__all__ = ["Blur"]

_DEVIATIONS = 3.0
_FACTOR = _DEVIATIONS * math.sqrt(2.0 / 12.0)
_NEARLY_ALL = 0.9


class Blur:
    """Says it of the rows of some segments."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        """Take the segments; one at least is not empty."""
        self._segments = list(segments)

    def of(self, codes: QueryCodes) -> NDArray[np.float32]:
        """(q,) float32: in scores as kernels give them, scale · (code of the row · code of the query).

        Args:
            codes: of q queries, see ``codes.int8_query_codes``.
        """
        steps = self._step / codes.intervals[:, 0]
        return (np.hypot(steps, 1.0) * _FACTOR).astype(np.float32)

    @cached_property
    def _step(self) -> float:
        """Of nearly all rows no larger one, by those that the first search has looked at anyway."""
        scales = np.sort(np.concatenate([one.scale[sample_rows(one)] for one in self._segments]))
        return float(scales[int(_NEARLY_ALL * (len(scales) - 1))])  # np.quantile imports numpy.ma
