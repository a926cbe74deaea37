"""Times of searches, made up: where plans are tested, and not what searches take on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import pytest

from qsearch.retrieval.costs import Costs

Times: TypeAlias = tuple[float, float]
"""Milliseconds of a query alone, and of one in a batch."""


def always(alone: float, batch: float) -> Callable[[int], Times]:
    """So much, by any number of candidates."""
    return lambda number: (alone, batch)


def each(milliseconds: float) -> Callable[[int], Times]:
    """So much for each candidate."""
    return lambda number: (milliseconds * number, milliseconds * number)


def make_up_times(
    patch: pytest.MonkeyPatch,
    exact: Times | Callable[[Costs], Times],
    candidates: Callable[[int], Times],
    beams: Callable[[int], Times] | None = None,
) -> None:
    """Let indexes that are built meanwhile have measured these times.

    Args:
        patch: undoes it.
        exact: of exact searches, behind candidates too.
        candidates: by number of them.
        beams: by their width; ``None`` times them.
    """

    def exactly(costs: Costs, *given: object) -> Times:
        return exact(costs) if callable(exact) else exact

    def by(times: Callable[[int], Times], numbers: Sequence[int]) -> tuple[np.ndarray, ...]:
        return tuple(np.array([times(one) for one in numbers], dtype=np.float64).T)

    patch.setattr(Costs, "exact", exactly)
    patch.setattr(Costs, "behind", exactly)
    patch.setattr(Costs, "candidates", lambda costs, k, kept, grid: by(candidates, grid))
    if beams is not None:
        patch.setattr(Costs, "beams", lambda costs, graph, k, kept, widths: by(beams, widths))
