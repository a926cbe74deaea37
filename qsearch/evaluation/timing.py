"""What a search takes: ways in turns, one query after the other and in batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qsearch.evaluation.answers import Queries
from qsearch.retrieval import BATCH_QUERIES

__all__ = ["BATCH", "ROUNDS", "Times", "time_in_turns"]

BATCH = BATCH_QUERIES
"""Queries of a batch."""

ROUNDS = 3
"""Every way is timed so often, in turns: a machine that slows down slows down all of them."""

_MOST = 200
"""Queries that are timed one after the other."""

_LEAST = 20
_SECONDS = 5.0
"""That one way may take for its queries one after the other in one round, if they are more than 20."""


_PERCENTILES = {50: 1, 95: 20, 99: 100}
"""By percentile, from how many values on there is one."""


@dataclass(slots=True, eq=False)
class Times:
    """Milliseconds for one query.

    Attributes:
        singles: of single queries, of all rounds: their percentiles are what a search takes.
        batches: of the queries of a batch, the mean of each round.
        batch_queries: how many queries a batch has.
    """

    singles: list[float] = field(default_factory=list)
    batches: list[float] = field(default_factory=list)
    batch_queries: int = 0

    def percentiles(self) -> dict[str, float] | None:
        """p50, p95 and p99 of single queries, those that so many can tell; ``None``: none was timed."""
        if not self.singles:
            return None
        shares = [share for share, least in _PERCENTILES.items() if len(self.singles) >= least]
        some: NDArray[np.float64] = np.percentile(self.singles, shares)
        return {f"p{share}": float(one) for share, one in zip(shares, some, strict=True)}

    @property
    def mean(self) -> float | None:
        """Of single queries: where some are answered exactly the median says nothing of these."""
        return float(np.mean(self.singles)) if self.singles else None

    @property
    def batch(self) -> float | None:
        """The median of the rounds."""
        return float(np.median(self.batches)) if self.batches else None


def time_in_turns(
    searches: Sequence[Callable[[Queries], object]], queries: Queries
) -> Iterator[list[Times]]:
    """Time all searches in each of ``ROUNDS`` rounds.

    Args:
        searches: take queries and search them all at once.
        queries: those that are timed are spread evenly over them.

    Yields:
        What is known so far, after each way in each round: the same list.
    """
    chosen = queries.chosen(_spread(len(queries), _MOST))
    counts = []
    times = [Times() for _ in searches]
    first = chosen.part(0, 1)
    for search in searches:
        search(first)  # what is made once is not what a query takes
        started = time.perf_counter()
        search(first)
        taken = time.perf_counter() - started
        counts.append(min(len(chosen), max(_LEAST, int(_SECONDS / max(taken, 1e-9)))))
    for _ in range(ROUNDS):
        for number, search in enumerate(searches):
            some = chosen.chosen(_spread(len(chosen), counts[number]))
            for place in range(len(some)):
                one = some.part(place, place + 1)
                started = time.perf_counter()
                search(one)
                times[number].singles.append(1000.0 * (time.perf_counter() - started))
            batch = chosen.part(0, BATCH)
            started = time.perf_counter()
            search(batch)
            taken = time.perf_counter() - started
            times[number].batches.append(1000.0 * taken / len(batch))
            times[number].batch_queries = len(batch)
            yield times


def _spread(total: int, count: int) -> list[int]:
    """So many numbers below ``total``, or all, evenly spread."""
    return sorted({int(one) for one in np.linspace(0, total - 1, min(count, total)).round()})
