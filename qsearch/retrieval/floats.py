"""Exact search by the float rows alone: the k documents of highest score, proven.

It needs no codes that were made beforehand, and so serves the newest rows, segments from before there were
rotated codes, and machines without native kernels.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import unit_rows
from qsearch.errors import IndexFormatError
from qsearch.kernels import cosine_gather
from qsearch.retrieval.allowed import Allowed
from qsearch.retrieval.ranking import Ranking, Stage, add_stages, rank_rows, top_k, unit_queries
from qsearch.store import Segment
from qsearch.wording import words

__all__ = ["FEW_ROWS", "SCORED_QUERIES", "damaged", "damaged_at", "search_few", "search_floats"]

FEW_ROWS = 4096
"""Up to so many rows ``search_few`` is the quickest."""

SCORED_QUERIES = 4
"""For so few queries rows that are looked up are scored at once; for more, a product of all is quicker."""

_BLOCK_ROWS = 16_384
_BATCH = 64
_MOST_WAITING = 16
"""So many times k float rows may wait to be scored, and no fewer than a quarter of a block."""


def damaged(segment: Segment, found: str = "rows that are not finite") -> IndexFormatError:
    """The error for a segment in which a search has found damage."""
    return IndexFormatError(
        f"segment {segment.id} holds {found}; {words().verify} tells which file is damaged"
    )


def damaged_at(segments: Sequence[Segment], position: int) -> IndexFormatError:
    """The same for the segment that has the row at a position."""
    return damaged(next(one for one in segments if position < one.first_row + one.rows))


def search_floats(
    segments: Sequence[Segment],
    queries: NDArray[np.float32],
    k: int,
    allowed: Allowed | None = None,
) -> Ranking:
    """The k allowed rows of highest exact score, from the float rows alone.

    A float32 matrix product finds approximate scores; every row that its rounding error could hide
    is scored exactly. With unit roundoff u = 2⁻²⁴, unit rows x and the unit query v (both rounded to
    float32 from exact unit vectors, so of length 1 ± u), the product s of any summation order obeys
    ``|s − x · v| ≤ γ_d ‖x‖ ‖v‖`` with ``γ_d = d u / (1 − d u)`` (Higham, Accuracy and Stability of
    Numerical Algorithms, 2nd ed., section 3.1), and rounding v and the lengths of x changes the
    cosine by less than 3 u. So ``|s − cos| ≤ e`` with ``e = (1.01 d + 8) u``, in which the factor
    also covers underflow. Scores are compared after rounding to float32, which moves a cosine by
    at most u / 2. A row outside the top k by more than ``2 e + u`` is out with certainty.

    Args:
        segments: all segments of the index.
        queries: (q, d) float32, checked.
        k: at most the number of rows that are allowed.
        allowed: rows of every segment; ``None``: all that were not deleted.
    """
    allowed = allowed or Allowed.living(segments)
    d = queries.shape[1]
    margin = _margin(d)
    started = time.perf_counter()
    scores = np.empty((len(queries), k), dtype=np.float32)
    positions = np.empty((len(queries), k), dtype=np.int64)
    rescored = np.empty(len(queries), dtype=np.int64)
    for start in range(0, len(queries), _BATCH):
        stop = min(start + _BATCH, len(queries))
        found = _search_batch(segments, queries[start:stop], k, margin, allowed)
        for offset, one in enumerate(found):
            scores[start + offset] = one.scores
            positions[start + offset] = one.positions
            rescored[start + offset] = one.rescored
    rows = np.full(len(queries), allowed.rows, dtype=np.int64)
    stages = (
        Stage("float product", rows, rows * 4 * d, time.perf_counter() - started),
        Stage("floats", rescored, rescored * 4 * d, None),
    )
    return Ranking(positions, scores, np.ones(len(queries), dtype=np.bool_), stages)


def search_few(
    segments: Sequence[Segment],
    queries: NDArray[np.float32],
    k: int,
    threads: int | None = None,
    allowed: Allowed | None = None,
    best: Ranking | None = None,
) -> Ranking:
    """The same for few rows (see ``FEW_ROWS``), all queries at once.

    Args:
        segments: some segments of an index.
        queries: (q, d) float32, checked.
        k: rows to return; where fewer are allowed the rest is −1 and −inf.
        threads: ``None``: all.
        allowed: rows of every segment; ``None``: all that were not deleted.
        best: an exact ranking of other rows, (q, k): the k best of these and of the segments are returned.
    """
    allowed = allowed or Allowed.living(segments)
    started = time.perf_counter()
    count, d = queries.shape
    margin = _margin(d)
    units = unit_queries(queries)
    if best is None:
        positions = np.full((count, k), -1, dtype=np.int64)
        scores = np.full((count, k), -np.inf, dtype=np.float32)
    else:
        positions, scores = best.positions.copy(), best.scores.copy()
    rescored = np.zeros(count, dtype=np.int64)
    for segment, chosen, allows in _pieces(segments, allowed):
        if chosen is not None and count <= SCORED_QUERIES:
            for i in range(count):
                here = _scores(segment, queries[i : i + 1], chosen, threads)
                scores[i], positions[i] = top_k(
                    np.concatenate([scores[i], here]),
                    np.concatenate([positions[i], chosen + segment.first_row]),
                    k,
                )
            rescored += len(chosen)
            continue
        vectors = segment.vectors if chosen is None else segment.vectors[chosen]
        step = max(1, (_BATCH * _BLOCK_ROWS) // len(vectors))
        for start in range(0, count, step):
            these = slice(start, start + step)
            approximate = _products(units[these], segment, vectors)
            if allows is not None:
                approximate[:, ~allows] = -np.inf
            threshold = np.full(len(approximate), np.finfo(np.float32).min)
            if len(vectors) >= k:
                kth = np.partition(approximate, len(vectors) - k, axis=1)[:, len(vectors) - k]
                threshold = np.maximum(threshold, kth - margin)
            # An approximate score is off by less than the margin from an exact one too.
            threshold = np.maximum(threshold, scores[these, -1] - margin)
            reaching = approximate >= threshold[:, None]
            counts = reaching.sum(axis=1)
            width = int(counts.max(initial=0))
            if not width:
                continue
            rows = np.argsort(~reaching, axis=1, kind="stable")[:, :width]
            rows = rows if chosen is None else chosen[rows]
            rows[np.arange(width) >= counts[:, None]] = -1
            here = cosine_gather(segment.vectors, queries[these], rows, threads)
            positions[these], scores[these] = rank_rows(
                np.concatenate(
                    [positions[these], np.where(rows >= 0, rows + segment.first_row, -1)], axis=1
                ),
                np.concatenate([scores[these], here], axis=1),
                k,
            )
            rescored[these] += counts
    looked = np.full(count, allowed.rows, dtype=np.int64)
    stages: tuple[Stage, ...] = (
        Stage("float product", looked, looked * 4 * d, time.perf_counter() - started),
        Stage("floats", rescored, rescored * 4 * d, None),
    )
    if best is not None:
        found = {stage.name: stage for stage in best.stages}
        add_stages(found, stages, np.arange(count), count)
        stages = tuple(found.values())
    return Ranking(positions, scores, np.ones(count, dtype=np.bool_), stages)


def _pieces(
    segments: Sequence[Segment], allowed: Allowed
) -> Iterator[tuple[Segment, NDArray[np.int64] | None, NDArray[np.bool_] | None]]:
    """Rows to look at: each segment, those of it that are looked up (else all), which of all are allowed.

    Where a filter leaves few of a segment, only these are read.
    """
    for segment, mask, most in zip(segments, allowed.masks, allowed.counts, strict=True):
        if not most:
            continue
        if mask is None:
            yield segment, None, None
        elif 2 * most > segment.rows and segment.rows <= _BLOCK_ROWS:
            yield segment, None, mask.to_bools()
        else:
            chosen = mask.indices()
            for first in range(0, most, _BLOCK_ROWS):
                yield segment, chosen[first : first + _BLOCK_ROWS], None


def _scores(
    segment: Segment,
    query: NDArray[np.float32],
    rows: NDArray[np.int64],
    threads: int | None,
) -> NDArray[np.float32]:
    """Exact scores of rows for one query, (1, d).

    Raises:
        IndexFormatError: a row is not finite, or zero.
    """
    found: NDArray[np.float32]
    (found,) = cosine_gather(segment.vectors, query, rows[None, :], threads)
    if not np.isfinite(found).all():
        wrong = segment.vectors[rows[~np.isfinite(found)]]
        nothing = not wrong.any(axis=1).all()
        raise damaged(segment, "rows of zeros") if nothing else damaged(segment)
    return found


def _margin(d: int) -> np.float32:
    """By how much an approximate score may miss the k-th best and be among these, see ``search_floats``."""
    unit_roundoff = 2.0**-24
    if d * unit_roundoff > 0.005:
        raise ValueError(f"the error bound does not hold for {d} dimensions")
    return np.float32(2.0 * (1.01 * d + 8.0) * unit_roundoff + 2.0 * unit_roundoff)


def _products(
    units: NDArray[np.float32], segment: Segment, vectors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Approximate scores of some rows of a segment.

    Raises:
        IndexFormatError: a row is not finite, or zero.
    """
    # A row that is not finite is an error in its own words, not a warning before it.
    with np.errstate(all="ignore"):
        approximate: NDArray[np.float32] = units @ vectors.T
    if not np.isfinite(approximate).all():
        raise damaged(segment)
    # A row of zeros is near to nothing, and would be left out without a word.
    nothing = np.flatnonzero(~approximate.any(axis=0))
    if len(nothing) and not vectors[nothing].any(axis=1).all():
        raise damaged(segment, "rows of zeros")
    return approximate


def _search_batch(
    segments: Sequence[Segment],
    queries: NDArray[np.float32],
    k: int,
    margin: np.float32,
    allowed: Allowed,
) -> list[_Kept]:
    units = unit_rows(queries)[0]
    kept = [_Kept(segments, queries[i : i + 1], k, margin) for i in range(len(queries))]
    for number, (segment, mask) in enumerate(zip(segments, allowed.masks, strict=True)):
        for first in range(0, segment.rows, _BLOCK_ROWS):
            last = min(first + _BLOCK_ROWS, segment.rows)
            some = None if mask is None else mask.to_bools(first, last)
            if some is not None and not some.any():
                continue
            approximate = _products(units, segment, segment.vectors[first:last])
            if some is not None:
                approximate[:, ~some] = -np.inf
            highest = approximate.max(axis=1)
            for i, one in enumerate(kept):
                if highest[i] >= one.threshold:
                    one.take(number, first, approximate[i])
    for one in kept:
        one.finish()
    return kept


class _Kept:
    """What a search of floats knows of one query: approximate scores, and rows that may be the best.

    Rows wait for their exact scores until it is known how high the best are. Where too many wait,
    those that are out by now go, and if the others are still too many, as among equal rows, they are
    scored and the k best stay.

    Attributes:
        scores: the exact scores of the k best, once ``finish`` was called.
        positions: their documents.
        rescored: how many rows were scored exactly.
        threshold: no row with an approximate score below it is among the k best.
        waiting: how many rows wait.
    """

    def __init__(
        self, segments: Sequence[Segment], query: NDArray[np.float32], k: int, margin: np.float32
    ) -> None:
        self.scores = np.empty(0, dtype=np.float32)
        self.positions = np.empty(0, dtype=np.int64)
        self.rescored = 0
        self.threshold = np.float32(-np.inf)
        self._segments, self._query, self._k, self._margin = segments, query, k, margin
        self._highest = np.empty(0, dtype=np.float32)  # the k best approximate scores
        # Number of the segment, rows and approximate scores, in order.
        self._waiting: list[tuple[int, NDArray[np.int64], NDArray[np.float32]]] = []
        self.waiting = 0

    def take(self, number: int, first: int, approximate: NDArray[np.float32]) -> None:
        """Take in a block of rows of a segment, by their approximate scores."""
        k = self._k
        rows = np.flatnonzero(approximate >= max(self.threshold, np.finfo(np.float32).min))
        some = approximate[rows]
        self._highest = np.concatenate([self._highest, some])
        if len(self._highest) > k:
            self._highest = np.partition(self._highest, len(self._highest) - k)[-k:]
        if len(self._highest) == k:
            self.threshold = self._highest.min() - self._margin
            reaching = some >= self.threshold
            rows, some = rows[reaching], some[reaching]
        self._waiting.append((number, rows + first, some))
        self.waiting += len(rows)
        most = max(_MOST_WAITING * k, _BLOCK_ROWS // 4)
        if self.waiting > most:
            self._prune()
            if self.waiting > most // 2:  # so that pruning is worth its time
                self._score()

    def finish(self) -> None:
        """Score what waits."""
        self._prune()
        self._score()

    def _prune(self) -> None:
        waiting = []
        for number, blocks in groupby(self._waiting, key=itemgetter(0)):
            _, rows, some = zip(*blocks, strict=True)
            reaching = np.concatenate(some) >= self.threshold
            waiting.append((number, np.concatenate(rows)[reaching], np.concatenate(some)[reaching]))
        self._waiting = waiting
        self.waiting = sum(len(rows) for _, rows, _ in waiting)

    def _score(self) -> None:
        scores, positions = [self.scores], [self.positions]
        for number, rows, _ in self._waiting:
            segment = self._segments[number]
            scores.append(cosine_gather(segment.vectors, self._query, rows[None, :])[0])
            positions.append(rows + segment.first_row)
        self.scores, self.positions = top_k(
            np.concatenate(scores), np.concatenate(positions), self._k
        )
        self.rescored += self.waiting
        self._waiting, self.waiting = [], 0
