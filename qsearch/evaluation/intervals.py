"""How sure a mean over queries is, and a difference of two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
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
"""From fewer values a bootstrap draws intervals that are too narrow, and bounds say next to nothing: none
is given."""

_PLACES = 1 << 24
"""Numbers that are drawn at a time: bounds memory."""

_KEPT_PLACES = 1 << 22
"""The same of shares, of which some are kept: an evaluation has a hundred means over as many queries."""


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
    """The mean, with Gaffke's bounds (2005; the draws are always the same ones).

    They are the percentiles of a Bayesian bootstrap (Rubin 1981) over the queries and one that was not
    asked, whose value is taken to be 0 for the lower bound and 1 for the upper one. So they hold for few
    queries and for any distribution, as far as anybody knows (Learned-Miller and Thomas 2019; of values
    that are 0 or 1 they are Clopper and Pearson's). Percentiles of a plain bootstrap are too narrow where
    few queries have most of the value, as of MRR: of 20 such queries they held the true mean in 86% of
    samples, and these in 99%.

    Args:
        values: (q,) one of each query, from 0 to 1; NaN where a query has none.

    Examples:
        >>> mean_of(np.ones(100)).interval
        Interval(low=0.96..., high=1.0)
    """
    there = values[~np.isnan(values)]
    count = len(there)
    if not count:
        return Quantity(float("nan"), None, 0)
    mean = float(there.mean())
    if count < _LEAST_QUERIES:
        return Quantity(mean, None, count)
    return Quantity(mean, _bounds(there), count)


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of what one way has more than another, query by query.

    Attributes:
        mean: of the differences.
        interval: by a paired bootstrap (Efron 1979); ``None`` from fewer than ten queries. Where all
            values are equal no draw differs, and says nothing of queries that were not asked: one that
            differs by 1 may have escaped n queries with a probability of 5% if its share is
            1 − 0.05^(1/n), about 3/n, and the interval reaches at least as far. So it does where fewer than
            five differ.
        probability: that differences whose signs are chance come out as far from 0 (a randomisation
            test, two-sided).
        queries: how many have both.
        equal: whether no query differs. Then there is nothing to test.
    """

    mean: float
    interval: Interval | None
    probability: float
    queries: int
    equal: bool = False

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
    interval = _interval(there) if count >= _LEAST_QUERIES else None
    if not there.any():
        return Difference(0.0, interval, 1.0, count, equal=True)
    generator = np.random.default_rng(0)
    least = abs(there.sum()) - 1e-12 * np.abs(there).sum()  # sums are rounded
    reached, draws = 1, _DRAWS if count < _SIGNS_MANY else _DRAWS_OF_MANY
    for some in _portions(count, draws):
        signs = generator.integers(0, 2, size=(some, count), dtype=np.int8) * 2 - 1
        reached += int((np.abs(signs @ there) >= least).sum())
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


def _bounds(values: NDArray[np.float64]) -> Interval:
    """Of the mean of values from 0 to 1, see ``mean_of``."""
    count = len(values)
    # As rounded as the shares are: of losses, so that none at all is exactly none.
    both = np.stack([values, 1.0 - values], axis=1).astype(np.float32)
    portions = _portions(count + 1, _DRAWS if count < _MANY else _DRAWS_OF_MANY, _KEPT_PLACES)
    drawn = [_shares(count, some, number) @ both for number, some in enumerate(portions)]
    lows, losses = np.concatenate(drawn).T
    edge = 50.0 * (1.0 - CONFIDENCE)
    return Interval(float(np.percentile(lows, edge)), float(1.0 - np.percentile(losses, edge)))


@lru_cache(maxsize=4)
def _shares(count: int, draws: int, seed: int) -> NDArray[np.float32]:
    """What queries have of a mean over them and one that was not asked: (draws, count) float32."""
    shares = np.random.default_rng(seed).standard_exponential((draws, count + 1), dtype=np.float32)
    shares /= shares.sum(axis=1, keepdims=True)
    return shares[:, :count]


def _interval(values: NDArray[np.float64]) -> Interval:
    """Of the mean of differences from −1 to 1, see ``Difference``."""
    mean = float(values.mean())
    drawn = _percentiles(values) if np.ptp(values) > 1e-12 else Interval(mean, mean)
    if (np.abs(values - np.median(values)) > 1e-12).sum() >= _FEW:
        return drawn
    unseen = 1.0 - 0.05 ** (1.0 / len(values))
    return Interval(
        min(drawn.low, mean - unseen * (mean + 1.0)),
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


def _portions(count: int, draws: int, places: int = _PLACES) -> list[int]:
    """How many of the draws of ``count`` values are made at a time."""
    step = max(1, places // count)
    return [min(step, draws - start) for start in range(0, draws, step)]
