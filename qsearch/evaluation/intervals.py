"""How sure a mean over queries is, and a difference of two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Difference", "Interval", "Quantity", "difference", "holm", "mean_of"]

CONFIDENCE = 0.95
_DRAWS = 9999
_DRAWS_OF_MANY = 1999
_MANY = 1000
"""From so many values fewer draws say as much of an interval."""

_SIGNS_MANY = 20_000
"""The same of a probability, which is no smaller than one of the draws: it takes a second."""

_FEW = 5
"""Fewer values than this that differ from all others are too few for what a bootstrap draws of them."""

_LEAST_QUERIES = 10
"""From fewer values a bootstrap draws intervals that are too narrow: none is given."""

_PLACES = 1 << 24
"""Numbers that are drawn at a time: bounds memory."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a mean lies, with 95% confidence."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Quantity:
    """A mean over queries.

    Attributes:
        mean: of the queries that have a value; NaN where none has.
        interval: of the mean over all queries of the kind; ``None`` from fewer than ten.
        queries: how many have a value.
    """

    mean: float
    interval: Interval | None
    queries: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "mean": None if np.isnan(self.mean) else self.mean,
            "low": None if self.interval is None else self.interval.low,
            "high": None if self.interval is None else self.interval.high,
            "queries": self.queries,
        }


def mean_of(values: NDArray[np.float64]) -> Quantity:
    """The mean, with the percentiles of its bootstrap (Efron 1979; the draws are always the same ones).

    Where all values are equal no draw differs, and says nothing of queries that were not asked: a value
    that differs by 1 may have escaped n queries with a probability of 5% if its share is 1 − 0.05^(1/n),
    about 3/n, and the interval reaches at least as far, within 0 to 1. So it does where fewer than five
    differ.

    Args:
        values: (q,) one of each query, from 0 to 1; NaN where a query has none.

    Examples:
        >>> mean_of(np.ones(100)).interval
        Interval(low=0.9704..., high=1.0)
    """
    there = values[~np.isnan(values)]
    count = len(there)
    if not count:
        return Quantity(float("nan"), None, 0)
    mean = float(there.mean())
    if count < _LEAST_QUERIES:
        return Quantity(mean, None, count)
    return Quantity(mean, _interval(there, 0.0), count)


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of what one way has more than another, query by query.

    Attributes:
        mean: of the differences.
        interval: by a paired bootstrap, as ``mean_of`` where all are equal; ``None`` from fewer than ten
            queries.
        probability: that differences whose signs are chance come out as far from 0 (a randomisation
            test, two-sided).
        queries: how many have both.
    """

    mean: float
    interval: Interval | None
    probability: float
    queries: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **Quantity(self.mean, self.interval, self.queries).to_dict(),
            "p": None if np.isnan(self.probability) else self.probability,
        }


def difference(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> Difference:
    """Compare two ways on the same queries.

    The randomisation test (Fisher; Smucker, Allan and Carterette 2007 recommend it for retrieval) turns
    the sign of each difference by chance, thousands of times: the probability is the share of these means
    that are as far from 0 as the one found, itself counted.

    Args:
        ours: (q,) values; NaN where a query has none.
        theirs: (q,) likewise.
    """
    both = ours - theirs
    there = both[~np.isnan(both)]
    count = len(there)
    if not count:
        return Difference(float("nan"), None, float("nan"), 0)
    mean = float(there.mean())
    interval = _interval(there, -1.0) if count >= _LEAST_QUERIES else None
    if not there.any():
        return Difference(0.0, interval, 1.0, count)
    generator = np.random.default_rng(0)
    reached, draws = 1, _DRAWS if count < _SIGNS_MANY else _DRAWS_OF_MANY
    for some in _portions(count, draws):
        signs = generator.integers(0, 2, size=(some, count), dtype=np.int8) * 2 - 1
        reached += int((np.abs(signs @ there) >= abs(there.sum()) * (1 - 1e-12)).sum())
    return Difference(mean, interval, reached / (draws + 1), count)


def holm(probabilities: Sequence[float]) -> list[float]:
    """Probabilities of several tests, corrected so that one in twenty families errs at 0.05 (Holm 1979).

    NaN stays, and does not count.

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(probabilities, dtype=np.float64)
    corrected = values.copy()
    places = [int(one) for one in np.argsort(values, kind="stable") if not np.isnan(values[one])]
    highest = 0.0
    for rank, place in enumerate(places):
        highest = max(highest, min(1.0, float(values[place]) * (len(places) - rank)))
        corrected[place] = highest
    return [float(one) for one in corrected]


def _interval(values: NDArray[np.float64], least: float) -> Interval:
    """Of the mean of values from ``least`` to 1, see ``mean_of``."""
    mean = float(values.mean())
    drawn = _percentiles(values) if np.ptp(values) > 1e-12 else Interval(mean, mean)
    if (np.abs(values - np.median(values)) > 1e-12).sum() >= _FEW:
        return drawn
    unseen = 1.0 - 0.05 ** (1.0 / len(values))
    return Interval(
        min(drawn.low, mean - unseen * (mean - least)),
        max(drawn.high, mean + unseen * (1.0 - mean)),
    )


def _percentiles(values: NDArray[np.float64]) -> Interval:
    generator = np.random.default_rng(0)
    means = [
        values[generator.integers(len(values), size=(some, len(values)))].mean(axis=1)
        for some in _portions(len(values), _DRAWS if len(values) < _MANY else _DRAWS_OF_MANY)
    ]
    edge = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(np.concatenate(means), [edge, 100.0 - edge])
    return Interval(float(low), float(high))


def _portions(count: int, draws: int) -> list[int]:
    """How many of the draws of ``count`` values are made at a time."""
    step = max(1, _PLACES // count)
    return [min(step, draws - start) for start in range(0, draws, step)]
