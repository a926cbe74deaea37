"""Exact search with a certificate: the k documents of highest score, proven for every query."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import (
    QueryCodes,
    int8_query_codes,
    rotated_query_codes,
    unit_rows,
)
from qsearch.errors import IndexFormatError
from qsearch.kernels import RowMask, certified_top_k, cosine_gather, has_native_kernels
from qsearch.retrieval.allowed import Allowed
from qsearch.retrieval.ranking import Ranking, Stage, top_k, unit_queries
from qsearch.store import Segment
from qsearch.wording import words

__all__ = ["ExactSearch"]

_BLOCK_ROWS = 16_384
_BATCH = 64
_REPEATS = 4
_MOST_WAITING = 16
"""So many times k float rows may wait to be scored, and no fewer than a quarter of a block."""


class ExactSearch:
    """Exact search over the segments of an index.

    With native kernels a scan of the rotated codes and then the int8 codes rule out all but a few
    rows, which are scored exactly; docs/exactness.md has the proof. Without, and for segments
    that have no rotated codes, a float32 matrix product with a margin for its rounding does it.
    """

    def __init__(self, segments: Sequence[Segment], *, release: bool = False) -> None:
        """Take the segments in document order.

        Args:
            segments: of the index.
            release: let go of each segment's memory when it has been searched.
        """
        self._release = release
        self._segments = list(segments)
        # Pieces of one segment share its rotation: what depends on it alone is looked at once.
        self._rotations: dict[int, tuple[NDArray[np.float32], float]] = {}
        for segment in segments:
            rotated = segment.rotated
            if rotated is not None and id(rotated.rotation) not in self._rotations:
                self._rotations[id(rotated.rotation)] = rotated.rotation, rotated.error()

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        threads: int | None = None,
        allowed: Allowed | None = None,
    ) -> Ranking:
        """The k allowed rows of highest score for every query, ties by document order.

        Args:
            queries: (q, d) float32, checked.
            k: at most the number of rows that are allowed.
            threads: ``None``: all.
            allowed: rows of every segment; ``None``: all that were not deleted.

        Raises:
            IndexFormatError: a row is damaged.
        """
        allowed = allowed or Allowed.living(self._segments)
        if self._by_codes():
            return self._search_codes(queries, k, threads, allowed)
        return search_floats(self._segments, queries, k, allowed)

    def milliseconds(
        self, queries: NDArray[np.float32], k: int, threads: int | None = None
    ) -> float:
        """What ``search`` takes for one of these queries when all segments are in memory.

        Every segment is searched some times before the next one, and the fastest counts: the first
        fetches pages that ``release`` will let go of again.
        """
        started = time.perf_counter()
        if not self._by_codes():
            self.search(queries, k, threads)
            return 1000.0 * (time.perf_counter() - started) / len(queries)
        search = _CodeSearch(queries, k, threads)
        seconds = time.perf_counter() - started
        for segment in self._segments:
            times = []
            started = time.perf_counter()
            self._prepare(search, segment)
            seconds += time.perf_counter() - started
            before = search.state()
            for _ in range(_REPEATS):
                search.restore(before)
                started = time.perf_counter()
                self._update(search, segment, segment.living)
                times.append(time.perf_counter() - started)
            seconds += min(times)
            if self._release:
                segment.release()
        return 1000.0 * seconds / len(queries)

    def _by_codes(self) -> bool:
        return has_native_kernels() and all(one.rotated is not None for one in self._segments)

    def _search_codes(
        self, queries: NDArray[np.float32], k: int, threads: int | None, allowed: Allowed
    ) -> Ranking:
        count, d = queries.shape
        scanned = np.zeros(count, dtype=np.int64)
        scanned_bytes = np.zeros(count, dtype=np.int64)
        started = time.perf_counter()
        search = _CodeSearch(queries, k, threads)
        preparing = time.perf_counter() - started
        for segment, mask, most in zip(self._segments, allowed.masks, allowed.counts, strict=True):
            if not most:
                continue
            before = time.perf_counter()
            self._prepare(search, segment)
            preparing += time.perf_counter() - before
            self._update(search, segment, mask)
            if self._release:
                segment.release()
            scanned += most
            if segment.rotated is not None:
                blocks = len(segment.rotated.blocks)
                looked = blocks if mask is None else mask.blocks
                size = segment.rotated.blocks.nbytes + segment.rotated.bounds.nbytes
                scanned_bytes += size // blocks * looked
        searching = time.perf_counter() - started - preparing
        reached, rescored = search.counts.T[:2]
        # Threads work side by side: what each stage took of their time, it took of the whole.
        spent = search.counts[:, 2:].sum(axis=0)
        scanning, refining, scoring = (searching * spent / max(1, spent.sum())).tolist()
        stages = (
            Stage("preparing", 0 * scanned, 0 * scanned, preparing),
            Stage("rotated codes", scanned, scanned_bytes, scanning),
            Stage("int8 codes", reached, reached * (d + 8), refining),
            Stage("floats", rescored, rescored * 4 * d, scoring),
        )
        return Ranking(search.positions, search.scores, np.ones(count, dtype=np.bool_), stages)

    def _prepare(self, search: _CodeSearch, segment: Segment) -> None:
        if segment.rotated is None:
            raise ValueError(f"segment {segment.id} has no rotated codes")
        search.turn(*self._rotations[id(segment.rotated.rotation)])

    def _update(self, search: _CodeSearch, segment: Segment, mask: RowMask | None) -> None:
        try:
            search.update(segment, mask)
        except FloatingPointError as failure:
            found = "rows that are not finite, or codes that contradict its rows"
            raise damaged(segment, found) from failure


class _CodeSearch:
    """Queries on their way through the segments: their codes, and the k best documents so far."""

    def __init__(self, queries: NDArray[np.float32], k: int, threads: int | None) -> None:
        self.scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        self.positions = np.full((len(queries), k), -1, dtype=np.int64)
        self.counts = np.zeros((len(queries), 5), dtype=np.int64)
        self._queries, self._k, self._threads = queries, k, threads
        self._units = unit_queries(queries)
        self._codes = int8_query_codes(self._units)
        self._rotation: NDArray[np.float32] | None = None
        self._head: QueryCodes
        self._done = 0

    def turn(self, rotation: NDArray[np.float32], error: float) -> None:
        """Have the codes along the axes of a rotation: of one at a time, so that memory is bounded."""
        if self._rotation is not rotation:
            self._head = rotated_query_codes(self._units, rotation, error)
            self._rotation = rotation

    def update(self, segment: Segment, mask: RowMask | None = None) -> None:
        """Take in the allowed rows of a segment that has the rotation of ``turn``."""
        self.counts += certified_top_k(
            segment,
            self._queries,
            self._head,
            self._codes,
            self.scores,
            self.positions,
            min(self._done, self._k),
            self._threads,
            mask=mask,
            before=self._done,
        )
        self._done += segment.rows if mask is None else mask.allowed

    def state(self) -> tuple[NDArray[np.float32], NDArray[np.int64], int]:
        """What ``restore`` goes back to."""
        return self.scores.copy(), self.positions.copy(), self._done

    def restore(self, state: tuple[NDArray[np.float32], NDArray[np.int64], int]) -> None:
        """Forget the segments since ``state``."""
        self.scores[:], self.positions[:], self._done = state


def damaged(segment: Segment, found: str = "rows that are not finite") -> IndexFormatError:
    """The error for a segment in which a search has found damage."""
    return IndexFormatError(
        f"segment {segment.id} holds {found}; {words().verify} tells which file is damaged"
    )


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
    unit_roundoff = 2.0**-24
    if d * unit_roundoff > 0.005:
        raise ValueError(f"the error bound does not hold for {d} dimensions")
    margin = np.float32(2.0 * (1.01 * d + 8.0) * unit_roundoff + 2.0 * unit_roundoff)
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
            # A row that is not finite is an error in its own words, not a warning before it.
            with np.errstate(all="ignore"):
                approximate = units @ segment.vectors[first:last].T
            if not np.isfinite(approximate).all():
                raise damaged(segment)
            # A row of zeros is near to nothing, and would be left out without a word.
            nothing = np.flatnonzero(~approximate.any(axis=0))
            if len(nothing) and not segment.vectors[first + nothing].any(axis=1).all():
                raise damaged(segment, "rows of zeros")
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
