"""Sample queries: those that stand for the ones to come, and strangers that stand for any other.

Where no sample is given, documents and middles between two of them are one, each left out of its own
results. Strangers are of six families:

- farther and farther from all documents: documents with more and more noise, down to nothing but noise;
  and beside a sample that is given such middles too;
- nearer and nearer to all of them: documents moved toward the mean of all, means of more and more of them,
  and that mean itself with less and less noise;
- near to few: documents that are farthest from all others, of rare kinds, with a little noise;
- amid documents: middles of some that are near each other;
- with other components: documents with half of theirs, without their signs, cubes of them, and with fewer
  and fewer of the largest;
- documents as they are, with a little noise, and middles between two, also far ones, with themselves among
  their results.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import unit_rows
from qsearch.store import Segment

__all__ = ["Kinds", "all_kinds"]

_QUERIES = 500

_NOISE = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, math.inf, math.inf)
"""Lengths of the noise that makes strangers of documents. At 0.5 they are among the documents still."""

_STRANGERS = 140
"""Of each kind."""

_NO_DIRECTION = 1e-3
"""A query whose components are smaller is next to nothing: two opposite documents have no middle."""

_MEANS = (5, 30)
"""Documents that strangers are means of, any and near ones."""

_NOISE_OF_MEAN = (0.5, 0.1)
"""Lengths of the noise that is added to the mean of all."""

_POOL = 2000
"""Documents, evenly spread, that means and those of rare kinds are taken from."""

_NOISE_OF_RARE = 0.3

_SHARES = (0.2, 0.05, 0.01)
"""Of the components, the largest, that strangers have of documents."""

_LITTLE_NOISE = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Kinds:
    """Sample queries of several kinds.

    Attributes:
        queries: (q, d) float32.
        left_out: (q, r) rows, filled up with −1, that a query was made of.
        kind: (q,) number of the kind of each.
        own: kinds that stand for the queries to come; the others are strangers.
        judged: kinds of strangers that are judged together: what is asked for is asked of both, and the
            more there are the more they can vouch for. They are neighbours, hardly better than each other.
        names: what each kind is, for people; several are called the same.
    """

    queries: NDArray[np.float32]
    left_out: NDArray[np.int64]
    kind: NDArray[np.int64]
    own: int
    judged: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]


def all_kinds(
    pieces: Sequence[Segment],
    queries: NDArray[np.float32] | None,
    count: int = _QUERIES,
    strangers: int = _STRANGERS,
    *,
    others: bool = False,
) -> Kinds:
    """The sample (given, or documents and middles between them) and strangers.

    Of rows whose documents were deleted nothing is made.

    Args:
        pieces: of the index.
        queries: (q, d) float32; ``None``: ``count`` of them are made.
        count: about half of them documents, half middles.
        strangers: of each kind.
        others: whether other ones are made than those that recall is measured with: what was chosen by some
            queries fares a little better with these than with others.
    """
    living = _Living(pieces, between=others)
    generator = np.random.default_rng(int(others))
    if queries is None:
        positions = living.spread(max(1, count // 2))
        rows = _rows_at(pieces, positions)
        own = [_Kind("like the documents", rows, (positions,))]
        own.append(_middles(rows, positions, generator))
    else:
        own = [_Kind("like the sample", queries)]
    positions = living.spread(max(1, strangers))
    rows = _rows_at(pieces, positions)
    farther = [] if queries is None else [_middles(rows, positions, generator)]
    farther += _farther(rows, positions, generator)
    positions = living.spread(_POOL)
    rows = _rows_at(pieces, positions)
    cosines = rows @ rows.T
    families = [
        farther,
        _near_many(rows, strangers, generator),
        [_near_few(rows, positions, cosines, 2 * strangers, generator)],
        _amid(rows, cosines, strangers, generator),
        _with_other_components(rows, strangers, generator),
        _as_they_are(rows, cosines, strangers, generator),
    ]
    every = [*own, *itertools.chain(*families)]
    left_out = np.full((sum(len(one.queries) for one in every), 2), -1, dtype=np.int64)
    first = 0
    for one in every:
        for number, column in enumerate(one.left_out):
            left_out[first : first + len(column), number] = column
        first += len(one.queries)
    numbers = itertools.count(len(own))
    judged: list[tuple[int, ...]] = []
    for family in families:
        here = [next(numbers) for _ in family]
        judged += itertools.pairwise(here) if len(here) > 1 else [tuple(here)]
    return Kinds(
        np.concatenate([one.queries for one in every]),
        left_out,
        np.repeat(np.arange(len(every)), [len(one.queries) for one in every]),
        len(own),
        tuple(judged),
        tuple(one.name for one in every),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Kind:
    """Queries of one kind.

    Attributes:
        name: see ``Kinds``.
        queries: (q, d) float32.
        left_out: positions, (q,) each, of rows that they were made of.
    """

    name: str
    queries: NDArray[np.float32]
    left_out: tuple[NDArray[np.int64], ...] = ()

    @classmethod
    def of(cls, name: str, queries: NDArray[np.floating], *left_out: NDArray[np.int64]) -> _Kind:
        """The kind, without queries that are next to nothing, of which codes say nothing."""
        usable = np.abs(queries).max(axis=1) > _NO_DIRECTION
        some = queries[usable].astype(np.float32)
        return cls(name, some, tuple(one[usable] for one in left_out))


def _farther(
    rows: NDArray[np.float32], positions: NDArray[np.int64], generator: np.random.Generator
) -> list[_Kind]:
    """Queries farther and farther from all documents."""
    kinds = []
    for length in _NOISE:
        noise = unit_rows(generator.standard_normal(rows.shape))[0]
        if math.isinf(length):
            kinds.append(_Kind("from anywhere", noise))
            continue
        kinds.append(_Kind.of("with noise", rows + np.float32(length) * noise, positions))
    return kinds


def _near_many(
    rows: NDArray[np.float32], count: int, generator: np.random.Generator
) -> list[_Kind]:
    """Queries nearer and nearer to all documents, so many of each kind."""
    mean = unit_rows(rows.mean(axis=0, dtype=np.float64)[None])[0]
    toward = _drawn(rows, count, generator) + mean
    means = [_drawn(rows, (count, some), generator).mean(axis=1) for some in _MEANS]
    around = [
        mean + length * unit_rows(generator.standard_normal((count, rows.shape[1])))[0]
        for length in _NOISE_OF_MEAN
    ]
    return [_Kind.of("near to many", some) for some in (toward, *means, *around)]


def _near_few(
    rows: NDArray[np.float32],
    positions: NDArray[np.int64],
    cosines: NDArray[np.float32],
    count: int,
    generator: np.random.Generator,
) -> _Kind:
    """Queries near documents that have no others near them."""
    others = cosines.copy()
    np.fill_diagonal(others, -1.0)
    chosen = np.sort(np.argsort(others.max(axis=1), kind="stable")[:count])
    noise = unit_rows(generator.standard_normal((len(chosen), rows.shape[1])))[0]
    some = rows[chosen] + np.float32(_NOISE_OF_RARE) * noise
    return _Kind.of("of rare kinds", some, positions[chosen])


def _amid(
    rows: NDArray[np.float32],
    cosines: NDArray[np.float32],
    count: int,
    generator: np.random.Generator,
) -> list[_Kind]:
    """Middles of documents that are near each other: of what is about one thing."""
    kinds = []
    for some in _MEANS:
        chosen = generator.permutation(len(rows))[:count]
        nearest = np.argpartition(-cosines[chosen], min(some, len(rows) - 1), axis=1)[:, :some]
        kinds.append(rows[nearest].mean(axis=1, dtype=np.float32))
    return [_Kind.of("amid documents", one) for one in kinds]


def _with_other_components(
    rows: NDArray[np.float32], count: int, generator: np.random.Generator
) -> list[_Kind]:
    """Documents with other components, of which fewer and fewer are left; so many of each kind."""
    d = rows.shape[1]
    some = _drawn(rows, count, generator)
    kinds = [np.where(generator.random(some.shape) < 0.5, some, np.float32(0))]
    kinds.append(np.abs(_drawn(rows, count, generator)))
    kinds.append(_drawn(rows, count, generator) ** 3 * np.float32(d))
    for share in _SHARES:
        some = _drawn(rows, count, generator)
        at = d - max(1, round(share * d))
        least = np.partition(np.abs(some), at, axis=1)[:, at]
        kinds.append(np.where(np.abs(some) >= least[:, None], some, np.float32(0)))
    return [_Kind.of("with other components", one) for one in kinds]


def _as_they_are(
    rows: NDArray[np.float32],
    cosines: NDArray[np.float32],
    count: int,
    generator: np.random.Generator,
) -> list[_Kind]:
    """Documents, these with a little noise, middles between two, and between far ones; so many of each."""
    chosen = generator.integers(len(rows), size=count)
    some, others = rows[chosen], _drawn(rows, count, generator)
    noise = unit_rows(generator.standard_normal(some.shape))[0]
    kinds = {
        "documents themselves": [some, some + np.float32(_LITTLE_NOISE) * noise],
        "between documents": [some + others, some + rows[cosines[chosen].argmin(axis=1)]],
    }
    return [_Kind.of(name, one) for name, several in kinds.items() for one in several]


def _middles(
    rows: NDArray[np.float32], positions: NDArray[np.int64], generator: np.random.Generator
) -> _Kind:
    """Middles between two of some rows, and the positions of both."""
    order = generator.permutation(len(rows))
    return _Kind.of("like the documents", rows + rows[order], positions, positions[order])


def _drawn(
    rows: NDArray[np.float32], size: int | tuple[int, int], generator: np.random.Generator
) -> NDArray[np.float32]:
    """So many of the rows, with repetition."""
    return rows[generator.integers(len(rows), size=size)]


class _Living:
    """The rows of an index that live, numbered without those that do not."""

    def __init__(self, pieces: Sequence[Segment], *, between: bool) -> None:
        """Take the index; ``between``: rows that lie between those that are taken without it."""
        self._pieces = pieces
        self._between = between
        counts = [one.living_rows for one in pieces]
        self._after = np.cumsum(counts)

    def spread(self, count: int) -> NDArray[np.int64]:
        """So many positions of rows, or as many as there are, evenly spread."""
        total = int(self._after[-1])
        count = min(count, total)
        # From the first to the last; or each in the middle of one of as many equal parts.
        ends = 0.5 * (total / count - 1.0) if self._between else 0.0
        places = np.linspace(ends, total - 1 - ends, count)
        chosen = np.unique(places.round().astype(np.int64))
        found = []
        for number, piece in enumerate(self._pieces):
            last = self._after[number]
            here = chosen[(chosen < last) & (chosen >= (self._after[number - 1] if number else 0))]
            rows = here - (self._after[number - 1] if number else 0)
            if piece.living is not None:
                rows = piece.living.indices()[rows]
            found.append(rows + piece.first_row)
        return np.concatenate(found)


def _rows_at(pieces: Sequence[Segment], positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """Float rows at rising positions."""
    chosen = []
    for piece in pieces:
        here = positions - piece.first_row
        chosen.append(piece.vectors[here[(here >= 0) & (here < piece.rows)]])
        piece.release()
    return np.concatenate(chosen)
