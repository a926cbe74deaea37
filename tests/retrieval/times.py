"""Times of searches, made up: where plans are tested, and not what searches take on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import pytest

from qsearch.retrieval.costs import Costs

Times: TypeAlias = tuple[float, float]
"""Milliseconds of a query alone, and of one in a batch."""

Took: TypeAlias = Callable[[Costs, int], Times]
"""By what is timed, and the number of candidates, or the width of a beam; of exact searches of nothing."""


def always(alone: float, batch: float) -> Took:
    """So much, by any number."""
    return lambda costs, number: (alone, batch)


def each(milliseconds: float) -> Took:
    """So much for each candidate."""
    return lambda costs, number: (milliseconds * number, milliseconds * number)


def make_up_times(
    patch: pytest.MonkeyPatch,
    exact: Took,
    candidates: Took,
    beams: Took | None = None,
) -> None:
    """Let indexes that are built meanwhile have measured these times.

    Args:
        patch: undoes it.
        exact: of exact searches, behind candidates too.
        candidates: by number of them.
        beams: by their width; ``None`` times them.
    """

    def exactly(costs: Costs, *given: object) -> Times:
        return exact(costs, 0)

    def by(took: Took, costs: Costs, numbers: Sequence[int]) -> tuple[np.ndarray, ...]:
        return tuple(np.array([took(costs, one) for one in numbers], dtype=np.float64).T)

    patch.setattr(Costs, "exact", exactly)
    patch.setattr(Costs, "behind", exactly)
    patch.setattr(Costs, "candidates", lambda costs, k, kept, grid: by(candidates, costs, grid))
    if beams is not None:
        patch.setattr(
            Costs, "beams", lambda costs, graph, k, kept, widths: by(beams, costs, widths)
        )
