"""Exact search with a certificate: the k documents of highest score, proven for every query."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import QueryCodes, int8_query_codes, rotated_query_codes
from qsearch.kernels import RowMask, allowed_rows, certified_top_k, has_native_kernels
from qsearch.retrieval.allowed import Allowed
from qsearch.retrieval.floats import (
    FEW_ROWS,
    SCORED_QUERIES,
    damaged,
    search_few,
    search_floats,
)
from qsearch.retrieval.ranking import Ranking, Stage, merged, unit_queries
from qsearch.store import Segment

__all__ = ["ExactSearch", "is_gathered"]

_REPEATS = 4

_FEW_ROWS = 1024
"""Where a filter allows no more rows, they are looked up and all scored, wherever they lie."""

_READ_FOR_ONE, _READ_FOR_SEVERAL = 12, 4
"""More are too, where a scan would read so many times as many, in blocks that hold some: for queries one by
one, and for several. ``scripts/bench/filters.py --switch`` prints what either takes."""


def is_gathered(allowed: Allowed, queries: int) -> bool:
    """Whether rows that a filter allows are looked up and all scored, instead of scanned for.

    Args:
        allowed: by the filter.
        queries: so many together.
    """
    if allowed.documents is None:
        return False
    read = _READ_FOR_ONE if queries <= SCORED_QUERIES else _READ_FOR_SEVERAL
    return allowed.rows <= _FEW_ROWS or read * allowed.rows <= allowed.scanned


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
        if allowed is not None and is_gathered(allowed, len(queries)):
            return search_few(self._segments, queries, k, threads, allowed)
        allowed = allowed or self._living
        native = has_native_kernels()
        coded = [native and one.rotated is not None for one in self._segments]
        if all(coded):
            return self._search_codes(queries, k, threads, allowed)
        if not any(coded):
            return _by_floats(self._segments, queries, k, threads, allowed)
        found = self._search_codes(queries, k, threads, allowed.only(coded))
        plain = [not one for one in coded]
        others = [one for one, here in zip(self._segments, plain, strict=True) if here]
        if sum(one.rows for one in others) <= FEW_ROWS:
            return search_few(others, queries, k, threads, allowed.of(plain), found)
        return merged(found, _by_floats(others, queries, k, threads, allowed.of(plain)), k)

    @cached_property
    def _living(self) -> Allowed:
        return Allowed.living(self._segments)

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
        scanned = scanned_bytes = 0
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
        reached, rescored = search.counts[:, 0], search.counts[:, 1]
        # Threads work side by side: what each stage took of their time, it took of the whole.
        spent = [sum(of_each) for of_each in zip(*search.counts.tolist(), strict=True)][2:]
        share = searching / max(1, sum(spent))
        nothing = np.zeros(count, dtype=np.int64)
        stages = (
            Stage("preparing", nothing, nothing, preparing),
            Stage("rotated codes", nothing + scanned, nothing + scanned_bytes, share * spent[0]),
            Stage("int8 codes", reached, reached * (d + 8), share * spent[1]),
            Stage("floats", rescored, rescored * (4 * d), share * spent[2]),
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
        self.scores = np.empty((len(queries), k), dtype=np.float32)
        self.scores.fill(-np.inf)
        self.positions = np.empty((len(queries), k), dtype=np.int64)
        self.positions.fill(-1)
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
            self._head = rotated_query_codes(self._units, rotation, error, self._threads)
            self._rotation = rotation

    def update(self, segment: Segment, mask: RowMask | None = None) -> None:
        """Take in the allowed rows of a segment that has the rotation of ``turn``."""
        certified_top_k(
            segment,
            self._queries,
            self._head,
            self._codes,
            self.scores,
            self.positions,
            self.counts,
            min(self._done, self._k),
            self._threads,
            mask=mask,
            before=self._done,
        )
        self._done += allowed_rows(segment.rows, mask)

    def state(self) -> tuple[NDArray[np.float32], NDArray[np.int64], int]:
        """What ``restore`` goes back to."""
        return self.scores.copy(), self.positions.copy(), self._done

    def restore(self, state: tuple[NDArray[np.float32], NDArray[np.int64], int]) -> None:
        """Forget the segments since ``state``."""
        self.scores[:], self.positions[:], self._done = state


def _by_floats(
    segments: Sequence[Segment],
    queries: NDArray[np.float32],
    k: int,
    threads: int | None,
    allowed: Allowed,
) -> Ranking:
    """The k best of segments without codes; filled up with −1 and −inf."""
    if sum(one.rows for one in segments) <= FEW_ROWS:
        return search_few(segments, queries, k, threads, allowed)
    most = min(k, allowed.rows)
    found = search_floats(segments, queries, most, allowed)
    return merged(found, None, k)
