"""What searches take on this machine: of a query that is asked alone, and of each of a batch.

They are timed on the first rows of the index: so many that caches hold no more of them than of the whole,
and so few that measuring does not need more memory than building. What further rows add to a scan is what
the second half of these does; what is done with candidates, of which each segment has some, grows with the
segments.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from qsearch.kernels.reference import ROTATED_BLOCK_ROWS
from qsearch.retrieval.cascade import Cascade
from qsearch.retrieval.exact import ExactSearch
from qsearch.retrieval.graph import GraphSearch
from qsearch.retrieval.ranking import unit_queries
from qsearch.retrieval.tuning import BATCH_QUERIES, FAILED_QUERIES, Check
from qsearch.store import Segment

__all__ = ["Costs"]

_TIMED_BYTES = 1 << 29
"""Codes of so many rows are timed: more than most processors cache."""

_ALONE = 5
_ALONE_MILLISECONDS = 25.0
"""So many queries at least are asked one by one of what reads all codes, and as many as take so long: of a
small index a search takes three times as long for one query as for another."""

_REPEATS = 2
"""Times that count, behind one that brings what is needed into memory; the fastest is taken."""

_TIMED_OF_GRID = 3
"""Each third number of candidates is timed; those between take what lies between."""

_Asked = TypeVar("_Asked")
_Search: TypeAlias = Callable[[NDArray[np.float32]], object]
_Scanned: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
"""What a scan takes in the timed rows, and in all: of a query alone, and of one in a batch."""


class Costs:
    """Times of searches. ``close`` lets go of the memory that they took."""

    def __init__(
        self, segments: Sequence[Segment], queries: NDArray[np.float32], threads: int | None
    ) -> None:
        """Choose the rows.

        Args:
            segments: of the index.
            queries: (q, d) float32; the first of them are timed.
            threads: ``None``: all.
        """
        self._queries = queries[:BATCH_QUERIES]
        self._threads = threads
        self._rows = _first_rows(segments, _TIMED_BYTES)
        self._living = _living(self._rows)
        self._largest = max(one.rows for one in self._rows)
        self._cascade = Cascade(self._rows)
        self._segments = len(segments) / len(self._rows)
        self._choosing: dict[int, _Scanned] = {}
        self._exact: dict[int, NDArray[np.float64]] = {}
        timed, total = _count(self._rows), _count(segments)
        half = _first_rows(self._rows, _TIMED_BYTES // 2) if timed < total else self._rows
        # No rows where no row of that half lives: then all that the timed ones take grows with the rows.
        self._half = half if _count(half) < timed else []
        # The rows that are not timed, in those that are not of that half.
        self._further = (total - timed) / (timed - _count(self._half))

    def close(self) -> None:
        """Let go of the memory."""
        for segment in self._rows:
            segment.release()

    def exact(self, k: int) -> tuple[float, float]:
        """Milliseconds of an exact query alone, and of one in a batch.

        Asked again it is timed again, and the faster counts: processors are slower for seconds at a time,
        and what is timed in between is held against this.

        Args:
            k: rows wanted.
        """

        def searching(rows: Sequence[Segment]) -> _Search:
            return partial(ExactSearch(rows).search, k=min(k, _living(rows)), threads=self._threads)

        found = np.array(self._scanned(searching))
        self._exact[k] = np.minimum(found, self._exact.get(k, found))
        alone, batch = self._exact[k][1]
        return float(alone), float(batch)

    def behind(
        self, k: int, kept: int, candidates: int, leads: NDArray[np.float64]
    ) -> tuple[float, float]:
        """Milliseconds of an exact search behind candidates: of a query alone, and of one of a batch's few.

        What both take by turns, of queries that are likely to fail a check, less what candidates take of
        all; never less than an exact search takes by itself.

        Args:
            k: rows wanted, of which ``exact`` was asked.
            kept: see ``candidates``.
            candidates: how many.
            leads: (q,) of all queries; those of the smallest are answered exactly.
        """
        wanted = min(k, self._living)
        by_candidates = self._by_candidates(wanted, kept, self._fewer(wanted, candidates))
        exact = ExactSearch(self._rows)
        failing = np.zeros(len(self._queries), dtype=np.bool_)
        failing[np.argsort(leads[: len(failing)], kind="stable")[:FAILED_QUERIES]] = True

        def choose(one: slice) -> None:
            by_candidates(self._queries[one])

        def choose_and_answer(one: slice) -> None:
            choose(one)
            if failing[one].any():
                exact.search(self._queries[one][failing[one]], wanted, self._threads)

        ones = [slice(number, number + 1) for number in range(len(failing))]
        more = []
        for parts in (ones, [slice(None)]):
            turns = [
                [
                    sum(_milliseconds(way, part) for part in parts)
                    for way in (choose, choose_and_answer)
                ]
                for _ in _times()
            ]
            chosen, both = np.array(turns[1:]).min(axis=0)
            more.append((both - chosen) / np.count_nonzero(failing))
        timed, whole = self._exact[k]
        alone, batch = whole * np.maximum(1.0, more / timed)
        return float(alone), float(batch)

    def candidates(
        self, k: int, kept: int, grid: Sequence[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Milliseconds of a query alone, and of one in a batch, by each number of candidates.

        Args:
            k: rows wanted.
            kept: candidates that int8 codes pass on.
            grid: rising numbers of candidates.
        """
        some = sorted({*grid[::_TIMED_OF_GRID], grid[-1]})
        found = np.array([self._by(min(k, self._living), kept, one) for one in some])
        return np.interp(grid, some, found[:, 0]), np.interp(grid, some, found[:, 1])

    def beams(
        self, graph: GraphSearch, k: int, kept: int, widths: Sequence[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same for searches by graph.

        They are timed in all of it: no part of a graph stands for the others.

        Args:
            graph: of the index.
            k: rows wanted.
            kept: see ``candidates``.
            widths: of the beams.
        """
        # A walk goes where its query is: of a few that are asked again and again, caches hold all.
        every = len(self._queries)
        found = np.array(
            [
                self._timed(
                    partial(
                        graph.search,
                        k=k,
                        width=one,
                        kept=kept,
                        threads=self._threads,
                        checks=_passed_by_all(k),
                    ),
                    every,
                )
                for one in widths
            ]
        )
        return found[:, 0], found[:, 1]

    def _by(self, k: int, kept: int, candidates: int) -> NDArray[np.float64]:
        some = self._fewer(k, candidates)
        here, choosing = self._chosen(some)
        both = self._timed(self._by_candidates(k, kept, some))
        ranking = np.maximum(0.0, both - here)
        return choosing + self._segments * max(1.0, candidates / some) * ranking

    def _fewer(self, k: int, candidates: int) -> int:
        """Few rows stand for many: of them no more are candidates than leaves a choice."""
        return max(k, min(candidates, self._largest // 2))

    def _by_candidates(self, k: int, kept: int, candidates: int) -> _Search:
        return partial(
            self._cascade.search,
            k=k,
            candidates=candidates,
            kept=max(k, min(kept, candidates)),
            threads=self._threads,
            checks=_passed_by_all(k),
        )

    def _chosen(self, candidates: int) -> _Scanned:
        """What choosing so many takes in the timed rows, and in all."""
        if candidates not in self._choosing:

            def choosing(rows: Sequence[Segment]) -> _Search:
                source = Cascade(rows)
                return lambda some: source.choose(unit_queries(some), candidates, self._threads)

            self._choosing[candidates] = self._scanned(choosing)
        return self._choosing[candidates]

    def _scanned(self, searching: Callable[[Sequence[Segment]], _Search]) -> _Scanned:
        """What a scan takes of the timed rows, and of all."""
        timed = self._timed(searching(self._rows))
        if not self._further:
            return timed, timed
        half = self._timed(searching(self._half)) if self._half else 0.0
        more = np.maximum(0.0, timed - half)
        return timed, timed + self._further * more

    def _timed(self, search: _Search, ask: int = _ALONE) -> NDArray[np.float64]:
        """Milliseconds of a query alone, of so many at least, and of one in a batch."""
        ones = [self._queries[number : number + 1] for number in range(len(self._queries))]
        first: list[float] = []
        for one in ones:
            if len(first) >= ask and sum(first) >= _ALONE_MILLISECONDS:
                break
            first.append(_milliseconds(search, one))
        alone = np.array(
            [[_milliseconds(search, one) for one in ones[: len(first)]] for _ in range(_REPEATS)]
        )
        batch = [_milliseconds(search, self._queries) for _ in _times()]
        return np.array([alone.min(axis=0).mean(), min(batch[1:]) / len(self._queries)])


def _passed_by_all(k: int) -> tuple[Check, ...]:
    """A check that finds out what checks of a plan do, which takes time, and fails nobody."""
    return (Check(k, -math.inf, -math.inf),)


def _living(segments: Sequence[Segment]) -> int:
    return sum(one.living_rows for one in segments)


def _times() -> range:
    return range(1 + _REPEATS)


def _milliseconds(search: Callable[[_Asked], object], asked: _Asked) -> float:
    started = time.perf_counter()
    search(asked)
    return 1000.0 * (time.perf_counter() - started)


def _count(segments: Sequence[Segment]) -> int:
    return sum(one.rows for one in segments)


def _first_rows(segments: Sequence[Segment], size: int) -> list[Segment]:
    """The first segments, or the first rows of the first one, whose codes have so many bytes.

    All of them where no row of those lives.
    """
    chosen: list[Segment] = []
    left = size
    for segment in segments:
        codes = segment.int8.nbytes + segment.binary.nbytes
        if segment.rotated is not None:
            codes += segment.rotated.blocks.nbytes
        if codes > left:
            if not chosen:
                rows = (
                    max(1, segment.rows * left // codes // ROTATED_BLOCK_ROWS) * ROTATED_BLOCK_ROWS
                )
                chosen.append(segment.piece(0, min(rows, segment.rows)))
            break
        chosen.append(segment)
        left -= codes
    return chosen if _living(chosen) else list(segments)
